"""L1: elementwise operations on arrays: exact, kept to odd, then rounded once by the rule.

A cache block at a time: the operands become float64, which every float dtype fits; the operation
is rounded to odd (see odd.py); that is rounded to the format; and the answer is written as patterns
of the array's dtype. Operands within float32's range take float64 arithmetic and the kernels of
casts, all others integers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.backends import kernels, odd, settling
from halfulp.backends.kernels import compiled
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import (
    FLOAT_DTYPES,
    Work,
    codes_of,
    decode_array,
    in_threads,
    looked_up,
    work_of,
)
from halfulp.backends.settling import in_float64, rounded_odd, unpacked, wide_plan
from halfulp.backends.symbols import jitable
from halfulp.casting import Cast, cast_to
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError

Array = npt.NDArray[Any]

# Elements that go through all steps together: their blocks stay in the second-level cache.
BLOCK = 1 << 13

_FLOAT64 = np.dtype(np.float64)


# What arrays are.


def format_of(x: Any) -> Format:
    """The format that an array's dtype names; HalfulpError where it is no array of floats."""
    if isinstance(x, np.ma.MaskedArray):
        raise HalfulpError("a masked array would lose its mask: give x.filled(0) or x.data")
    return _named(x.dtype)


@lru_cache(maxsize=256)
def _named(dtype: np.dtype[Any]) -> Format:
    if dtype.name not in FLOAT_DTYPES:
        raise HalfulpError(
            f"an array of dtype {dtype} cannot be calculated with: give floats, such as "
            "x.astype('float64')"
        )
    return format(dtype.name)


@lru_cache(maxsize=1024)
def common_dtype(meeting: Format, *dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype that NumPy promotes dtypes to, or where it knows none that of ``meeting``, which
    is the format that theirs promote to.
    """
    try:
        dtype = np.result_type(*dtypes).newbyteorder("=")
    except TypeError:  # NumPy promotes few pairs of ml_dtypes
        return np.dtype(meeting.name)
    # Some that it does promote lose numbers: float8_e4m3fnuz and float8_e4m3fn.
    held = all(_named(dtype).holds(_named(each)) for each in dtypes)
    return dtype if held else np.dtype(meeting.name)


def checked_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], target: Format) -> Array:
    """Where the answer goes: ``out``, of any float dtype that holds the target, or a new array."""
    if out is not None:
        if not isinstance(out, np.ndarray) or out.shape != shape:
            array = isinstance(out, np.ndarray)
            found = f"{out.dtype} {out.shape}" if array else type(out).__name__
            raise HalfulpError(f"out must be an array of {dtype} {shape}: found {found}")
        if not out.flags.writeable:
            raise HalfulpError("out is read-only: give an array that can be written")
        dtype = out.dtype
    if not holds(dtype, target):
        raise HalfulpError(
            f"arrays of {dtype} do not hold every number of {target}: convert an operand with "
            f"astype({least_dtype(target).name!r}), or give out= of that dtype"
        )
    return np.empty(shape, dtype) if out is None else out


@lru_cache(maxsize=1024)
def holds(dtype: np.dtype[Any], target: Format) -> bool:
    """Whether arrays of a dtype hold every number of a format."""
    return _named(dtype).holds(target)


def least_dtype(target: Format) -> np.dtype[Any]:
    """The format's own dtype, or the narrower of float32 and float64 that holds it."""
    for name in (target.name, "float32", "float64"):
        if name in FLOAT_DTYPES - {"tfloat32"} and format(name).holds(target):
            return np.dtype(name)
    raise HalfulpError(f"no array holds every number of {target}: calculate with Python numbers")


# How an operation runs.


def calculate(
    name: str, values: Sequence[Any], formats: Sequence[Format], meeting: Format, cast: Cast,
    seed: int, out: Any,
) -> Any:  # fmt: skip
    """An operation on arrays, and on numbers that are given as float64 codes, with their formats.

    ``meeting`` is what the formats of the arrays alone promote to.
    """
    numbers = [isinstance(value, int) for value in values]
    # By its pattern, since the processor may have been told to flush subnormals.
    operands = [
        np.asarray(value, dtype=np.uint64).view(_FLOAT64) if is_number else np.asarray(value)
        for value, is_number in zip(values, numbers, strict=True)
    ]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in operands))
    except ValueError:
        shapes = ", ".join(str(x.shape) for x in operands)
        raise HalfulpError(f"arrays of shapes {shapes} do not broadcast") from None
    arrays = [value for value, is_number in zip(values, numbers, strict=True) if not is_number]
    dtype = common_dtype(meeting, *(x.dtype for x in arrays))
    into = checked_out(out, shape, dtype, cast.target)
    result = operate(name, operands, formats, cast, seed, into)
    # NumPy scalars for NumPy scalars.
    return result if out is not None or any(map(_is_proper, arrays)) else result[()]


