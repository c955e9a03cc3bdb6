"""torch tensors: the CPU's road and every other device's give NumPy's bits; gradients, compile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import halfulp as hu
from cases import CATALOGUE, CUSTOMS, DRAWN_AND_NOT, by_name
from halfulp.backends import torch as backend
from halfulp.casting import cast_to

FORMATS = [f for f in (*CATALOGUE, *CUSTOMS) if f.precision <= 24 and f.width <= 16]
NARROW = [name for name in backend.FLOAT_DTYPES if name not in ("float64", "float32")]


def probes(f: hu.Format, dtype: Any) -> np.ndarray:
    rng = np.random.default_rng(5)
    low, high = max(f.emin - 4, -140), min(f.emax + 2, 127)
    spread = rng.standard_normal(200) * np.exp2(rng.integers(low, high, 200).astype(float))
    grid = [f.magnitude(int(c)) for c in rng.integers(0, f.max_code + 1, 60)]
    grid = [float(g) for g in grid if g < 2**127]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-42, 3e38, -3.4e38]
    halves = [g * (1 + 2.0**-f.precision) for g in grid]
    with np.errstate(over="ignore"):
        return np.concatenate([special, spread, grid, np.negative(grid), halves]).astype(dtype)


def same_bits(tensor: torch.Tensor, array: np.ndarray) -> bool:
    found = backend._array(tensor.contiguous())  # the memory itself, NaN and signs included
    return found.dtype == array.dtype and found.tobytes() == np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
@pytest.mark.parametrize("mode", DRAWN_AND_NOT)
def test_every_road_gives_numpys_bits(f: hu.Format, mode: str) -> None:
    for dtype in (np.float32, np.float64):
        x = probes(f, dtype)
        t = torch.from_numpy(x)
        spec = cast_to(f, mode).spec
        values, codes = hu.cast(x, f, mode, seed=3), hu.encode(x, f, mode, seed=3)
        assert same_bits(hu.cast(t, f, mode, seed=3), values)
        assert same_bits(backend.on_integers(t, spec, 3), values)
        assert same_bits(hu.encode(t, f, mode, seed=3), codes)
        assert same_bits(backend.on_integers(t, spec, 3, codes=True), codes)


@pytest.mark.parametrize("name", NARROW)
@pytest.mark.parametrize("mode", ["nearest_even", "up", "stochastic"])
def test_all_patterns_of_narrow_dtypes(name: str, mode: str) -> None:
    size = np.dtype(name).itemsize
    x = np.arange(1 << (8 * size), dtype=f"uint{8 * size}").view(name)
    t = backend._tensor(x.copy())
    numbers = ~np.isnan(x.astype(np.float32))  # whose signs conversions of dtypes may change
    assert t.dtype == getattr(torch, name)
    for f in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2fnuz", "float4_e2m1fn"):
        values, codes = hu.cast(x, f, mode, seed=1), hu.encode(x, f, mode, seed=1)
        spec = cast_to(f, mode).spec
        assert same_bits(hu.cast(t, f, mode, seed=1), values)
        assert same_bits(hu.encode(t, f, mode, seed=1), codes)
        made = backend.on_integers(t, spec, 1, codes=True).numpy()
        assert np.array_equal(made[numbers], codes[numbers])
        ours = backend.on_integers(t, spec, 1).float()
        theirs = backend._tensor(values).float()
        assert torch.equal(ours.nan_to_num(7.5), theirs.nan_to_num(7.5))  # NaN by class


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_shapes_strides_and_kinds(dtype: torch.dtype) -> None:
    x = torch.randn(6, 7, 4).to(dtype)
    whole = hu.cast(x, "float8_e4m3fn", "stochastic", seed=9)
    for view in (x.permute(0, 1, 2), x.transpose(0, 2).contiguous().transpose(0, 2)):
        assert torch.equal(hu.cast(view, "float8_e4m3fn", "stochastic", seed=9), whole)
    strided = torch.stack([x, x], -1)[..., 0]
    assert not strided.is_contiguous()
    assert torch.equal(hu.cast(strided, "float8_e4m3fn", "stochastic", seed=9), whole)
    assert hu.cast(x[:0], "float16").shape == (0, 7, 4)
    assert hu.cast(x[0, 0, 0], "float16").shape == ()
    assert hu.cast(x, "float16").dtype == dtype
    assert torch.equal(hu.cast(-x, "float16"), -hu.cast(x, "float16"))


def test_indices_beyond_the_low_word() -> None:
    index = torch.tensor([0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40 + 5])
    low = backend._low_word(index)
    assert low.tolist() == [0, 2**31 - 1, -(2**31), -1, 0, 5]


def test_out_is_written_in_place() -> None:
    x = torch.randn(1000)
    out, codes = torch.empty(1000), torch.empty(1000, dtype=torch.uint8)
    assert hu.cast(x, "float16", out=out) is out
    assert torch.equal(out, hu.cast(x, "float16"))
    assert hu.encode(x, "float8_e5m2", out=codes) is codes
    assert torch.equal(codes, hu.encode(x, "float8_e5m2"))
    twice = torch.zeros(2000)[::2]
    assert torch.equal(hu.cast(x, "float16", out=twice), out)
    values = torch.empty(1000)
    assert torch.equal(hu.decode(codes, "float8_e5m2", out=values), hu.cast(x, "float8_e5m2"))
    assert hu.cast(x, "float16", out=x) is x
    assert torch.equal(x, out)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn"])
def test_decoding_gives_what_torch_reads(name: str) -> None:
    dtype = getattr(torch, name)
    bits = torch.uint8 if dtype.itemsize == 1 else torch.uint16
    codes = torch.arange(1 << (8 * dtype.itemsize), dtype=torch.int64).to(bits)
    found, expected = hu.decode(codes, name), codes.view(dtype).float()
    assert torch.equal(found.nan_to_num(7.5), expected.nan_to_num(7.5))
    assert hu.decode(codes, name, torch.float64).dtype == torch.float64


def test_gradients() -> None:
    x = torch.randn(4, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (hu.cast(x, "float8_e4m3fn", grad="straight_through") * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, weights)
    assert not hu.cast(x, "float16").requires_grad
    assert not hu.encode(x, "float16").requires_grad
    gradient = torch.func.grad(
        lambda t: (hu.cast(t, "float16", grad="straight_through") ** 2).sum()
    )
    point = torch.randn(3)
    assert torch.equal(gradient(point), 2 * hu.cast(point, "float16"))


def test_vmap_casts_each_example_as_if_alone() -> None:
    x = torch.randn(3, 5)
    for mode in ("nearest_even", "stochastic"):
        found = torch.func.vmap(lambda t, mode=mode: hu.cast(t, "float8_e5m2", mode, seed=2))(x)
        alone = [hu.cast(row, "float8_e5m2", mode, seed=2) for row in x]
        assert torch.equal(found, torch.stack(alone))
    through = torch.func.vmap(torch.func.grad(
        lambda t: hu.cast(t, "float16", grad="straight_through").sum()
    ))  # fmt: skip
    assert torch.equal(through(x), torch.ones(3, 5))


@pytest.mark.parametrize("which", ["eager", "aot_eager"])
def test_compiled_in_one_graph(which: str) -> None:
    def work(t: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = hu.cast(t * 2, "float8_e4m3fn", "stochastic", seed=seed, grad="straight_through")
        return drawn + 1, hu.encode(t, "e4m3b7", overflow="saturate")

    compiled = torch.compile(work, fullgraph=True, backend=which)
    for seed in (1, 2, 3):
        x = torch.randn(20, requires_grad=True)
        for found, expected in zip(compiled(x, seed), work(x, seed), strict=True):
            assert torch.equal(found, expected)
        compiled(x, seed)[0].sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, torch.full((20,), 2.0))


def test_the_rule_is_fused_for_devices() -> None:
    """What accelerators run: the integer operations compiled, here for the CPU."""
    x = torch.from_numpy(probes(hu.format("float16"), np.float32))
    for mode in ("nearest_even", "stochastic"):
        spec = cast_to("float16", mode).spec
        found = backend.on_integers(x, spec, 4, fused=True)
        assert same_bits(found, hu.cast(x.numpy(), "float16", mode, seed=4))


def test_the_operator_is_well_behaved() -> None:
    spec = cast_to("float16", "stochastic").spec
    for x in (torch.randn(3, 4), torch.randn(4, 3).T, torch.randn(2).to(torch.bfloat16)):
        torch.library.opcheck(torch.ops.halfulp.cast.default, (x, spec, 5))
        torch.library.opcheck(torch.ops.halfulp.encode.default, (x, spec, 5))
    fake = torch.empty(3, 4, device="meta")
    assert hu.cast(fake, "float16").shape == (3, 4)
    assert hu.encode(fake, "float16").dtype == torch.uint16


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.cast(torch.arange(3), "float16"), "torch.int64 cannot be cast"),
        (lambda: hu.cast(torch.randn(3, dtype=torch.complex64), "float16"), "cannot be cast"),
        (lambda: hu.cast(torch.eye(2).to_sparse(), "float16"), "to_dense"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(2)), "out must be a tensor"),
        (lambda: hu.cast(torch.randn(3), "float16", out=np.empty(3)), "found ndarray"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(3, requires_grad=True)),
         "requires gradients"),
        (lambda: hu.cast(torch.randn(3), "float16", grad="exact"), "straight_through"),
        (lambda: hu.cast(torch.randn(3), "float16", grad="straight_through", out=torch.empty(3)),
         "exclude each other"),
        (lambda: hu.cast(torch.randn(3), "float16", "stochastic"), "pass seed="),
        (lambda: hu.cast(torch.randn(3), "float16", "stochastic", seed=2**64), "64 bits"),
        (lambda: hu.cast(torch.randn(3), "floot16"), "unknown format"),
        (lambda: hu.cast(np.ones(3), "float16", grad="straight_through"), "torch tensors and JAX"),
        (lambda: hu.cast(np.ones(3), "float16", out=torch.empty(3)), "found Tensor"),
        (lambda: hu.decode(torch.randn(3), "float16"), "codes are integers"),
        (lambda: hu.decode(torch.tensor([300]), "float8_e5m2"), "no code 300"),
    ],
)  # fmt: skip
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()
