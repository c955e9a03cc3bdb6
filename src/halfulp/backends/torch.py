"""L1: torch tensors. In the memory of the CPU the same kernels as NumPy's, without a copy; on any
other device the rule on integer tensors.

Both are one registered operator, so that ``torch.compile``, ``torch.func`` and fake tensors know
its shape and dtype and need not look inside. Ordinary CPU tensors do without the operator, whose
dispatch takes longer than a thousand elements.
"""

# mypy: disable-error-code="no-untyped-call"
# torch.library has no types.

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib.util import find_spec
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halfulp.backends import numpy as arrays
from halfulp.backends.integers import Course, Road, cast_road, decode_road, travel
from halfulp.casting import Cast, checked_seed
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.patterns import FLOAT32, FLOAT64, Carrier

#: The dtypes of tensors that are cast, by the names of their formats.
FLOAT_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2",
        "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu",
    )
    if hasattr(torch, name)
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in FLOAT_DTYPES.items()}
_ARRAY_DTYPES = {dtype: np.dtype(name) for dtype, name in _NAMES.items()}
_UNSIGNED = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}
_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_INTEGERS = {dtype: np.dtype(str(dtype)[6:]) for sizes in (_UNSIGNED, _SIGNED)
             for dtype in sizes.values()}  # fmt: skip
SEEDS = 1 << 63


def cast_spec(x: Tensor, spec: str, seed: Any, out: Any, grad: str | None) -> Tensor:
    """The values of ``x`` rounded as :attr:`Cast.spec` says, in x's own dtype, on its device.

    ``grad="straight_through"`` hands gradients on as if nothing had been rounded; without it the
    answer is cut off from the graph. Raises HalfulpError for dtypes that are no floats, and for an
    ``out`` that does not fit; nothing is written then.
    """
    drawn = _checked(x, spec, seed)
    if out is not None:
        if grad is not None:
            raise HalfulpError("out= and grad= exclude each other: what is written has no gradient")
        return _into(out, x, x.dtype, spec, drawn, codes=False)
    if grad is not None:
        # Compilers know the operator's gradient, and do not look into functions with a tangent.
        through = torch.ops.halfulp.cast if torch.compiler.is_compiling() else StraightThrough.apply
        values: Tensor = through(x, spec, drawn)
        return values
    return _run(x.detach() if x.requires_grad else x, spec, drawn, codes=False)


def encode_spec(x: Tensor, spec: str, seed: Any, out: Any) -> Tensor:
    """The codes of ``x`` as a spec says, in the least unsigned dtype that holds them."""
    drawn = _checked(x, spec, seed)
    if out is not None:
        return _into(out, x, _code_dtype(spec), spec, drawn, codes=True)
    return _run(x.detach() if x.requires_grad else x, spec, drawn, codes=True)


def decode_name(codes: Tensor, source: str, dtype: Any = "float32", *, out: Any = None) -> Tensor:
    """The values of a tensor of codes, exactly, on the codes' device."""
    result = _checked_codes(codes, source, dtype if out is None else getattr(out, "dtype", dtype))
    if out is not None:
        _check_out(out, codes, result)
    array = _memory(codes)
    into = None if out is None else _memory(out)
    if array is None or (out is not None and into is None):
        values: Tensor = torch.ops.halfulp.decode(codes, source, result)
        return values if out is None else out.copy_(values)
    made = arrays.decode_array(array, format(source), _NAMES[result], out=into)
    return _tensor(made, result) if out is None else out


