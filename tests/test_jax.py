"""JAX arrays: NumPy's bits, eagerly and under jit, vmap and grad, with 32-bit integers or 64."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import halfulp as hu
from cases import CATALOGUE, CUSTOMS, DRAWN_AND_NOT, by_name

FORMATS = [f for f in (*CATALOGUE, *CUSTOMS) if f.precision <= 24 and f.width <= 16]
FITTING = [f for f in FORMATS if f.exponent_bits <= 8]
NARROW = ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
          "float8_e8m0fnu"]  # fmt: skip


def probes(f: hu.Format, dtype: Any = np.float32) -> np.ndarray:
    rng = np.random.default_rng(5)
    low, high = max(f.emin - 4, -140), min(f.emax + 2, 127)
    spread = rng.standard_normal(150) * np.exp2(rng.integers(low, high, 150).astype(float))
    grid = [f.magnitude(int(c)) for c in rng.integers(0, f.max_code + 1, 50)]
    grid = [float(g) for g in grid if g < 2**127]
    halves = [g * (1 + 2.0**-f.precision) for g in grid]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-42, 3e38, -3.4e38]
    return np.concatenate([special, spread, grid, np.negative(grid), halves]).astype(dtype)


def same_bits(found: Any, expected: np.ndarray) -> bool:
    found = np.asarray(found)
    return found.dtype == expected.dtype and found.tobytes() == expected.tobytes()


@pytest.fixture
def wide_integers() -> Any:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("f", FITTING, ids=by_name)
def test_float32_gives_numpys_bits(f: hu.Format) -> None:
    x = probes(f)
    for mode in DRAWN_AND_NOT:
        assert same_bits(hu.cast(jnp.asarray(x), f, mode, seed=3), hu.cast(x, f, mode, seed=3))
        assert same_bits(hu.encode(jnp.asarray(x), f, mode, seed=3), hu.encode(x, f, mode, seed=3))


@pytest.mark.usefixtures("wide_integers")
@pytest.mark.parametrize("f", FORMATS[::3], ids=by_name)
def test_float64_gives_numpys_bits(f: hu.Format) -> None:
    x = probes(f, np.float64)
    for mode in ("nearest_even", "to_odd", "stochastic"):
        assert same_bits(hu.cast(jnp.asarray(x), f, mode, seed=3), hu.cast(x, f, mode, seed=3))
        assert same_bits(hu.encode(jnp.asarray(x), f, mode, seed=3), hu.encode(x, f, mode, seed=3))


@pytest.mark.parametrize("name", NARROW)
def test_all_patterns_of_narrow_dtypes(name: str) -> None:
    dtype = np.dtype(name)
    x = np.arange(1 << (8 * dtype.itemsize), dtype=f"uint{8 * dtype.itemsize}").view(dtype)
    numbers = ~np.isnan(x.astype(np.float32))
    for mode in ("nearest_even", "up", "stochastic"):
        for f in ("float16", "float8_e5m2fnuz", "float4_e2m1fn"):
            found = np.asarray(hu.cast(jnp.asarray(x), f, mode, seed=2)).astype(np.float32)
            expected = hu.cast(x, f, mode, seed=2).astype(np.float32)
            assert np.array_equal(found, expected, equal_nan=True)
            codes = np.asarray(hu.encode(jnp.asarray(x), f, mode, seed=2))
            assert np.array_equal(codes[numbers], hu.encode(x, f, mode, seed=2)[numbers])


def test_jit_takes_seeds_as_they_come() -> None:
    work = jax.jit(lambda t, seed: hu.cast(t, "float8_e4m3fn", "stochastic", seed=seed))
    x = probes(hu.format("float8_e4m3fn"))
    for seed in (0, 1, 77, -5, 2**31 - 1, -(2**31)):
        expected = hu.cast(x, "float8_e4m3fn", "stochastic", seed=seed)
        assert same_bits(work(jnp.asarray(x), seed), expected)
    encode = jax.jit(lambda t: hu.encode(t, "bfloat16"))
    assert same_bits(encode(jnp.asarray(x)), hu.encode(x, "bfloat16"))


def test_decoding() -> None:
    codes = np.arange(256, dtype=np.uint8)
    expected = hu.decode(codes, "float8_e5m2")
    assert np.array_equal(np.asarray(hu.decode(jnp.asarray(codes), "float8_e5m2")), expected,
                          equal_nan=True)  # fmt: skip
    work = jax.jit(lambda c: hu.decode(c, "float4_e2m1fn", "bfloat16"))
    assert work(jnp.arange(16)).tolist() == hu.decode(np.arange(16), "float4_e2m1fn").tolist()


def test_gradients() -> None:
    x = jnp.asarray([1.1, 2.2, 3.3])
    through = jax.grad(lambda t: (hu.cast(t, "float16", grad="straight_through") ** 2).sum())
    assert jnp.array_equal(through(x), 2 * hu.cast(x, "float16"))
    assert jnp.array_equal(jax.jit(through)(x), through(x))
    assert not jax.grad(lambda t: hu.cast(t, "float16").sum())(x).any()
    drawn = jax.grad(
        lambda t: hu.cast(t, "float16", "stochastic", seed=1, grad="straight_through").sum()
    )
    assert drawn(x).tolist() == [1.0, 1.0, 1.0]


def test_vmap_casts_each_example_as_if_alone() -> None:
    x = jnp.asarray(probes(hu.format("float16"))[:120].reshape(4, 30))
    for mode in ("nearest_even", "stochastic"):
        found = jax.vmap(lambda t, mode=mode: hu.cast(t, "float8_e5m2", mode, seed=2))(x)
        alone = [np.asarray(hu.cast(row, "float8_e5m2", mode, seed=2)) for row in x]
        assert same_bits(found, np.stack(alone))


def test_shapes() -> None:
    x = jnp.asarray(probes(hu.format("float16"))[:120])
    cube = x.reshape(4, 5, 6)
    whole = hu.cast(x, "float16", "stochastic", seed=1)
    assert same_bits(
        hu.cast(cube, "float16", "stochastic", seed=1), np.asarray(whole).reshape(4, 5, 6)
    )
    assert hu.cast(x[:0], "float16").shape == (0,)
    assert hu.cast(jnp.float32(1.1), "float16").shape == ()
    assert isinstance(hu.cast(x, "float16"), jax.Array)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.cast(jnp.arange(3), "float16"), "int32 cannot be cast"),
        (lambda: hu.cast(jnp.ones(3, jnp.float4_e2m1fn), "float16"), "less than a byte"),
        (lambda: hu.cast(jnp.ones(3), "float16", out=np.empty(3)), "never written to"),
        (lambda: hu.cast(jnp.ones(3), "float16", "stochastic"), "pass seed="),
        (lambda: hu.cast(jnp.ones(3), "e12m20"), "wider than JAX arrays"),
        (lambda: hu.cast(jnp.ones(3), "float16", grad="exact"), "straight_through"),
        (lambda: hu.decode(jnp.ones(3), "float16"), "codes are integers"),
        (lambda: hu.decode(jnp.array([300]), "float8_e5m2"), "no code 300"),
        (lambda: hu.decode(jnp.arange(3), "tfloat32"), "up to 16 bits"),
    ],
)
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()
