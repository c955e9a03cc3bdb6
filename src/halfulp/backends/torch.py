"""L1: torch tensors. On the CPU the same kernels as NumPy's, without a copy; on any other device
the rule on integer tensors.

Both are one registered operator, so that ``torch.compile`` and fake tensors know its shape and
type and need not look inside.
"""

# mypy: disable-error-code="no-untyped-call"
# torch.library and torch.autograd.Function are not typed.

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halfulp.backends import numpy as arrays
from halfulp.carrier import Outcome
from halfulp.casting import Cast, cast_to, checked_seed
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.noise import Key
from halfulp.patterns import Carrier, fits, pattern_cast, plan, shape_of

#: The dtypes of tensors that are cast, by the names of their formats.
FLOAT_DTYPES = {
    name: getattr(torch, name)
    for name in (
        "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2",
        "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    )
    if hasattr(torch, name)
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in FLOAT_DTYPES.items()}
_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}
_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
SEEDS = 1 << 63


def cast_spec(x: Tensor, spec: str, seed: Any, out: Any, grad: str | None) -> Any:
    """The values of ``x`` rounded as :attr:`Cast.spec` says, in x's own dtype, on its device.

    ``grad="straight_through"`` hands gradients on as if nothing had been rounded; without it the
    answer is cut off from the graph. Raises HalfulpError for dtypes that are no floats, and for an
    ``out`` that does not fit; nothing is written then.
    """
    drawn = _checked(x, spec, seed)
    if out is not None and grad is not None:
        raise HalfulpError("out= and grad= exclude each other: what is written has no gradient")
    if out is not None:
        return _into(out, x.detach(), x.dtype, spec, drawn, codes=False)
    if grad is not None:
        return StraightThrough.apply(x, spec, drawn)
    return torch.ops.halfulp.cast(x.detach(), spec, drawn)


def encode_spec(x: Tensor, spec: str, seed: Any, out: Any) -> Any:
    """The codes of ``x`` as a spec says, in the least unsigned dtype that holds them."""
    drawn = _checked(x, spec, seed)
    if out is not None:
        dtype = _code_dtype(Cast.of_spec(spec).target)
        return _into(out, x.detach(), dtype, spec, drawn, codes=True)
    return torch.ops.halfulp.encode(x.detach(), spec, drawn)


class StraightThrough(torch.autograd.Function):
    """A cast whose gradient is handed on as it comes; usable by torch.func as well."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, spec: str, seed: int) -> Any:
        """The cast itself."""
        return torch.ops.halfulp.cast(x, spec, seed)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: a cast has no derivative of its own."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """The gradient, unchanged."""
        return gradient, None, None


def decode_array(
    codes: Tensor, source: Format, dtype: Any = "float32", *, out: Tensor | None = None
) -> Tensor:
    """The values of a tensor of codes, exactly; on the codes' device."""
    name = str(dtype).removeprefix("torch.")
    if codes.dtype.is_floating_point or codes.dtype.is_complex or codes.dtype == torch.bool:
        raise HalfulpError(f"codes are integers, not {codes.dtype}: use encode to make them")
    if out is not None:
        _check_out(out, codes, out.dtype)
        name = _NAMES.get(out.dtype, str(out.dtype).removeprefix("torch."))
    values = _tensor(arrays.decode_array(codes.cpu().numpy(), source, name)).to(codes.device)
    return values if out is None else out.copy_(values)


def _checked(x: Tensor, spec: str, seed: Any) -> Any:
    """The seed of a cast of a tensor that can be cast."""
    if x.dtype not in _NAMES:
        raise HalfulpError(
            f"a tensor of dtype {x.dtype} cannot be cast: give floats, such as x.double()"
        )
    if x.layout is not torch.strided:
        raise HalfulpError(f"a tensor of layout {x.layout} cannot be cast: give x.to_dense()")
    if spec.split()[1] != "stochastic" and seed is None:
        return 0
    if seed is None or not isinstance(seed, (int, torch.SymInt)):
        return checked_seed(Cast.of_spec(spec), seed)  # says what is wrong
    if not -SEEDS <= seed < SEEDS:
        raise HalfulpError(f"seed {seed} does not fit 64 bits, as seeds of tensors must")
    return seed


