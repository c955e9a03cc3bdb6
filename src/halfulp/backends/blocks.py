"""L1: block formats over NumPy arrays: views, scales of tensors, and the launch of the kernels.

What block_kernels.py computes; here is what surrounds it: which kernel an array takes, plans as
arrays, memory that is strided or shared, threads. Blocks are whole in each thread, so that the
number of threads changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.block_kernels import (
    CHUNK,
    COLUMNS,
    block_kernel,
    decode_kernel,
    largest_kernel,
)
from halfulp.backends.block_quotients import is_short
from halfulp.backends.block_steps import Numbers, Traits
from halfulp.backends.kernels import FLOAT32, FLOAT64, PLAN, flat_plan, flattened
from halfulp.backends.numpy import (
    NATIVE,
    check_codes,
    check_dtype,
    checked_out,
    codes_of,
    decode_array,
    every_pattern,
    in_threads,
    stretches,
)
from halfulp.block_catalogue import BlockFormat
from halfulp.carrier import Outcome, is_plain
from halfulp.casting import Cast, cast_to, number_code
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import finite, number
from halfulp.patterns import Carrier, Plan, Shape, Way, plan, shape_of

Array = npt.NDArray[Any]

# Below this many elements a second thread costs more than it brings.
PIECE = 1 << 17
# An exponent beyond all.
NEVER = 1 << 20
# Elements that are copied at a time from memory that is strided or of foreign byte order.
SLAB = 1 << 15

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


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
    seen = _seen(x, f)
    out = checked_out(out, x.shape, x.dtype)
    if np.may_share_memory(x, out):
        x = out if _same_memory(x, out) else x.copy()
    work = _work(x.dtype, f, cast, seed, tensor_scale_of(x, f), codes=False)
    _over_slabs(x, out, np.empty(0, np.uint8), seen, f.size, work)
    return out


def encode_blocks(x: Array, f: BlockFormat, cast: Cast, *, seed: int = 0) -> Coded:
    """The codes of elements and scales."""
    seen = _seen(x, f)
    codes = np.empty(x.shape, np.uint8)
    scales = np.empty(_blocked(x.shape, f), _scale_dtype(f))
    tensor_scale = tensor_scale_of(x, f)
    work = _work(x.dtype, f, cast, seed, tensor_scale, codes=True)
    _over_slabs(x, codes, scales.reshape(-1), seen, f.size, work)
    return Coded(codes, scales, tensor_scale)


def decode_blocks(coded: Coded, f: BlockFormat, dtype: str = "float32") -> Array:
    """The values of codes, scales and the tensor's scale, in float32 or float64.

    Raises HalfulpError where shapes do not belong together, and for codes that are none.
    """
    codes, scales = np.asarray(coded.codes), np.asarray(coded.scales)
    seen = _Seen(*_axes(codes, f))
    if scales.shape != _blocked(codes.shape, f):
        raise HalfulpError(
            f"scales of shape {scales.shape} do not belong to codes of shape {codes.shape} in "
            f"{f}: {_blocked(codes.shape, f)} would"
        )
    if dtype not in ("float32", "float64"):
        raise HalfulpError(f"dtype {dtype!r} does not hold decoded blocks: float32 or float64 does")
    check_codes(codes, f.element)
    check_codes(scales, f.scale)
    out = np.empty(codes.shape, dtype)
    elements = np.full(256, np.nan)
    elements[: f.element.codes] = _values_of(f.element)
    arrays = (_NO_PLANS, _numbers(f, FLOAT64), elements, _values_of(f.scale))
    reals = np.array([0.0, coded.tensor_scale])
    plain = np.ascontiguousarray(scales, _scale_dtype(f)).reshape(-1)

    def work(x: Array, into: Array, scales: Array, first: int, part: _Seen) -> None:
        _launch(decode_kernel, x, into, scales, first, part, f.size, arrays, reals)

    _over_slabs(codes.astype(np.uint8, copy=False), out, plain, seen, f.size, work)
    return out


# What arrays are.


class _Seen(NamedTuple):
    """An array around the axis of its blocks."""

    outer: int
    n: int
    inner: int
    axis: int


def _seen(x: Array, f: BlockFormat) -> _Seen:
    check_dtype(x)
    return _Seen(*_axes(x, f))


def _axes(x: Array, f: BlockFormat) -> tuple[int, int, int, int]:
    if not x.ndim:
        raise HalfulpError(f"{f} has blocks along axis {f.axis}: an array of no axes has none")
    if not -x.ndim <= f.axis < x.ndim:
        raise HalfulpError(
            f"{f} has blocks along axis {f.axis}: an array of shape {x.shape} has axes "
            f"{-x.ndim} to {x.ndim - 1}"
        )
    axis = f.axis % x.ndim
    return prod(x.shape[:axis]), x.shape[axis], prod(x.shape[axis + 1 :]), axis


def _blocked(shape: tuple[int, ...], f: BlockFormat) -> tuple[int, ...]:
    """The shape of the scales."""
    blocked = list(shape)
    blocked[f.axis] = -(-shape[f.axis] // f.size)
    return tuple(blocked)


def _scale_dtype(f: BlockFormat) -> np.dtype[Any]:
    return np.dtype(np.uint8 if f.scale.width <= 8 else np.uint16)


def _same_memory(x: Array, out: Array) -> bool:
    return x.ctypes.data == out.ctypes.data and x.strides == out.strides and x.dtype == out.dtype


def _is_plain(x: Array) -> bool:
    """Whether kernels can run over the memory as it lies."""
    return x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative


# The scale of a tensor.


def tensor_scale_of(x: Array, f: BlockFormat) -> float:
    """The float32 that scales all blocks: the largest finite magnitude over the largest product.

    It is rounded once. 1.0 for formats without one, and for arrays of zeros.
    """
    if not f.tensor_scale or not x.size:
        return 1.0
    largest = finite_largest(x)
    if not largest:
        return 1.0
    single = format("float32")
    exact = finite(Fraction(largest) / (f.element.max * f.scale.max))
    scale = cast_to(single, overflow="saturate").number(exact).to_float()
    return scale or float(single.least_positive)


def finite_largest(x: Array) -> float:
    """The largest finite magnitude of an array, 0.0 if it has none."""
    tops = [0.0]
    for _, flat in stretches(x, SLAB):

        def part(start: int, end: int, flat: Array = flat) -> float:
            return _finite_largest(flat[start:end])

        tops += in_threads(flat.size, part)
    return max(tops)


def _finite_largest(flat: Array) -> float:
    if flat.dtype not in NATIVE:
        present = np.bincount(flat.view(codes_of(flat.dtype)), minlength=1)
        sizes = np.abs(_inputs(flat.dtype, _FLOAT64).view(_FLOAT64)[np.flatnonzero(present)])
        return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))
    bits = flat.view(_integers(flat.dtype))
    infinity = np.array(np.inf, flat.dtype).view(bits.dtype)
    top = largest_kernel()(bits, infinity[()])
    return float(np.array(top, bits.dtype).view(flat.dtype))


# Which kernel, and what it is told.

#: ``(x, out, scales, index of the first element, shape)`` of plain memory.
Work = Callable[[Array, Array, Array, int, _Seen], None]
Arrays = tuple[tuple[Array, Array, Array], Array, Array, Array]


def _work(
    dtype: np.dtype[Any], f: BlockFormat, cast: Cast, seed: int, tensor_scale: float, *, codes: bool
) -> Work:
    native = dtype.newbyteorder("=")
    make, arrays = _prepared(native, f, cast, seed if cast.is_stochastic else 0, codes)
    reals = np.array([float(f.element.max) * tensor_scale, tensor_scale])
    memory = codes_of(native) if native not in NATIVE else _integers(native)

    def work(x: Array, out: Array, scales: Array, first: int, part: _Seen) -> None:
        into = out if codes else out.view(memory)
        _launch(make, x.view(memory), into, scales, first, part, f.size, arrays, reals)

    return work


def _launch(
    make: Callable[[bool], Any], x: Array, out: Array, scales: Array, first: int, part: _Seen,
    size: int, arrays: Arrays, reals: Array,
) -> None:  # fmt: skip
    """Run a kernel over plain memory, in threads."""
    plans, numbers, inputs, values = arrays
    outer, n, inner, _ = part
    size = min(size, n)
    count = -(-n // size)
    large = size * inner > CHUNK
    units = outer * count * (-(-inner // COLUMNS) if large else 1)
    numbers = numbers.copy()
    numbers[-4:] = size, n, count, inner
    kernel = make(large)
    flat, into = x.reshape(-1), out.reshape(-1)
    in_threads(
        units,
        lambda start, end: kernel(
            start, end, first, flat, into, scales, plans, numbers, reals, inputs, values
        ),
        piece=max(1, PIECE * units // max(1, x.size)),
    )


@lru_cache(maxsize=256)
def _prepared(
    dtype: np.dtype[Any], f: BlockFormat, cast: Cast, seed: int, codes: bool
) -> tuple[Callable[[bool], Any], Arrays]:
    """The kernel of a cast, and the arrays it is told everything in."""
    carrier = _carrier(dtype, f, cast)
    element, shape = _element_plan(cast, carrier, seed, codes)
    to_scale, to_dtype = cast_to(f.scale, overflow="saturate"), cast_to(dtype.name)
    # Powers of two leave patterns of the carrier, other scales products in float64.
    last = carrier if f.has_power_scale else FLOAT64
    real = np.dtype(carrier.source.name)
    narrow = dtype not in NATIVE
    traits = Traits(
        carrier,
        shape,
        None if f.has_power_scale else shape_of(to_scale, FLOAT64, codes=True),
        "codes" if narrow else "patterns" if dtype == real else "float32",
        shape_of(to_dtype, last, codes=True) if narrow and not codes else None,
        large=False,
    )
    plans = (
        flattened(element),
        flat_plan(to_scale, FLOAT64, 0, codes=True),
        flat_plan(to_dtype, last, 0, codes=True) if narrow else flattened(element),
    )
    numbers = _numbers(f, carrier)
    native = format(dtype.name)
    nan = 0 if codes else number_code(native, number("nan"))
    step = 1 << carrier.source.fraction_bits
    top = number_code(carrier.source, finite(cast.target.max))
    moves = [
        0 if codes or (over & ~carrier_sign(carrier)) != top else step
        for over in (element.outcome.over, element.outcome.over_negative)
    ]
    if shape.way is Way.SUM:  # whose power of two must be finite
        spare = carrier.source.precision - f.element.precision
        huge = carrier.source.emax - f.element.emax - 1 - spare
        numbers[Numbers._fields.index("huge")] = huge
    numbers[Numbers._fields.index("nan")] = nan
    numbers[Numbers._fields.index("step")] = 0 if codes else step
    numbers[Numbers._fields.index("over_step")] = moves[0]
    numbers[Numbers._fields.index("over_negative_step")] = moves[1]
    arrays = (plans, numbers, _inputs(dtype, real), _values_of(f.scale))
    return lambda large: block_kernel(traits._replace(large=large)), arrays


def carrier_sign(carrier: Carrier) -> int:
    """The sign bit of a carrier's patterns, which are signed integers."""
    return -(1 << (carrier.bits - 1))


