"""JAX arrays: NumPy's bits, eagerly and under jit, vmap and grad, with 32-bit integers or 64."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import halfulp as hu
from cases import CATALOGUE, CUSTOMS, DRAWN_AND_NOT, by_name
from halfulp.backends import jax as backend
from halfulp.noise import key_of
from probes import codes_of, every_pattern, probes, same_bits

FORMATS = [*CATALOGUE, *CUSTOMS]
HALVES = ["float16", "bfloat16"]
BYTES = ["float8_e4m3fn", "float8_e4m3", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz",
         "float8_e4m3b11fnuz", "float8_e3m4", "float8_e8m0fnu"]  # fmt: skip
#: What 32-bit integers cannot hold, of results or of what comes in between.
WIDE = {"float64", "e11m52"}


@pytest.fixture
def wide_integers() -> Any:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def check(x: np.ndarray, f: hu.Format, modes: Any = DRAWN_AND_NOT) -> None:
    given = jnp.asarray(x)
    assert given.dtype == x.dtype
    for mode in modes:
        for function in (hu.cast, hu.encode):
            found = function(given, f, mode, seed=3)
            assert isinstance(found, jax.Array)
            assert same_bits(found, function(x, f, mode, seed=3)), (f, mode, function)


@pytest.mark.parametrize("f", [f for f in FORMATS if f.name not in WIDE], ids=by_name)
def test_boundaries_have_numpys_bits_in_float32(f: hu.Format) -> None:
    check(probes(f, np.float32), f)


@pytest.mark.usefixtures("wide_integers")
@pytest.mark.parametrize("f", FORMATS, ids=by_name)
def test_boundaries_have_numpys_bits_in_float64(f: hu.Format) -> None:
    check(probes(f, np.float64), f, ["nearest_even", "down", "to_odd", "stochastic"])
    if f.name in WIDE:
        check(probes(f, np.float32), f, ["nearest_even"])


@pytest.mark.parametrize("f", [f for f in FORMATS if f.name not in WIDE], ids=by_name)
def test_all_patterns_of_narrow_dtypes_have_numpys_bits(f: hu.Format) -> None:
    check(every_pattern("bfloat16"), f, ["stochastic"])
    for name in (*HALVES, *BYTES):
        check(every_pattern(name), f, ["nearest_even"])


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
def test_decoding_gives_numpys_bits(f: hu.Format) -> None:
    codes = codes_of(f)
    for name in ("float32", *HALVES, *BYTES):
        if hu.format(name).holds(f):
            found = hu.decode(jnp.asarray(codes), f, name)
            assert same_bits(found, hu.decode(codes, f, name)), name


@pytest.mark.usefixtures("wide_integers")
@pytest.mark.parametrize("f", ["float64", "float32", "tfloat32", "e12m3", "float8_e8m0fnu"])
def test_decoding_to_float64(f: str) -> None:
    codes = codes_of(hu.format(f))
    if hu.format("float64").holds(hu.format(f)):
        assert same_bits(
            hu.decode(jnp.asarray(codes), f, "float64"), hu.decode(codes, f, "float64")
        )


def test_a_value_by_hand() -> None:
    x = jnp.asarray([1.12156456132, -65519.99, 65520.0])
    assert hu.cast(x, "float16").tolist() == [1.12109375, -65504.0, float("inf")]
    assert hu.encode(x, "float16").tolist() == [0x3C7C, 0xFBFF, 0x7C00]


# Seeds and indices.

SEEDS = [0, 1, 77, -5, 127, -128, 2**31 - 1, -(2**31), 2**31, 2**32 - 1, 2**40 + 3, -(2**50),
         2**63 - 1, -(2**63), 2**63, 2**64 - 1]  # fmt: skip


@pytest.mark.usefixtures("wide_integers")
@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_seeds_that_come_at_run_time_are_seeds(name: str) -> None:
    key = jax.jit(lambda seed: jnp.stack(backend._traced_key(seed)))
    bounds = np.iinfo(name)
    seeds = [seed for seed in SEEDS if bounds.min <= seed <= bounds.max]
    for seed in seeds:
        assert key(np.array(seed, name)).tolist() == list(key_of(seed)), seed
    assert len(seeds) >= 3


def test_a_seed_a_step() -> None:
    x = probes(hu.format("float8_e4m3fn"), np.float32)
    work = jax.jit(lambda t, seed: hu.cast(t, "float8_e4m3fn", "stochastic", seed=seed))
    for seed in (0, 7, -5):
        expected = hu.cast(x, "float8_e4m3fn", "stochastic", seed=seed)
        assert same_bits(work(jnp.asarray(x), seed), expected)
        for kind in (jnp.int32, np.int64):
            found = hu.cast(jnp.asarray(x), "float8_e4m3fn", "stochastic", seed=kind(seed))
            assert same_bits(found, expected)


def test_indices_beyond_the_low_word() -> None:
    count = (1 << 33) + 12_345
    places = [0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, count - 1]

    def near(place: int) -> Any:
        return [word[place] for word in backend._indices((count,))]

    for place in places:
        low, high = jax.jit(near, static_argnums=0)(place)
        assert (int(low) & 0xFFFFFFFF) + (int(high) << 32) == place


# Transformations.


def squares(t: Any) -> Any:
    return (hu.cast(t, "float16", grad="straight_through") ** 2).sum()


def test_straight_through_hands_gradients_on() -> None:
    x = jnp.asarray([1.1, 2.2, 3.3])
    rounded = hu.cast(x, "float16")
    for gradient in (jax.grad(squares), jax.jit(jax.grad(squares)), jax.grad(jax.jit(squares))):
        assert jnp.array_equal(gradient(x), 2 * rounded)
    assert jnp.array_equal(jax.hessian(squares)(x), 2 * jnp.eye(3))
    drawn = jax.grad(lambda t, seed: hu.cast(
        t, "float16", "stochastic", seed=seed, grad="straight_through"
    ).sum())  # fmt: skip
    assert drawn(x, 1).tolist() == [1.0, 1.0, 1.0]
    half = jax.grad(lambda t: hu.cast(t, "float8_e5m2", grad="straight_through").sum())
    assert half(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_without_a_gradient_there_is_none() -> None:
    x = jnp.asarray([1.1, 2.2])
    assert not jax.grad(lambda t: hu.cast(t, "float16").sum())(x).any()
    kept = jax.grad(lambda t: (hu.cast(t, "float16") * t).sum())
    assert jnp.array_equal(kept(x), hu.cast(x, "float16"))


@pytest.mark.parametrize("mode", ["nearest_even", "stochastic"])
def test_vmap_casts_each_example_as_if_alone(mode: str) -> None:
    x = jnp.asarray(probes(hu.format("float16"), np.float32)[:120].reshape(4, 30))
    alone = np.stack([hu.cast(row, "float8_e5m2", mode, seed=2) for row in np.asarray(x)])
    found = jax.vmap(lambda t: hu.cast(t, "float8_e5m2", mode, seed=2))(x)
    assert same_bits(found, alone)
    columns = jax.vmap(lambda t: hu.cast(t, "float8_e5m2", mode, seed=2), in_axes=1, out_axes=1)
    assert same_bits(columns(x.T), alone.T)
    through = jax.vmap(jax.grad(squares))(x[:, :5])
    assert same_bits(through, 2 * np.asarray(hu.cast(x[:, :5], "float16")))


def test_vmap_over_seeds_draws_for_each_example() -> None:
    x = jnp.full((3, 40), 1.05)
    seeds = jnp.arange(3)
    found = jax.vmap(lambda t, s: hu.cast(t, "float8_e5m2", "stochastic", seed=s))(x, seeds)
    alone = [hu.cast(np.asarray(x[i]), "float8_e5m2", "stochastic", seed=i) for i in range(3)]
    assert same_bits(found, np.stack(alone))


def test_shapes() -> None:
    x = jnp.asarray(probes(hu.format("float16"), np.float32)[:120])
    whole = np.asarray(hu.cast(x, "float16", "stochastic", seed=1))
    for shape in ((4, 5, 6), (120, 1), (1, 120)):
        assert math.prod(shape) == 120
        found = hu.cast(x.reshape(shape), "float16", "stochastic", seed=1)
        assert same_bits(found, whole.reshape(shape))
    assert hu.cast(x[:0], "float16").shape == (0,)
    assert hu.cast(jnp.float32(1.1), "float16").shape == ()
    assert jax.eval_shape(lambda t: hu.encode(t, "float16"), x).dtype == jnp.uint16


def test_formats_share_compiled_code() -> None:
    """A format is ints at run time: a second one of the same kind compiles nothing."""
    x = jnp.asarray(probes(hu.format("float16"), np.float32)[:77])
    hu.cast(x, "e4m5", "nearest_away")
    before = backend._fused._cache_size()
    hu.cast(x, "e5m4", "nearest_away")
    assert backend._fused._cache_size() == before


def test_codes_that_are_not_known_yet_count_by_their_low_bits() -> None:
    decode = jax.jit(lambda codes: hu.decode(codes, "float4_e2m1fn", "bfloat16"))
    assert decode(jnp.arange(32)).tolist() == 2 * hu.decode(np.arange(16), "float4_e2m1fn").tolist()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.cast(jnp.arange(3), "float16"), "int32 cannot be cast"),
        (lambda: hu.cast(jnp.ones(3, jnp.complex64), "float16"), "complex64 cannot be cast"),
        (lambda: hu.cast(jnp.ones(3, jnp.float4_e2m1fn), "float16"), "less than a byte"),
        (lambda: hu.cast(jnp.ones(3), "float16", out=np.empty(3)), "never written to"),
        (lambda: hu.cast(jnp.ones(3), "float16", "stochastic"), "pass seed="),
        (lambda: hu.cast(jnp.ones(3), "float16", "stochastic", seed=1.5), "must be an integer"),
        (lambda: hu.cast(jnp.ones(3), "float16", "stochastic", seed=jnp.ones(2)), "one integer|be an integer"),
        (lambda: hu.cast(jnp.ones(3), "float64"), "jax_enable_x64"),
        (lambda: hu.encode(jnp.ones(3), "e12m40"), "jax_enable_x64"),
        (lambda: hu.cast(jnp.ones(3), "float16", grad="exact"), "straight_through"),
        (lambda: hu.cast(jnp.ones(3), "floot16"), "unknown format"),
        (lambda: hu.decode(jnp.ones(3), "float16"), "codes are integers"),
        (lambda: hu.decode(jnp.array([300]), "float8_e5m2"), "no code 300"),
        (lambda: hu.decode(jnp.arange(3), "float16", "int8"), "no float dtype"),
        (lambda: hu.decode(jnp.arange(3), "float16", "float64"), "jax_enable_x64"),
        (lambda: hu.decode(jnp.arange(3), "float16", "bfloat16"), "cannot hold"),
        (lambda: hu.decode(jnp.arange(3), "float16", out=np.empty(3)), "never written to"),
    ],
)  # fmt: skip
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()


@pytest.mark.usefixtures("wide_integers")
def test_what_no_array_holds_is_explained() -> None:
    with pytest.raises(hu.HalfulpError, match="cast Python numbers"):
        hu.cast(jnp.ones(3), "e15m112")
