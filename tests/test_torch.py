"""torch tensors: the CPU's road and every other device's give NumPy's bits; gradients, compile."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import halfulp as hu
from cases import CATALOGUE, CUSTOMS, DRAWN_AND_NOT, by_name
from halfulp.backends import torch as backend
from halfulp.casting import cast_to
from probes import codes_of, every_pattern, probes, same_bits

FORMATS = [*CATALOGUE, *CUSTOMS]
NARROW = [name for name in backend.FLOAT_DTYPES if name not in ("float64", "float32")]


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """A tensor of the same memory."""
    if array.dtype.name in ("float32", "float64") or array.dtype.kind in "iu":
        return torch.from_numpy(array)
    bits = torch.from_numpy(array.view(f"int{8 * array.itemsize}"))
    return bits.view(getattr(torch, array.dtype.name))


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """An array of the same memory."""
    signed = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.itemsize]
    name = str(tensor.dtype).removeprefix("torch.")
    return tensor.contiguous().view(signed).numpy().view(name)


def on_integers(x: torch.Tensor, f: Any, mode: str, *, codes: bool, seed: int = 3) -> np.ndarray:
    return array_of(backend.on_integers(x, cast_to(f, mode).spec, seed, codes=codes))


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_boundaries_of_every_format_have_numpys_bits(f: hu.Format, dtype: Any) -> None:
    x = probes(f, dtype)
    for mode in DRAWN_AND_NOT:
        for function, codes in ((hu.cast, False), (hu.encode, True)):
            expected = function(x, f, mode, seed=3)
            assert same_bits(array_of(function(tensor_of(x), f, mode, seed=3)), expected)
            assert same_bits(on_integers(tensor_of(x), f, mode, codes=codes), expected)


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
def test_all_patterns_of_narrow_dtypes_have_numpys_bits(f: hu.Format) -> None:
    for name in NARROW:
        x = every_pattern(name)
        # The integers of 65,536 elements take a hundredth of a second.
        checked = DRAWN_AND_NOT if x.itemsize == 1 else ("nearest_even", "up", "stochastic")
        for mode in DRAWN_AND_NOT:
            for function, codes in ((hu.cast, False), (hu.encode, True)):
                expected = function(x, f, mode, seed=3)
                assert same_bits(array_of(function(tensor_of(x), f, mode, seed=3)), expected)
                if mode in checked and (x.itemsize == 1 or (len(f.name) + codes) % 2):
                    assert same_bits(on_integers(tensor_of(x), f, mode, codes=codes), expected)


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
def test_decoding_gives_numpys_bits_on_both_roads(f: hu.Format) -> None:
    codes = codes_of(f)
    for name in backend.FLOAT_DTYPES:
        if hu.format(name).holds(f):
            expected = hu.decode(codes, f, name)
            given = tensor_of(codes)
            assert same_bits(array_of(hu.decode(given, f, name)), expected)
            result = getattr(torch, name)
            assert same_bits(array_of(backend.decode_on_integers(given, f.name, result)), expected)


def test_a_value_by_hand() -> None:
    x = torch.tensor([1.12156456132, -65519.99, 65520.0])
    assert hu.cast(x, "float16").tolist() == [1.12109375, -65504.0, float("inf")]
    assert hu.encode(x, "float16").tolist() == [0x3C7C, 0xFBFF, 0x7C00]
    found = on_integers(x, "float16", "nearest_even", codes=True)
    assert found.tolist() == [0x3C7C, 0xFBFF, 0x7C00]


@pytest.mark.parametrize("name", backend.FLOAT_DTYPES)
def test_strides_and_shapes_make_no_difference(name: str) -> None:
    x = torch.randn(6, 7, 4).to(getattr(torch, name))
    whole = hu.cast(x, "float8_e4m3b11fnuz", "stochastic", seed=9)
    apart = torch.empty(6, 7, 4, 2, dtype=x.dtype)[..., 0]
    apart.copy_(x)
    for view in (x.transpose(0, 2).contiguous().transpose(0, 2), apart):
        assert not view.is_contiguous()
        found = hu.cast(view, "float8_e4m3b11fnuz", "stochastic", seed=9)
        assert same_bits(array_of(found), array_of(whole))
        found = on_integers(view, "float8_e4m3b11fnuz", "stochastic", codes=False, seed=9)
        assert same_bits(found, array_of(whole))
    assert hu.cast(x, "float16").dtype == x.dtype
    for function in (hu.cast, hu.encode):
        assert function(x[:0], "float16").shape == (0, 7, 4)
        assert function(x[0, 0, 0], "float16").shape == ()
    for view in (x[:0], x[0, 0, 0]):
        assert on_integers(view, "float16", "up", codes=False).shape == tuple(view.shape)


def test_lazy_negation_is_seen() -> None:
    x = torch.randn(5, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    expected = hu.cast(x.resolve_neg(), "float8_e5m2")
    assert torch.equal(hu.cast(x, "float8_e5m2"), expected)
    assert torch.equal(hu.cast(x, "float8_e5m2", out=torch.empty(5)), expected)
    assert same_bits(on_integers(x, "float8_e5m2", "nearest_even", codes=False), array_of(expected))
    x[:] = 1.0
    assert hu.cast(torch.full((5,), 0.3), "float8_e5m2", out=x).tolist() == [0.3125] * 5


def test_memory_that_cannot_be_written_is_read() -> None:
    array = np.full(4, 1.1, np.float32)
    array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that such tensors could be written to
        x = torch.from_numpy(array)
    assert same_bits(array_of(hu.cast(x, "float16")), hu.cast(array, "float16"))


def test_indices_beyond_the_low_word() -> None:
    low, high = backend._words(torch.tensor([0, 2**31, 2**32 - 1, 2**32, 2**40 + 5]))
    assert low.tolist() == [0, -(2**31), -1, 0, 5]
    assert high.tolist() == [0, 0, 0, 1, 256]


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
    assert hu.decode(codes, "float8_e5m2", out=values) is values
    assert torch.equal(values, hu.cast(x, "float8_e5m2"))
    assert hu.cast(x, "float16", out=x) is x
    assert torch.equal(x, out)


# Gradients.


def test_straight_through_hands_gradients_on() -> None:
    x = torch.randn(4, requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    found = hu.cast(x, "float8_e4m3fn", grad="straight_through")
    (found * weights).sum().backward()
    assert torch.equal(found, hu.cast(x, "float8_e4m3fn"))
    assert torch.equal(x.grad, weights)


def test_without_a_gradient_the_answer_has_none() -> None:
    x = torch.nn.Parameter(torch.randn(4))
    for found in (hu.cast(x, "float16"), hu.encode(x, "float16")):
        assert not found.requires_grad
        assert type(found) is torch.Tensor
    assert x.requires_grad


def squares(t: torch.Tensor) -> torch.Tensor:
    return (hu.cast(t, "float16", grad="straight_through") ** 2).sum()


def test_transforms_of_torch_func() -> None:
    point = torch.randn(3)
    rounded = hu.cast(point, "float16")
    assert torch.equal(torch.func.grad(squares)(point), 2 * rounded)
    assert torch.equal(torch.func.jvp(squares, (point,), (torch.ones(3),))[1], 2 * rounded.sum())
    assert torch.equal(torch.func.hessian(squares)(point), 2 * torch.eye(3))
    detached = torch.func.grad(lambda t: (hu.cast(t, "float16") * t).sum())
    assert torch.equal(detached(point), rounded)


@pytest.mark.parametrize("mode", ["nearest_even", "stochastic"])
def test_vmap_casts_each_example_as_if_alone(mode: str) -> None:
    x = torch.randn(3, 5)
    alone = torch.stack([hu.cast(row, "float8_e5m2", mode, seed=2) for row in x])
    for given, axis in ((x, 0), (x.T.contiguous(), 1)):
        found = torch.func.vmap(
            lambda t: hu.cast(t, "float8_e5m2", mode, seed=2), in_dims=axis
        )(given)  # fmt: skip
        assert torch.equal(found, alone)
    nobody = torch.func.vmap(lambda t: hu.encode(t, "float8_e5m2", mode, seed=2))(x[:0])
    assert nobody.shape == (0, 5)
    through = torch.func.vmap(torch.func.grad(squares))(x)
    assert torch.equal(through, 2 * hu.cast(x, "float16"))
    codes = hu.encode(x, "float8_e5m2")
    decoded = torch.func.vmap(lambda c: hu.decode(c, "float8_e5m2"))(codes)
    assert torch.equal(decoded, hu.decode(codes, "float8_e5m2"))


# Compiling and tracing.


@pytest.mark.parametrize("which", ["eager", "aot_eager"])
def test_compiled_in_one_graph(which: str) -> None:
    def work(t: torch.Tensor, seed: int) -> tuple[torch.Tensor, ...]:
        drawn = hu.cast(t * 2, "float8_e4m3fn", "stochastic", seed=seed, grad="straight_through")
        codes = hu.encode(t, "e4m3b7", overflow="saturate")
        written = hu.cast(t.detach(), "float16", out=torch.empty_like(t))
        return drawn + 1, codes, hu.decode(codes, "e4m3b7"), written

    compiled = torch.compile(work, fullgraph=True, backend=which)
    for seed in (1, 2, 3):
        x = torch.randn(20, requires_grad=True)
        for found, expected in zip(compiled(x, seed), work(x, seed), strict=True):
            assert torch.equal(found, expected)
        compiled(x, seed)[0].sum().backward()
        assert torch.equal(x.grad, torch.full((20,), 2.0))


def test_the_rule_is_fused_for_devices() -> None:
    """What accelerators run: the integer operations compiled, here for the CPU; formats share it."""
    x = torch.from_numpy(probes(hu.format("float16"), np.float32)).to(torch.bfloat16)
    for f in ("float8_e5m2", "float8_e4m3", "e4m3b9"):
        spec = cast_to(f, "stochastic").spec
        found = backend.on_integers(x, spec, 4, fused=True)
        assert same_bits(array_of(found), array_of(hu.cast(x, f, "stochastic", seed=4)))


def test_the_operators_are_well_behaved() -> None:
    ops, spec = torch.ops.halfulp, cast_to("float16", "stochastic").spec
    for x in (torch.randn(3, 4), torch.randn(4, 3).T, torch.randn(2).to(torch.bfloat16)):
        torch.library.opcheck(ops.cast.default, (x, spec, 5))
        torch.library.opcheck(ops.encode.default, (x, spec, 5))
    torch.library.opcheck(ops.cast.default, (torch.randn(3, requires_grad=True), spec, 5))
    codes = torch.arange(16, dtype=torch.uint8)
    torch.library.opcheck(ops.decode.default, (codes, "float4_e2m1fn", torch.float32))


def test_tensors_without_data_have_shapes_and_dtypes() -> None:
    def check(x: torch.Tensor, codes: torch.Tensor) -> None:
        assert hu.cast(x, "float16").shape == (3, 4)
        assert hu.cast(x, "float16", out=torch.empty_like(x)).shape == (3, 4)
        assert hu.encode(x, "float16").dtype == torch.uint16
        assert hu.decode(codes, "float8_e5m2").dtype == torch.float32

    check(torch.empty(3, 4, device="meta"), torch.empty(3, dtype=torch.uint8, device="meta"))
    with FakeTensorMode():
        check(torch.empty(3, 4), torch.empty(3, dtype=torch.uint8))


def test_the_trace_of_a_cast_is_the_operator() -> None:
    """Tracing must not take the values of the example for constants."""
    from torch.fx.experimental.proxy_tensor import make_fx

    traced = make_fx(lambda t: hu.cast(t, "float16"))(torch.ones(3))
    x = torch.tensor([1.1, 2.2, 3.3])
    assert torch.equal(traced(x), hu.cast(x, "float16"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.cast(torch.arange(3), "float16"), "torch.int64 cannot be cast"),
        (lambda: hu.cast(torch.randn(3, dtype=torch.complex64), "float16"), "cannot be cast"),
        (lambda: hu.cast(torch.eye(2).to_sparse(), "float16"), "to_dense"),
        (lambda: hu.cast(torch.randn(3), "e15m112"), "wider than"),
        (lambda: backend.on_integers(torch.randn(3), cast_to("e15m112").spec, 0), "wider than"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(2)), "out must be a tensor"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(3).half()), "found torch.f"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(3, device="meta")), "on meta"),
        (lambda: hu.cast(torch.randn(3), "float16", out=np.empty(3)), "found ndarray"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(1).expand(3)), "share memory"),
        (lambda: hu.cast(torch.randn(3), "float16", out=torch.empty(3, requires_grad=True)),
         "requires gradients"),
        (lambda: hu.cast(torch.randn(3), "float16", grad="exact"), "straight_through"),
        (lambda: hu.cast(torch.randn(3), "float16", grad="straight_through", out=torch.empty(3)),
         "exclude each other"),
        (lambda: hu.cast(torch.randn(3), "float16", "stochastic"), "pass seed="),
        (lambda: hu.cast(torch.randn(3), "float16", "stochastic", seed=1.5), "integer"),
        (lambda: hu.cast(torch.randn(3), "float16", "stochastic", seed=2**64), "64 bits"),
        (lambda: hu.cast(torch.randn(3), "floot16"), "unknown format"),
        (lambda: hu.cast(np.ones(3), "float16", grad="straight_through"), "torch tensors and JAX"),
        (lambda: hu.cast(1.0, "float16", grad="straight_through"), "torch tensors and JAX"),
        (lambda: hu.cast(np.ones(3), "float16", out=torch.empty(3)), "found Tensor"),
        (lambda: hu.decode(torch.randn(3), "float16"), "codes are integers"),
        (lambda: hu.decode(torch.tensor([300]), "float8_e5m2"), "no code 300"),
        (lambda: backend.decode_on_integers(torch.tensor([1, -1]), "float16", torch.float32),
         "no code -1"),
        (lambda: hu.decode(torch.tensor([3]), "float8_e5m2", "int8"), "no float dtype"),
        (lambda: hu.decode(torch.tensor([3]), "float64"), "cannot hold"),
        (lambda: hu.decode(torch.tensor([3]), "float8_e5m2", out=[1.0]), "found list"),
    ],
)  # fmt: skip
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()


def test_a_refused_out_is_left_as_it_was() -> None:
    out = torch.full((3,), 7.0, dtype=torch.float64)
    with pytest.raises(hu.HalfulpError):
        hu.cast(torch.ones(3), "float16", out=out)
    assert out.tolist() == [7.0] * 3