def _into(out: Any, x: Tensor, dtype: torch.dtype, spec: str, seed: int, *, codes: bool) -> Any:
    _check_out(out, x, dtype)
    if _is_plain(x) and _is_plain(out):
        arrays.loop(_array(x), _array(out), _work(x.dtype, spec, seed, codes))
        return out
    operator = torch.ops.halfulp.encode if codes else torch.ops.halfulp.cast
    return out.copy_(operator(x, spec, seed))


def _check_out(out: Any, x: Tensor, dtype: torch.dtype) -> None:
    if not isinstance(out, Tensor) or (out.shape, out.dtype, out.device) != (
        x.shape, dtype, x.device,
    ):  # fmt: skip
        found = (
            f"{out.dtype} {tuple(out.shape)} on {out.device}"
            if isinstance(out, Tensor)
            else type(out).__name__
        )
        raise HalfulpError(
            f"out must be a tensor of {dtype} {tuple(x.shape)} on {x.device}: found {found}"
        )
    if out.requires_grad:
        raise HalfulpError("out requires gradients: give out.detach() to write in its place")


# CPU: the memory of a tensor as a NumPy array.


def _is_plain(x: Tensor) -> bool:
    return x.device.type == "cpu" and not x.is_conj() and not x.is_neg()


def _array(x: Tensor) -> Any:
    """A CPU tensor's own memory as a NumPy array of the same dtype."""
    if x.dtype in (torch.float32, torch.float64) or not x.dtype.is_floating_point:
        return x.numpy()
    return x.view(_SIGNED[x.itemsize]).numpy().view(np.dtype(_NAMES[x.dtype]))


def _tensor(array: Any) -> Tensor:
    """A NumPy array of a float dtype or of codes as a tensor of the same memory."""
    if array.dtype.name not in _NAMES.values() or array.dtype.name in ("float32", "float64"):
        return torch.from_numpy(array)
    bits = array.view(np.dtype(f"int{8 * array.dtype.itemsize}"))
    return torch.from_numpy(bits).view(FLOAT_DTYPES[array.dtype.name])


def _work(dtype: torch.dtype, spec: str, seed: int, codes: bool) -> arrays.Work:
    return arrays.work_of(np.dtype(_NAMES[dtype]), Cast.of_spec(spec), seed, codes=codes)


def _on_cpu(x: Tensor, spec: str, seed: int, *, codes: bool) -> Tensor:
    dtype = _code_dtype(Cast.of_spec(spec).target) if codes else x.dtype
    out = torch.empty(x.shape, dtype=dtype)
    arrays.loop(_array(x.detach().resolve_neg()), _array(out), _work(x.dtype, spec, seed, codes))
    return out


def _code_dtype(target: Format) -> torch.dtype:
    return _UNSIGNED[arrays.code_dtype(target).itemsize]


# Any device: the rule on integer tensors.


def _carrier(bits: int) -> Carrier:
    integer, real = (torch.int32, torch.float32) if bits == 32 else (torch.int64, torch.float64)
    source = format(_NAMES[real])

    def widen(value: Any) -> Any:
        return value.to(integer) if isinstance(value, Tensor) else value

    def float_field(value: Any) -> Any:
        return (value.to(real).view(integer) >> source.fraction_bits) - source.bias

    return Carrier(f"torch_int{bits}", source, bits, widen, widen, float_field)


@lru_cache(maxsize=1024)
def _body(cast: Cast, wide: bool, codes: bool) -> tuple[Carrier, Callable[..., Any]]:
    carrier = _carrier(64 if wide else 32)
    if not fits(cast, carrier.source, carrier.bits):
        raise HalfulpError(
            f"{cast.target} is wider than tensors of {carrier.source} can be cast to: cast Python "
            "numbers"
        )
    return carrier, pattern_cast(carrier, shape_of(cast, carrier, codes=codes))


@lru_cache(maxsize=256)
def _fused(body: Callable[..., Any]) -> Callable[..., Any]:
    """The rule's hundred small operations as one kernel of the device."""
    return torch.compile(body, dynamic=True)