def _is_proper(x: Any) -> bool:
    return isinstance(x, np.ndarray)


#: ``(operands as float64 blocks, a float64 block to use, patterns out, index of the first)``
Step = Callable[[Sequence[Array], Array, Array, int], None]


def operate(
    name: str, operands: Sequence[Array], formats: Sequence[Format], cast: Cast, seed: int,
    out: Array,
) -> Array:  # fmt: skip
    """The operation (``add sub mul div sqrt fma``) on arrays that broadcast to ``out``'s shape.

    ``formats`` are those that the operands' values lie in. Raises HalfulpError where the random
    bits of a stochastic rounding do not fit; nothing is written then.
    """
    native = out.dtype.newbyteorder("=")
    step = rounded_operation(name, tuple(formats), cast, seed if cast.is_stochastic else 0, native)
    if not out.size:
        return out
    # Where an operand lies under the answer, but not just as it does, the answer would destroy it.
    operands = [x.copy() if _clashes(x, out) else x for x in operands]
    most = min(BLOCK, out.size)
    fixed = [np.full(most, wide(x.reshape(-1))[0]) if x.size == 1 else None for x in operands]
    varied = [x for x, constant in zip(operands, fixed, strict=True) if constant is None]
    widen = [reading(x.dtype.newbyteorder("=")) for x in varied]

    def stretch(start: int, end: int) -> None:
        *wides, scratch = np.empty((len(varied) + 1, most))
        first = start
        for *parts, target in _blocks([*varied, out], start, end):
            size = target.size
            blocks = iter([w(x, y[:size]) for w, x, y in zip(widen, parts, wides, strict=True)])
            whole = [next(blocks) if constant is None else constant[:size] for constant in fixed]
            step(whole, scratch[:size], target, first)
            first += size

    in_threads(out.size, stretch)
    return out


def _clashes(x: Array, out: Array) -> bool:
    if not np.may_share_memory(x, out):
        return False
    places = [(v.ctypes.data, v.shape, v.strides, v.dtype) for v in (x, out)]
    return places[0] != places[1]


def _blocks(arrays: Sequence[Array], start: int, end: int) -> Any:
    """Elements ``start`` to ``end`` in C order, as contiguous blocks of patterns in native byte
    order, broadcast; the last array is the one to be written.
    """
    bits = [x.view(codes_of(x.dtype).newbyteorder(x.dtype.byteorder)) for x in arrays]
    # NumPy's stubs spell the flag "contig" wrongly.
    flags: Any = [["readonly", "contig"]] * (len(arrays) - 1) + [["writeonly", "contig"]]
    blocks = np.nditer(
        bits,
        flags=["external_loop", "buffered", "ranged", "delay_bufalloc"],
        op_flags=flags, op_dtypes=[codes_of(x.dtype) for x in arrays],
        order="C", casting="equiv", buffersize=BLOCK,
    )  # fmt: skip
    with blocks:
        blocks.iterrange = (start, end)  # type: ignore[misc]  # NumPy's stubs have it read-only
        for block in blocks:
            yield block if len(arrays) > 1 else (block,)


@lru_cache(maxsize=1024)
def rounded_operation(
    name: str, formats: tuple[Format, ...], cast: Cast, seed: int, dtype: np.dtype[Any]
) -> Step:
    """An operation on blocks, rounded to the cast's target and written as patterns of ``dtype``."""
    container = format(dtype.name)
    if in_float64(formats, cast):
        codes = container == cast.target
        narrow = None if codes or dtype == _FLOAT64 else _narrowing(dtype)
        exact, down = _odd_kernel(name), cast.rounding == "down"
        rounded = work_of(_FLOAT64, cast, seed, codes=codes)

        def quickly(x: Sequence[Array], scratch: Array, out: Array, first: int) -> None:
            exact(x[0], x[1 % len(x)], x[-1], scratch, down)
            if narrow is None:
                rounded(scratch, out if codes else out.view(_FLOAT64), first)
            else:
                rounded(scratch, scratch, first)
                narrow(scratch, out, 0)

        return quickly
    narrow = None if dtype == _FLOAT64 else _narrowing(dtype)
    kernel, plan, which = _wide_kernel(), wide_plan(cast, seed), WIDE_OPERATIONS.index(name)

    def thoroughly(x: Sequence[Array], scratch: Array, out: Array, first: int) -> None:
        values = scratch if narrow else out.view(_FLOAT64)
        kernel(which, x[0], x[1 % len(x)], x[-1], values, first, plan)
        if narrow:
            narrow(scratch, out, 0)

    return thoroughly


# Blocks between dtypes.


def wide(x: Array) -> Array:
    """The values of a contiguous array of any float dtype as float64."""
    native = x.dtype.newbyteorder("=")
    bits = x.astype(native, copy=False).view(codes_of(native))
    return reading(native)(bits, np.empty(x.shape))