class StraightThrough(torch.autograd.Function):
    """A cast whose gradient is handed on as it comes, backward and forward; for torch.func too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, spec: str, seed: int) -> Tensor:
        """The cast itself."""
        return _run(x.detach(), spec, seed, codes=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: a cast has no derivative of its own."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """The gradient, unchanged."""
        return gradient, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *rest: None) -> Tensor:
        """The tangent, unchanged."""
        return tangent.view_as(tangent)


# What can be cast.


def _checked(x: Tensor, spec: str, seed: Any) -> int:
    """The seed of a cast of a tensor that can be cast."""
    if x.dtype not in _NAMES:
        raise HalfulpError(
            f"a tensor of dtype {x.dtype} cannot be cast: give floats, such as x.double()"
        )
    if x.layout is not torch.strided:
        raise HalfulpError(f"a tensor of layout {x.layout} cannot be cast: give x.to_dense()")
    if seed is None and spec.split()[1] != "stochastic":
        return 0
    if seed is None or not isinstance(seed, (int, torch.SymInt)):
        return checked_seed(Cast.of_spec(spec), seed)  # says what is wrong
    if not -SEEDS <= seed < SEEDS:
        raise HalfulpError(f"seed {seed} does not fit 64 bits, as seeds of tensors must")
    return seed  # type: ignore[return-value]  # a SymInt stands for an int


def _checked_codes(codes: Tensor, source: str, dtype: Any) -> torch.dtype:
    """The dtype that codes of a format are decoded to."""
    if codes.dtype not in _INTEGERS:
        raise HalfulpError(f"codes are integers, not {codes.dtype}: use encode to make them")
    name = str(dtype).removeprefix("torch.")
    if name not in FLOAT_DTYPES:
        raise HalfulpError(
            f"{dtype} is no float dtype of tensors that numbers are decoded to: try 'float32'"
        )
    if not _holds(name, source):
        raise HalfulpError(
            f"{name} cannot hold every number of {source}: ask for dtype='float64', or decode "
            "Python ints"
        )
    return FLOAT_DTYPES[name]


def _holds(name: str, source: str) -> bool:
    return _known_holds(name, source)


@lru_cache(maxsize=256)
def _known_holds(name: str, source: str) -> bool:
    return format(name).holds(format(source))


def _code_dtype(spec: str) -> torch.dtype:
    return _known_code_dtype(spec)


@lru_cache(maxsize=1024)
def _known_code_dtype(spec: str) -> torch.dtype:
    return _UNSIGNED[arrays.code_dtype(Cast.of_spec(spec).target).itemsize]


# torch.compile takes the answers as they are, and does not look into how names are read.
torch.compiler.assume_constant_result(_holds)
torch.compiler.assume_constant_result(_code_dtype)


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
    if any(step == 0 and size > 1 for step, size in zip(out.stride(), out.shape, strict=True)):
        raise HalfulpError(
            f"out of strides {out.stride()} has elements that share memory: give out.contiguous()"
        )


# Ordinary CPU tensors: their memory as NumPy arrays.


def _run(x: Tensor, spec: str, seed: int, *, codes: bool) -> Tensor:
    array = _memory(x)
    if array is not None:
        return _by_kernels(array, x.dtype, spec, seed, codes)
    operator = torch.ops.halfulp.encode if codes else torch.ops.halfulp.cast
    made: Tensor = operator(x, spec, seed)
    return made


def _into(out: Any, x: Tensor, dtype: torch.dtype, spec: str, seed: int, *, codes: bool) -> Tensor:
    _check_out(out, x, dtype)
    array, target = _memory(x.detach()), _memory(out)
    if array is None or target is None:
        written: Tensor = out.copy_(_run(x.detach(), spec, seed, codes=codes))
        return written
    arrays.loop(array, target, _work(x.dtype, spec, seed, codes))
    return out  # type: ignore[no-any-return]  # checked above


def _memory(x: Tensor) -> Any:
    """A tensor's memory as a NumPy array; None where only the operator serves: on other devices,
    and where the tensor stands for others (while compiling, tracing, batching).
    """
    if torch.compiler.is_compiling() or not x.is_cpu or _modes() or x.is_neg():
        return None
    try:
        return _array(x)
    except RuntimeError:  # a tensor without memory of its own
        return None


# How many modes (fake tensors, tracing) see what operators do.
_modes: Callable[[], int] = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)


def _array(x: Tensor) -> Any:
    if x.dtype is torch.float32 or x.dtype is torch.float64 or x.dtype in _INTEGERS:
        return x.numpy()
    return x.view(_SIGNED[x.itemsize]).numpy().view(_ARRAY_DTYPES[x.dtype])


def _tensor(array: Any, dtype: torch.dtype) -> Tensor:
    """A NumPy array of the same dtype as a tensor of the same memory."""
    if dtype in (torch.float32, torch.float64) or dtype in _INTEGERS:
        return torch.from_numpy(array)
    return torch.from_numpy(array.view(f"int{8 * array.itemsize}")).view(dtype)


def _by_kernels(array: Any, dtype: torch.dtype, spec: str, seed: int, codes: bool) -> Tensor:
    result = _code_dtype(spec) if codes else dtype
    # NumPy's memory, for large arrays, is of huge pages; torch's takes twice as long to come by.
    out = np.empty(array.shape, _INTEGERS[result] if codes else _ARRAY_DTYPES[result])
    arrays.loop(array, out, _work(dtype, spec, seed, codes))
    return _tensor(out, result)


@lru_cache(maxsize=1024)
def _work(dtype: torch.dtype, spec: str, seed: int, codes: bool) -> arrays.Work:
    return arrays.work_of(_ARRAY_DTYPES[dtype], Cast.of_spec(spec), seed, codes=codes)


# Any device: the rule on integer tensors.


def _carrier(bits: int, source: Format) -> Carrier:
    integer, real = _SIGNED[bits // 8], FLOAT_DTYPES[source.name]

    def widen(value: Any) -> Any:
        return value.to(integer) if isinstance(value, Tensor) else value

    def float_field(value: Any) -> Any:
        return (value.to(real).view(integer) >> source.fraction_bits) - source.bias

    return Carrier(f"torch_int{bits}", source, bits, widen, widen, float_field)


CARRIERS = (_carrier(32, FLOAT32), _carrier(64, FLOAT64))


def on_integers(
    x: Tensor, spec: str, seed: int, *, codes: bool = False, fused: bool | None = None
) -> Tensor:
    """A cast by the rule on integer tensors, on whatever device they lie.

    ``fused`` compiles the rule's hundred small operations to one kernel; by default on devices for
    which torch brings a compiler.
    """
    cast = Cast.of_spec(spec)
    road = cast_road(CARRIERS, format(_NAMES[x.dtype]), cast, codes)
    if road is None:
        raise HalfulpError(
            f"{cast.target} is wider than tensors can be cast to (53 significand bits, 63-bit "
            "codes): cast Python numbers"
        )
    result = _code_dtype(spec) if codes else x.dtype
    return _travelled(road, x, result, seed if cast.is_stochastic else 0, cast.is_stochastic, fused)


def decode_on_integers(
    codes: Tensor, source: str, result: torch.dtype, *, fused: bool | None = None
) -> Tensor:
    """The values of a tensor of codes, on whatever device they lie."""
    found = format(source)
    _check_range(codes, found)
    road = decode_road(CARRIERS, found, format(_NAMES[result]))
    if road is None:
        raise HalfulpError(f"{source} cannot be decoded on {codes.device}: give codes.cpu()")
    return _travelled(road, codes, result, 0, False, fused)


def _check_range(codes: Tensor, source: Format) -> None:
    is_unsigned = codes.dtype in _UNSIGNED.values()
    if codes.numel() and not (is_unsigned and 8 * codes.itemsize == source.width):
        # The least and the largest of unsigned dtypes are not known to every device.
        lost = codes.view(_SIGNED[codes.itemsize]).to(torch.int64) >> source.width
        if bool(lost.any()):
            arrays.check_codes(codes.cpu().numpy(), source)


def _travelled(
    road: Road, x: Tensor, result: torch.dtype, seed: int, drawn: bool, fused: bool | None
) -> Tensor:
    bits = x.resolve_neg().contiguous().view(_SIGNED[x.itemsize]).reshape(-1)
    text = _text(road.course, drawn, result.itemsize)
    if has_compiler(x.device) if fused is None else fused:
        text = _fused(text)
    made = text(bits, _ints(road, seed, x.device))
    return made.view(result).reshape(x.shape)


@cache
def _text(course: Course, drawn: bool, size: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A road on flat tensors: ``(codes, ints of its casts)`` to codes of ``size`` bytes."""
    run, integer = travel(course), _SIGNED[course.carrier.bits // 8]

    def text(bits: Tensor, ints: Tensor) -> Tensor:
        low, high = _indices(bits) if drawn else (0, 0)
        made: Tensor = run(bits.to(integer), low, high, ints.unbind()).to(_SIGNED[size])
        return made

    return text


@cache
def _fused(text: Callable[..., Tensor]) -> Callable[..., Tensor]:
    # What is compiled is kept, up to a limit, by the code object: so each gets one of its own.
    assert isinstance(text, FunctionType)
    code = text.__code__.replace(co_name=f"{text.__code__.co_name}_{id(text):x}")
    own = FunctionType(code, text.__globals__, code.co_name, None, text.__closure__)
    return torch.compile(own, dynamic=True, fullgraph=True)


def has_compiler(device: torch.device) -> bool:
    """Whether the rule is fused to one kernel on a device."""
    return device.type in ("cuda", "xpu") and find_spec("triton") is not None


@lru_cache(maxsize=4096)
def _ints(road: Road, seed: int, device: torch.device) -> Tensor:
    """The numbers of a road where its tensors lie: of a format, they change no compiled code."""
    return torch.tensor(road.ints(seed), dtype=_SIGNED[road.carrier.bits // 8], device=device)


def _indices(flat: Tensor) -> tuple[Any, Any]:
    """The low and high words of every element's place in C order, as 32-bit integers."""
    if flat.numel() <= 1 << 31:
        return torch.arange(flat.numel(), dtype=torch.int32, device=flat.device), 0
    return _words(torch.arange(flat.numel(), dtype=torch.int64, device=flat.device))


def _words(index: Tensor) -> tuple[Tensor, Tensor]:
    return index.to(torch.int32), (index >> 32).to(torch.int32)


# The operators.


def _register() -> None:
    tags = (torch.Tag.pt2_compliant_tag,)
    for name, codes in (("cast", False), ("encode", True)):
        _LIBRARY.define(f"{name}(Tensor x, str spec, SymInt seed) -> Tensor", tags=tags)
        _LIBRARY.impl(name, _implementation(_on_cpu, codes), "CPU")
        _LIBRARY.impl(name, _implementation(on_integers, codes), "CompositeExplicitAutograd")
        torch.library.register_fake(f"halfulp::{name}", _fake(codes), lib=_LIBRARY)
        torch.library.register_vmap(f"halfulp::{name}", _batched(name), lib=_LIBRARY)
    # As it stands alone the operator hands gradients on; halfulp.cast detaches before it.
    torch.library.register_autograd("halfulp::cast", _handed_on, lib=_LIBRARY)
    _LIBRARY.define("decode(Tensor codes, str source, ScalarType dtype) -> Tensor", tags=tags)
    _LIBRARY.impl("decode", _decode_on_cpu, "CPU")
    _LIBRARY.impl("decode", decode_on_integers, "CompositeExplicitAutograd")
    torch.library.register_fake("halfulp::decode", _fake_decode, lib=_LIBRARY)
    torch.library.register_vmap("halfulp::decode", _batched_decode, lib=_LIBRARY)


def _implementation(work: Callable[..., Tensor], codes: bool) -> Callable[..., Tensor]:
    return lambda x, spec, seed: work(x, spec, seed, codes=codes)


def _on_cpu(x: Tensor, spec: str, seed: int, *, codes: bool) -> Tensor:
    return _by_kernels(_array(x.detach().resolve_neg()), x.dtype, spec, seed, codes)


def _decode_on_cpu(codes: Tensor, source: str, dtype: torch.dtype) -> Tensor:
    return _tensor(arrays.decode_array(_array(codes), format(source), _NAMES[dtype]), dtype)


def _fake(codes: bool) -> Callable[..., Tensor]:
    def fake(x: Tensor, spec: str, seed: int) -> Tensor:
        return x.new_empty(x.shape, dtype=_code_dtype(spec) if codes else x.dtype)

    return fake


def _fake_decode(codes: Tensor, source: str, dtype: torch.dtype) -> Tensor:
    return codes.new_empty(codes.shape, dtype=dtype)


def _handed_on(context: Any, gradient: Any) -> Any:
    return gradient, None, None


def _batched(name: str) -> Callable[..., Any]:
    def batched(info: Any, dims: Any, x: Tensor, spec: str, seed: int) -> tuple[Tensor, int]:
        """Each example is cast as if alone: its elements draw by their place within it."""
        operator, examples = getattr(torch.ops.halfulp, name), x.movedim(dims[0], 0)
        if spec.split()[1] != "stochastic" or not len(examples):
            return operator(examples, spec, seed), 0
        return torch.stack([operator(example, spec, seed) for example in examples]), 0

    return batched


def _batched_decode(
    info: Any, dims: Any, codes: Tensor, source: str, dtype: torch.dtype
) -> tuple[Tensor, int]:
    return torch.ops.halfulp.decode(codes, source, dtype), dims[0]


_LIBRARY = torch.library.Library("halfulp", "DEF")
_register()