def _carrier(dtype: np.dtype[Any], f: BlockFormat, cast: Cast) -> Carrier:
    if dtype == _FLOAT64 or format(dtype.name).precision > FLOAT32.source.precision:
        return FLOAT64
    if f.has_power_scale:
        return FLOAT32
    snaps = is_short(f.element, f.scale) and not cast.is_stochastic
    return FLOAT32 if snaps else FLOAT64


def _element_plan(cast: Cast, carrier: Carrier, seed: int, codes: bool) -> tuple[Plan, Shape]:
    """The cast of elements that are finite or so large that they overflow, and its shape."""
    made = plan(cast, carrier, seed, codes=codes)
    sign = cast.target.sign_bit if codes else carrier_sign(carrier)
    o: Outcome = made.outcome._replace(
        infinite=made.outcome.over, infinite_negative=made.outcome.over_negative,
        nan=0, nan_negative=sign,
    )  # fmt: skip
    made = made._replace(outcome=o)
    plain = is_plain(made.place, o, sign)
    return made, Shape(cast.rounding, codes, False, plain, Way.SUM if _sums(cast) else Way.APART)


def _sums(cast: Cast) -> bool:
    """Whether elements are rounded by a sum: in the middle of a carrier each such cast can."""
    element = cast.target
    spare = element.precision < FLOAT32.source.precision
    even = cast.rounding == "nearest_even"
    return even and spare and element.subnormals and element.fraction_bits > 0