def on_integers(
    x: Tensor, spec: str, seed: int, *, codes: bool = False, fused: bool | None = None
) -> Tensor:
    """A cast by the rule on integer tensors, on whatever device they lie.

    ``fused`` compiles the rule for the device; by default where that is an accelerator.
    """
    cast = Cast.of_spec(spec)
    given = x if x.dtype in (torch.float32, torch.float64) else x.float()
    wide = given.dtype == torch.float64 or not fits(cast, format("float32"), 32)
    given = given.double() if wide else given
    carrier, body = _body(cast, wide, codes)
    integer = torch.int64 if wide else torch.int32
    low, high = _indices(given) if cast.is_stochastic else (0, 0)
    ints: Any = plan(cast, carrier, seed, codes=codes)

    def held(number: int) -> Tensor:
        """A number as a tensor, which wraps where Python's would not fit."""
        return torch.tensor(number, dtype=integer)

    ints = ints._replace(
        outcome=Outcome._make(map(held, ints.outcome)), key=Key._make(map(held, ints.key))
    )
    fused = x.device.type not in ("cpu", "meta") if fused is None else fused
    pattern = (_fused(body) if fused else body)(given.view(integer), low, high, ints)
    if codes:
        return _narrowed(pattern, arrays.code_dtype(cast.target).itemsize)
    values: Tensor = pattern.view(given.dtype)
    if values.dtype == x.dtype:
        return values
    if x.dtype in (torch.float32, torch.float16, torch.bfloat16):
        return values.to(x.dtype)
    # Beyond their range torch saturates some dtypes; their own codes say what NumPy's say.
    back = on_integers(values, cast_to(_NAMES[x.dtype]).spec, 0, codes=True)
    return back.view(x.dtype)


def _narrowed(codes: Tensor, size: int) -> Tensor:
    """Codes in an unsigned dtype: the same low bits."""
    signed = codes.to(_SIGNED[size])
    return signed.view(_UNSIGNED[size])


def _indices(x: Tensor) -> tuple[Any, Any]:
    """The low and high words of every element's place in C order, as 32-bit integers."""
    count = math.prod(x.shape)
    if count <= 1 << 31:
        return torch.arange(count, dtype=torch.int32, device=x.device).reshape(
            x.shape
        ), torch.tensor(0, dtype=torch.int32)
    index = torch.arange(count, dtype=torch.int64, device=x.device).reshape(x.shape)
    return _low_word(index), (index >> 32).to(torch.int32)


def _low_word(index: Tensor) -> Tensor:
    word = index & 0xFFFFFFFF
    return (word - ((word >> 31) << 32)).to(torch.int32)


# The operators.


def _register() -> None:
    tags = (torch.Tag.pt2_compliant_tag,)
    for name, codes in (("cast", False), ("encode", True)):
        _LIBRARY.define(f"{name}(Tensor x, str spec, SymInt seed) -> Tensor", tags=tags)
        _LIBRARY.impl(name, _implementation(_on_cpu, codes), "CPU")
        _LIBRARY.impl(name, _implementation(on_integers, codes), "CompositeExplicitAutograd")
        torch.library.register_fake(f"halfulp::{name}", _fake(codes), lib=_LIBRARY)
        # As it stands alone the operator hands gradients on; halfulp.cast detaches before it.
        torch.library.register_autograd(f"halfulp::{name}", _handed_on, lib=_LIBRARY)
        torch.library.register_vmap(f"halfulp::{name}", _batched(name), lib=_LIBRARY)


def _implementation(work: Callable[..., Tensor], codes: bool) -> Callable[..., Tensor]:
    return lambda x, spec, seed: work(x, spec, seed, codes=codes)


def _fake(codes: bool) -> Callable[..., Tensor]:
    def fake(x: Tensor, spec: str, seed: int) -> Tensor:
        dtype = _code_dtype(Cast.of_spec(spec).target) if codes else x.dtype
        return torch.empty(x.shape, dtype=dtype, device=x.device)

    return fake


def _handed_on(context: Any, gradient: Any) -> Any:
    return gradient, None, None


def _batched(name: str) -> Callable[..., Any]:
    def batched(info: Any, dims: Any, x: Tensor, spec: str, seed: int) -> tuple[Tensor, int]:
        """Each example is cast as if alone: its elements draw by their place within it."""
        operator, examples = getattr(torch.ops.halfulp, name), x.movedim(dims[0], 0)
        if spec.split()[1] != "stochastic":
            return operator(examples, spec, seed), 0
        return torch.stack([operator(example, spec, seed) for example in examples]), 0

    return batched


_LIBRARY = torch.library.Library("halfulp", "DEF")
_register()
