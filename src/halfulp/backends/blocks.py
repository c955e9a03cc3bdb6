"""L1: blocks of elements that share a scale, over NumPy arrays.

An array is seen as (outer, n, inner) around the axis of its blocks. Elements are divided by their
scale and rounded once by the rule. By a power of two that is exact. By another scale d the quotient
of a float32 x is approached in float64 as x times 1 / d, within 2**-51 of it, and snapped to 41
bits. That is as good as the quotient: against a midpoint m of the element's format, x and m d are
integers of one unit, x below 2**24 and m d below 2**39 (24 bits of the tensor's scale, at most 15
of the block's and of m), so that they are equal or at least 2**-39 apart; equal ones snap to m,
which is short, and no others do. Wider parts and float64 take the quotient rounded to odd instead.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from halfulp.backends.kernels import (
    FLOAT32,
    FLOAT64,
    cast_one,
    compiled,
    flat_plan,
    named,
    unflattened,
)
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import (
    NATIVE,
    check_dtype,
    checked_out,
    codes_of,
    decode_array,
    every_pattern,
    in_threads,
)
from halfulp.backends.odd import odd_quotient
from halfulp.block_formats import BlockFormat
from halfulp.casting import Cast, cast_to
from halfulp.errors import HalfulpError
from halfulp.patterns import Carrier, Shape, fits, shape_of

Array = npt.NDArray[Any]

# Units of a float64's last place that quotients are snapped to: 41 bits are left.
SNAPPED = 1 << 12
# The fewest blocks that are worth a thread.
PIECE = 1 << 11


class Coded(NamedTuple):
    """What a block format makes of an array."""

    codes: Array  # of the array's shape, uint8
    scales: Array  # the codes of the scales: the array's shape, but the axis has one a block
    tensor_scale: float


def cast_blocks(
    x: Array, f: BlockFormat, cast: Cast, *, seed: int = 0, out: Array | None = None
) -> Array:
    """The values of ``x`` in a block format, in x's own dtype and shape.

    A product of scale and element that x's dtype does not have is rounded to nearest. Raises
    HalfulpError for what cannot be cast, and for an ``out`` that does not fit; nothing is written
    then.
    """
    view = _viewed(x, f)
    out = checked_out(out, x.shape, x.dtype)
    # Strided, shared or foreign memory is written by way of a copy of its own.
    own = out.flags.c_contiguous and out.dtype.isnative and not np.may_share_memory(x, out)
    result = out if own and out.flags.aligned else np.empty(x.shape, x.dtype.newbyteorder("="))
    _run(view, result, None, f, cast, seed, tensor_scale_of(view, f), codes=False)
    if result is not out:
        out[...] = result
    return out


def encode_blocks(x: Array, f: BlockFormat, cast: Cast, *, seed: int = 0) -> Coded:
    """The codes of elements and scales."""
    view = _viewed(x, f)
    codes = np.empty(x.shape, np.uint8)
    outer, n, inner = view.shape
    count = -(-n // f.size)
    scales = np.empty((outer, count, inner), np.uint8 if f.scale.width <= 8 else np.uint16)
    tensor_scale = tensor_scale_of(view, f)
    _run(view, codes, scales, f, cast, seed, tensor_scale, codes=True)
    shape = list(x.shape)
    shape[f.axis] = count
    return Coded(codes, scales.reshape(shape), tensor_scale)


def decode_blocks(coded: Coded, f: BlockFormat, dtype: str = "float32") -> Array:
    """The values of codes, scales and the tensor's scale, in float32 or float64.

    Raises HalfulpError where shapes do not belong together, and for codes that are none.
    """
    codes, scales = np.asarray(coded.codes), np.asarray(coded.scales)
    if codes.ndim == 0:
        raise _no_axis(f, codes)
    axis = _axis(codes, f)
    shape = list(codes.shape)
    shape[axis] = -(-shape[axis] // f.size)
    if list(scales.shape) != shape:
        raise HalfulpError(
            f"scales of shape {scales.shape} do not belong to codes of shape {codes.shape} in "
            f"{f}: {tuple(shape)} would"
        )
    if dtype not in ("float32", "float64"):
        raise HalfulpError(f"dtype {dtype!r} does not hold decoded blocks: float32 or float64 does")
    elements = decode_array(codes, f.element, "float64")
    factors = decode_array(scales, f.scale, "float64") * coded.tensor_scale
    spread = np.repeat(factors, f.size, axis=axis)
    spread = spread[tuple(slice(n) for n in codes.shape)]
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(elements * spread).astype(dtype)


def tensor_scale_of(view: Array, f: BlockFormat) -> float:
    """The float32 that scales all blocks: the largest finite magnitude over the largest product.

    1.0 for formats without one, and for arrays of zeros.
    """
    if not f.tensor_scale or not view.size:
        return 1.0
    largest = max(in_threads(view.size, lambda start, end: _finite_amax(view, start, end)))
    if not largest:
        return 1.0
    with np.errstate(over="ignore", under="ignore"):
        scale = np.float32(largest / float(f.element.max * f.scale.max))
    least = float(np.finfo(np.float32).smallest_subnormal)
    return min(max(float(scale), least), float(np.finfo(np.float32).max))


def _finite_amax(view: Array, start: int, end: int) -> float:
    """The largest finite magnitude of a stretch."""
    part = view.reshape(-1)[start:end]
    if view.dtype not in NATIVE:
        present = np.bincount(part.view(codes_of(view.dtype)), minlength=1)
        sizes = np.abs(_inputs(view.dtype)[np.flatnonzero(present)])
        return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    bits = part.view(np.dtype(f"int{8 * view.dtype.itemsize}"))
    infinity = np.array(np.inf, view.dtype).view(bits.dtype)
    return float(np.int64(_amax_kernel()(bits, infinity[()])).astype(bits.dtype).view(view.dtype))


def _viewed(x: Array, f: BlockFormat) -> Array:
    """An array as (outer, n, inner), contiguous, of native byte order."""
    check_dtype(x)
    if x.ndim == 0:
        raise _no_axis(f, x)
    axis = _axis(x, f)
    plain = np.require(x, x.dtype.newbyteorder("="), ["C", "A"])
    outer = int(np.prod(x.shape[:axis], dtype=np.int64))
    inner = int(np.prod(x.shape[axis + 1 :], dtype=np.int64))
    return plain.reshape(outer, x.shape[axis], inner)


def _no_axis(f: BlockFormat, x: Array) -> HalfulpError:
    return HalfulpError(f"{f} has blocks along axis {f.axis}: an array of no axes has none")


def _axis(x: Array, f: BlockFormat) -> int:
    if not -x.ndim <= f.axis < x.ndim:
        raise HalfulpError(
            f"{f} has blocks along axis {f.axis}: an array of shape {x.shape} has axes "
            f"{-x.ndim} to {x.ndim - 1}"
        )
    return f.axis % x.ndim


def _run(
    view: Array, out: Array, scales: Array | None, f: BlockFormat, cast: Cast, seed: int,
    tensor_scale: float, *, codes: bool,
) -> None:  # fmt: skip
    """Write the codes, or the values in view's dtype, of all blocks; and their scales if wanted."""
    outer, n, inner = view.shape
    count = -(-n // f.size)
    narrow = view.dtype not in NATIVE
    memory = codes_of(view.dtype) if narrow else view.dtype
    to_scale, to_dtype = cast_to(f.scale, overflow="saturate"), cast_to(view.dtype.name)
    single = view.dtype == np.float32 and f.has_power_scale and not f.tensor_scale
    carrier = FLOAT32 if single and fits(cast, FLOAT32.source, 32) else FLOAT64
    traits = Traits(
        carrier,
        shape_of(cast, carrier, codes=codes),
        None if f.has_power_scale else shape_of(to_scale, FLOAT64, codes=True),
        shape_of(to_dtype, FLOAT64, codes=True) if narrow else None,
        exact=view.dtype == np.float64 or f.scale.precision + f.element.precision > 14,
        rows=inner == 1,
    )
    kernel = _kernel(traits)
    shape = tuple(np.uint64(number) for number in (f.size, n, count, inner))
    arguments = (
        view.reshape(-1).view(memory),
        out.reshape(-1).view(out.dtype if codes else memory),
        np.empty(0, np.uint8) if scales is None else scales.reshape(-1),
        shape,
        flat_plan(cast, carrier, seed, codes=codes),
        flat_plan(to_scale, FLOAT64, 0, codes=True),
        flat_plan(to_dtype, FLOAT64, 0, codes=True),
        _inputs(view.dtype),
        _values_of(f.scale.name),
        (f.rule_carry if f.has_power_scale else 0, f.element_binade, f.scale.emin, f.scale.emax,
         f.scale.bias, f.scale.nan_code or 0),
        (float(f.element.max) * tensor_scale, tensor_scale),
    )  # fmt: skip
    if not outer * count * inner:
        return
    in_threads(
        outer * count * inner,
        lambda start, end: kernel((np.uint64(start), np.uint64(end)), *arguments),
        piece=max(1, PIECE * 32 // f.size),
    )


@lru_cache(maxsize=64)
def _values_of(name: str) -> Array:
    from halfulp.catalogue import format

    f = format(name)
    return decode_array(np.arange(f.codes, dtype=np.uint16), f, "float64")


@lru_cache(maxsize=32)
def _inputs(dtype: np.dtype[Any]) -> Array:
    """The values of a narrow dtype's patterns."""
    if dtype in NATIVE:
        return np.empty(0)
    with np.errstate(invalid="ignore"):  # NaN that signal
        return every_pattern(dtype).astype(np.float64)


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.


class Traits(NamedTuple):
    """What a kernel is compiled for."""

    carrier: Carrier  # of quotients
    element: Shape
    scale: Shape | None  # None: powers of two
    narrow: Shape | None  # of the cast back to a dtype of 16 bits or fewer
    exact: bool  # quotients have to be rounded to odd
    rows: bool  # blocks are contiguous


@cache
def _amax_kernel() -> Any:
    """``(patterns, that of infinity) -> the largest finite magnitude's pattern``."""
    return compiled(_amax_loop, "amax")


def _amax_loop(bits, infinity):
    wide_vectors()
    largest = bits[0] & 0
    for i in range(bits.size):
        magnitude = bits[i] & (infinity | (infinity - 1))
        largest = magnitude if (magnitude > largest) & (magnitude < infinity) else largest
    return largest


#: What the loop calls; compiled() puts it in place.
one: Any = None


@cache
def _kernel(traits: Traits) -> Any:
    shapes = (traits.element, traits.scale, traits.narrow)
    parts = [named(traits.carrier, shape) if shape else "no" for shape in shapes]
    flags = f"{traits.exact:d}{traits.rows:d}"
    name = "_".join(["blocks", *parts, flags])
    return compiled(_blocks_loop, name, _block(traits))


def _blocks_loop(
    span, x, out, scales, shape, to_element, to_scale, to_dtype, inputs, scale_values, powers, full
):
    plans = unflattened(to_element), unflattened(to_scale), unflattened(to_dtype)
    size, n, count, inner = shape
    # Counted on, since a division for each block would take as long as its elements.
    outer, rest = span[0] // (count * inner), span[0] % (count * inner)
    start, within = rest // inner * size, rest % inner
    number = span[0]
    while number < span[1]:
        first, length = (outer * n + start) * inner + within, min(size, n - start)
        one(number, first, length, x, out, scales, inner, plans, inputs, scale_values, powers, full)
        number += np.uint64(1)
        within += np.uint64(1)
        if within == inner:
            within, start = np.uint64(0), start + size
        if start >= n:
            start, outer = np.uint64(0), outer + np.uint64(1)


def _block(traits: Traits) -> Any:
    """All that is done to a block. Indices are unsigned: Numba then sees that none wraps."""
    divide = _division(traits.exact)
    choose = _power_scales() if traits.scale is None else _rounded_scales(traits.scale, divide)
    element = cast_one(traits.carrier, traits.element)
    real, integer = _native(traits.carrier)
    least = real(traits.carrier.source.least_normal)
    largest_of, read = _reading(traits)
    stored = _stored(traits)
    by_powers, rows = traits.scale is None, traits.rows

    @register_jitable
    def block(
        number, first, length, x, out, scales, inner, plans, inputs, scale_values, powers, full
    ):
        wide_vectors()
        step = np.uint64(1) if rows else inner
        largest, is_finite = largest_of(x, first, length, step, inputs)
        code, factor = choose(largest, is_finite, powers, full, scale_values, plans[1])
        if scales.size:
            scales[number] = code
        inverse = real(1.0 / factor)
        for i in range(length):
            at = first + i * step
            value = read(x, at, inputs)
            quotient = value * inverse if by_powers else divide(value, factor, inverse)
            # Never quite zero unless it is, for roundings that look at what is left.
            vanished = (quotient == 0) & (value != 0)
            quotient = np.copysign(least, value) if vanished else quotient
            bits = real(quotient).view(integer)
            out[at] = stored(
                element(bits, np.int64(at), np.int64(at) >> 32, plans[0]), factor, plans
            )

    return block


def _native(carrier: Carrier) -> tuple[Any, Any]:
    return (np.float64, np.int64) if carrier is FLOAT64 else (np.float32, np.int32)


def _reading(traits: Traits) -> Any:
    is_narrow, widen, store = traits.narrow is not None, traits.carrier.widen, traits.carrier.store
    real, integer = _native(traits.carrier)
    magnitudes = (1 << traits.carrier.source.magnitude_bits) - 1

    @register_jitable
    def read(x, at, inputs):
        """An element as the float that quotients are."""
        if is_narrow:
            return inputs[x[at]]
        return real(x[at])

    @register_jitable
    def largest_of(x, first, length, step, inputs):
        """The largest magnitude of a block, and whether all of it is finite."""
        top = widen(0)
        for i in range(length):
            magnitude = widen(real(read(x, first + i * step, inputs)).view(integer)) & magnitudes
            top = magnitude if magnitude > top else top
        largest = np.float64(integer(store(top)).view(real))
        return largest, largest < np.inf

    return largest_of, read


def _stored(traits: Traits) -> Any:
    """From what the rule made of a quotient to what is written."""
    if traits.element.codes:
        return _code
    if traits.narrow is None:
        return _value if traits.carrier is FLOAT64 else _single_value
    back = cast_one(FLOAT64, traits.narrow)

    @register_jitable
    def narrowed(pattern, factor, plans):
        return back(np.float64(_value(pattern, factor, plans)).view(np.int64), 0, 0, plans[2])

    return narrowed


@register_jitable
def _code(pattern, factor, plans):
    return pattern


@register_jitable
def _single_value(pattern, factor, plans):
    return np.int32(pattern).view(np.float32) * np.float32(factor)


@register_jitable
def _value(pattern, factor, plans):
    return np.int64(pattern).view(np.float64) * factor


def _division(exact: bool) -> Any:
    @register_jitable
    def divide(a, b, inverse):
        """A / b as good as exact, or rounded to odd; nothing by a scale of zero."""
        if exact:
            return odd_quotient(a, b) if b != 0 else a * 0.0
        bits = np.float64(a * inverse).view(np.int64)
        snapped = np.int64((bits + SNAPPED // 2) & -SNAPPED).view(np.float64)
        return snapped if b != 0 else a * 0.0

    return divide


def _power_scales() -> Any:
    @register_jitable
    def choose(largest, is_finite, powers, full, scale_values, to_scale):
        """The code and the value of a power of two, by the rule's carry into the exponent."""
        carry, binade, least, most, bias, nan = powers
        pattern = np.float64(largest).view(np.int64) + carry
        exponent = min(max((pattern >> 52) - 1023 - binade, least), most)
        exponent = least if largest == 0 else exponent
        power = np.int64((exponent + 1023) << 52).view(np.float64)
        if not is_finite:
            return np.int64(nan), np.nan
        return np.int64(exponent + bias), power * full[1]

    return choose


def _rounded_scales(shape: Shape, divide: Any) -> Any:
    rounded = cast_one(FLOAT64, shape)

    @register_jitable
    def choose(largest, is_finite, powers, full, scale_values, to_scale):
        """The code and the value of amax over the largest element, rounded to nearest."""
        if not is_finite:
            return np.int64(powers[5]), np.nan
        quotient = np.float64(divide(largest, full[0], 1.0 / full[0]))
        code = np.int64(rounded(quotient.view(np.int64), 0, 0, to_scale))
        return code, scale_values[np.uint64(code)] * full[1]

    return choose