def _numbers(f: BlockFormat, carrier: Carrier) -> Array:
    """The format as Numbers; what depends on the cast and on the array is filled in later."""
    powers = f.has_power_scale
    # Half of the least number of a moved grid is normal.
    tiny = carrier.source.emin + 1 - f.element.least_quantum_exponent
    infinity = number_code(carrier.source, number("inf"))
    return np.array(
        Numbers(
            f.rule_carry if powers else 0, f.element_binade, f.scale.emin, f.scale.emax,
            f.scale.bias, f.scale.nan_code or 0, tiny, NEVER, 0, 0, 0, 0, infinity, 0, 0, 0, 0,
        ),
        dtype=np.int64,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _values_of(f: Format) -> Array:
    return decode_array(np.arange(f.codes, dtype=np.uint16), f, "float64")


@lru_cache(maxsize=32)
def _inputs(dtype: np.dtype[Any], real: np.dtype[Any]) -> Array:
    """The patterns, as a native float, of all that a narrow dtype can hold."""
    if dtype in NATIVE:
        return np.empty(0, _integers(real))
    with np.errstate(invalid="ignore"):  # NaN that signal
        return every_pattern(dtype).astype(real).view(_integers(real))


def _integers(real: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"int{8 * real.itemsize}")


_NO_PLANS = (np.zeros(PLAN, np.int64),) * 3


# Memory.


def _over_slabs(x: Array, out: Array, scales: Array, seen: _Seen, size: int, work: Work) -> None:
    """Run ``work`` over plain memory: all at once, or slabs that are copied in or out."""
    if not x.size:
        return
    if _is_plain(x) and _is_plain(out) and x is not out:
        work(x, out, scales, 0, seen)
        return
    slabs = list(_slabs(x.shape, seen, size))

    def some(start: int, end: int) -> None:
        for index, first, part in slabs[start:end]:
            source = np.ascontiguousarray(x[index], x.dtype.newbyteorder("="))
            made = np.empty(source.shape, out.dtype.newbyteorder("="))
            number = _blocks_before(first, seen, size)
            work(source, made, scales[number:], first, part)
            out[index] = made

    in_threads(len(slabs), some, piece=2)


def _blocks_before(first: int, seen: _Seen, size: int) -> int:
    """How many blocks come before the element that begins a slab."""
    row, within = divmod(first, seen.n * seen.inner)
    return (row * -(-seen.n // size)) * seen.inner + within // size


def _slabs(
    shape: tuple[int, ...], seen: _Seen, size: int
) -> Iterator[tuple[tuple[Any, ...], int, _Seen]]:
    """Parts of whole blocks, each a stretch in C order: its index, first element and shape."""
    cut = 0
    while cut < seen.axis and prod(shape[cut + 1 :]) > SLAB:
        cut += 1
    below = prod(shape[cut + 1 :])
    step = max(1, SLAB // below)
    if cut == seen.axis:
        step = max(size, step // size * size)
    first = 0
    for before in product(*map(range, shape[:cut])):
        for start in range(0, shape[cut], step):
            length = min(step, shape[cut] - start)
            outer = length * below // (seen.n * seen.inner)
            inside = seen._replace(outer=outer)
            part = inside if cut < seen.axis else seen._replace(outer=1, n=length)
            yield (*before, slice(start, start + length)), first, part
            first += length * below