@cache
def reading(dtype: np.dtype[Any]) -> Callable[[Array, Array], Array]:
    """Patterns of a float dtype as float64: ``(patterns, float64 block)`` gives the block, or a
    view of the patterns.

    All in integers: the processor may have been told to flush subnormals.
    """
    if dtype == _FLOAT64:
        return lambda bits, block: bits.view(_FLOAT64)
    if dtype.itemsize == 4:
        kernel = compiled(_widen_loop, f"widen_{_TEXTS}")

        def widen(bits: Array, block: Array) -> Array:
            kernel(bits.view(np.int32), block)
            return block

        return widen
    source = format(dtype.name)
    codes = np.arange(1 << (8 * dtype.itemsize), dtype=codes_of(dtype)) & (source.codes - 1)
    lookup = looked_up(decode_array(codes, source, "float64"))

    def look_up(bits: Array, block: Array) -> Array:
        lookup(bits, block, 0)
        return block

    return look_up


def narrowed(values: Array, dtype: np.dtype[Any]) -> Array:
    """Float64s that a dtype holds in that dtype."""
    out = np.empty(values.shape, dtype)
    flat = np.ascontiguousarray(values, np.float64).reshape(-1)
    _narrowing(dtype)(flat, out.reshape(-1).view(codes_of(dtype)), 0)
    return out


def _narrowing(dtype: np.dtype[Any]) -> Work:
    """Float64 blocks of numbers that a dtype holds as its patterns."""
    return work_of(_FLOAT64, cast_to(dtype.name), 0, codes=True)


# The kernels.

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Numba infers the types of what follows.

#: What a loop calls for each element; compiled() puts it in place.
one: Any = None

_TEXTS = kernels.fingerprint(odd, settling, sys.modules[__name__])[:16]

SIGN = odd.SIGN


def _widen_loop(bits, out):
    wide_vectors()
    for i in range(bits.size):
        pattern = np.int64(bits[i])
        magnitude = pattern & 0x7FFFFFFF
        field = magnitude >> 23
        normal = np.int64(field != 0)
        significand = np.float64(magnitude - ((field - normal) << 23))
        # 2 ** (field - 150), and for infinity and NaN an exponent of ones on top.
        scale = odd.from_pattern((field + 1 - normal + 1023 - 150) << 52)
        value = odd.pattern(significand * scale) | (np.int64(field == 255) * 0x7FF << 52)
        out[i] = odd.from_pattern(value | ((pattern < 0) * SIGN))


def _odd_loop(a, b, c, out, down):
    wide_vectors()
    for i in range(out.size):
        value = one(a[i], b[i], c[i], down)
        out[i] = value if value == value else np.nan  # of one sign on every processor


@jitable
def _add(a, b, c, down):
    return odd.downward_zero(odd.odd_sum(a, b), a, b, down)


@jitable
def _sub(a, b, c, down):
    return _add(a, -b, c, down)


@jitable
def _mul(a, b, c, down):
    return a * b


@jitable
def _div(a, b, c, down):
    return odd.odd_quotient(a, b)


@jitable
def _sqrt(a, b, c, down):
    return odd.odd_root(a)


@jitable
def _fma(a, b, c, down):
    return _add(a * b, c, c, down)


_ODD = {"add": _add, "sub": _sub, "mul": _mul, "div": _div, "sqrt": _sqrt, "fma": _fma}


@cache
def _odd_kernel(name: str) -> Any:
    """``(a, b, c, out, whether rounding is down)``: the operation to odd, on float64 blocks."""
    return compiled(_odd_loop, f"odd_{name}_{_TEXTS}", _ODD[name])


WIDE_OPERATIONS = ("add", "sub", "mul", "fma", "div", "sqrt")


@jitable
def _exact(which, a, b, c, down):
    """The operation of this number in WIDE_OPERATIONS, as parts of 61 bits."""
    if which == 4:
        return odd.exact_quotient(a, b)
    if which == 5:
        return odd.exact_root(a)
    if which == 0:
        return odd.exact_fma(a, 1.0, b, down)
    if which == 1:
        return odd.exact_fma(a, 1.0, -b, down)
    if which == 2:
        return odd.exact_product(a, b)
    return odd.exact_fma(a, b, c, down)


def _wide_loop(which, a, b, c, out, first, flat):
    plan = unpacked(flat)
    for i in range(out.size):
        exact = _exact(which, a[i], b[i], c[i], plan.down)
        out[i] = rounded_odd(exact, first + i, (first + i) >> 32, plan)


@cache
def _wide_kernel() -> Any:
    """``(number of the operation, a, b, c, out, index of the first, plan)`` on float64 blocks."""
    return compiled(_wide_loop, f"wide_{_TEXTS}")
