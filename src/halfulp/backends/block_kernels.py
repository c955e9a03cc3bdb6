"""L1: the loops over blocks of elements that share a scale.

An array is seen as (outer, n, inner) around the axis of its blocks: ``inner`` blocks side by side
are a group, which is one stretch of memory. What fits the first cache is done at a time, in four
steps: the largest magnitude of each block; from that its scale; the scale beside each element; the
elements. Only the first sees blocks, the last is a loop over elements as any other cast.

Powers of two (``shifted``): an element is never divided. A grid of numbers times 2**e is the same
grid with its exponents moved by e, so that the rule gets the plan of the element's format with e
added to the least binade and to the patterns of the largest numbers. What this takes is that no
number of the moved grid is subnormal in the carrier, and that no sum of Way.SUM overflows; where
one does (blocks below about 2**-100 or above 2**98), the block is moved to the middle by a power of
two and back again, which is exact: what is lost on the way down rounds to zero in such a block.

Other scales (``divided``) by a divisor d, the block's scale times the tensor's:

- ``snapped``, for x of at most 24 bits. The quotient is approached in float64 as x times 1 / d,
  within 2**-51 of it, and snapped to 41 bits. That decides as the quotient would: against a
  threshold m (a number of the format, or the middle of two), x and m d are integers of one unit, x
  below 2**24 and m d below 2**39 (:func:`is_short` says for which formats), so that they are equal
  or 2**-39 apart at least. Where they are equal the quotient snaps to m, which is short; where not,
  it stays on its side. Its last bits are then jammed into the last of the 24 that float32 has.
- ``odd``, for everything else (float64; stochastic rounding, whose thresholds have 34 bits more):
  the quotient rounded to odd in float64, by the sign of the remainder that one fma gives. The
  remainder x - q d is nonzero wherever q is inexact: it could only vanish below 2**-1074, and a
  quotient that any threshold is near has x above 2**-300.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from halfulp.backends import vectors
from halfulp.backends.kernels import FLOAT64, cast_one, compiled, fingerprint, named, unflattened
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.odd import jammed
from halfulp.backends.symbols import jitable
from halfulp.backends.vectors import (
    WIDTH,
    fill_vector,
    fused,
    largest_magnitude,
    magnitude_of,
)
from halfulp.carrier import Outcome, Placement
from halfulp.catalogue import Format
from halfulp.patterns import Carrier, Plan, Shape

# Numba infers the types of what follows.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

CHUNK = 1 << 11  # elements that are done at a time
COLUMNS = 1 << 9  # blocks side by side that are, where a group is larger than that
# Units of a float64's last place that quotients are snapped to: 41 bits are left.
SNAPPED = 1 << 12
# What float64 has beyond float32's 24 bits.
BEYOND = (1 << 29) - 1
# Smaller quotients stand in for each other: nothing an element can be is nearly as small.
LEAST_QUOTIENT = 2.0**-100
LIFT = 70  # the power of two that blocks of tiny or huge numbers are moved by

NAN, FAR = 1, 2  # what befalls some block of a chunk


def is_short(element: Format, scale: Format) -> bool:
    """Whether ``snapped`` decides as the exact quotient: a threshold times a divisor in 39 bits.

    The divisor has the tensor scale's 24 bits and the scale's; a threshold one more than elements.
    """
    return 24 + scale.precision + element.precision + 1 <= 39


class Traits(NamedTuple):
    """What a kernel is compiled for."""

    carrier: Carrier  # of the rule; for quotients float32 if snapped, float64 if odd
    element: Shape  # of the cast of elements
    scale: Shape | None  # of the cast to the scale; None for powers of two
    memory: str  # what is read: "patterns" of the carrier, "float32" to widen, "codes" to look up
    back: Shape | None  # of the cast to what is written, where that is no native float
    large: bool  # whether a group is more than CHUNK elements


class Numbers(NamedTuple):
    """What a kernel is told of the block format and of the array, as one array of ints."""

    carry: int  # added to amax's pattern before its exponent is read
    binade: int  # of the largest element
    least: int  # exponents that scales have
    most: int
    bias: int  # an exponent and this are a scale's code
    nan_scale: int
    tiny: int  # blocks with smaller exponents are lifted
    huge: int  # and those with larger ones lowered
    step: int  # of a pattern, to the next binade
    over_step: int  # the same, if what overflows becomes the largest number and so depends on it
    over_negative_step: int
    nan: int  # the pattern of elements in a block that is NaN
    infinity: int  # of the carrier
    size: int
    n: int
    in_axis: int  # blocks along the axis
    inner: int


_TEXTS = fingerprint(vectors, sys.modules[__name__])[:16]

#: What the loops call; compiled() puts it in place.
one: Any = None


@cache
def block_kernel(traits: Traits) -> Any:
    """The cast of whole blocks: see :func:`_loop` for its arguments."""
    shapes = (traits.element, traits.scale, traits.back)
    parts = [named(traits.carrier, shape) if shape else "no" for shape in shapes]
    name = "_".join(["blocks", *parts, traits.memory, str(int(traits.large)), _TEXTS])
    make = _large if traits.large else _small
    return compiled(_loop, name, make(_casting(traits)))


@cache
def decode_kernel(large: bool) -> Any:
    """``out = values of the codes x × values of the scales``, with the arguments of _loop."""
    make = _large if large else _small
    return compiled(_loop, f"decode_blocks_{int(large)}_{_TEXTS}", make(_decoding()))


def _loop(start, end, first, x, out, scales, plans, numbers, reals, inputs, values):
    # Units of work from start to end: groups, or parts of groups where these are large.
    one(start, end, first, x, out, scales, plans, numbers, reals, inputs, values)


@cache
def largest_kernel() -> Any:
    """``(patterns, that of infinity) -> the largest finite magnitude's pattern``."""
    return compiled(_largest_loop, f"largest_{_TEXTS}")


def _largest_loop(patterns, infinity):
    wide_vectors()
    top, vectors_end = 0, patterns.size // WIDTH * WIDTH
    for i in range(0, vectors_end, WIDTH):
        top = max(top, largest_magnitude(patterns, i))
    for i in range(vectors_end, patterns.size):
        top = max(top, magnitude_of(patterns[i]))
    if top < infinity:
        return top
    top = 0  # one that is not finite: find the largest that is
    for i in range(patterns.size):
        magnitude = magnitude_of(patterns[i])
        top = magnitude if (magnitude > top) & (magnitude < infinity) else top
    return top


# How work is divided. Loops run over slices from 0: where an index might be negative, Numba
# gathers.


class Parts(NamedTuple):
    """The steps, as functions for kernels to call."""

    integer: Any  # the carrier's dtype
    load: Any  # (x, start, end, scratch, told) -> patterns
    larger: Any  # (patterns, bounds of groups, tops, width): the largest so far of each block
    choose: Any  # (tops, ones, others, scales, told) -> what befalls some block
    apply: Any  # (patterns, ones, others, out, index, befallen, scratch, told)
    ones: Any  # the dtype of what blocks hand to their elements
    others: Any = None  # and of a second such thing


class Told(NamedTuple):
    """A kernel's arguments once they are taken apart."""

    element: Any
    scale: Any
    back: Any
    numbers: Any
    reals: Any  # the largest element times the tensor's scale, and that scale
    inputs: Any  # what codes that are read mean
    values: Any  # what codes of scales mean


@jitable
def _told(plans, n, reals, inputs, values):
    numbers = Numbers(
        n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13],
        n[14], n[15], n[16],
    )  # fmt: skip
    element, scale, back = unflattened(plans[0]), unflattened(plans[1]), unflattened(plans[2])
    return Told(element, scale, back, numbers, reals, inputs, values)


def _small(parts: Parts) -> Any:
    """As many groups at a time as there is room for."""
    integer, load, larger, choose, apply, ones_dtype, others_dtype = parts
    both = others_dtype is not None
    others_dtype = others_dtype or np.uint8

    @jitable
    def body(group, end, first, x, out, scales, plans, numbers, reals, inputs, values):
        wide_vectors()
        told = _told(plans, numbers, reals, inputs, values)
        size, n = told.numbers.size, told.numbers.n
        count, inner = told.numbers.in_axis, told.numbers.inner
        at_once = max(1, CHUNK // (size * inner))
        blocks, room = at_once * inner, at_once * inner * size
        bounds, tops = np.zeros(at_once + 1, np.int64), np.empty(blocks, integer)
        ones, each = np.empty(blocks, ones_dtype), np.empty(room, ones_dtype)
        others, beside = np.empty(blocks, others_dtype), np.empty(room, others_dtype)
        scratch = np.empty((3, room), integer)
        while group < end:
            groups, block = min(at_once, end - group), group % count
            start = (group // count * n + block * size) * inner
            for k in range(groups):
                is_last = block == count - 1
                bounds[k + 1] = bounds[k] + (n - block * size if is_last else size) * inner
                block = 0 if is_last else block + 1
            length, blocks = bounds[groups], groups * inner
            patterns = load(x, start, start + length, scratch[0], told)
            tops[:] = 0
            ends = bounds[: groups + 1]
            larger(patterns, ends, tops, inner)
            begin = group * inner
            befallen = choose(
                tops[:blocks], ones[:blocks], others[:blocks], scales[begin : begin + blocks], told
            )
            _spread(ones, inner, each, ends)
            if both:
                _spread(others, inner, beside, ends)
            target = out[start : start + length]
            apply(
                patterns, each[:length], beside[:length], target, first + start, befallen, scratch,
                told,
            )  # fmt: skip
            if befallen & NAN:
                for k in range(groups):
                    _void(tops, k * inner, inner, target, bounds[k], bounds[k + 1], told)
            group += groups

    return body


def _large(parts: Parts) -> Any:
    """A part of a group at a time: some of its columns, and all their rows, by batches."""
    integer, load, larger, choose, apply, ones_dtype, others_dtype = parts
    both = others_dtype is not None
    others_dtype = others_dtype or np.uint8

    @jitable
    def body(unit, end, first, x, out, scales, plans, numbers, reals, inputs, values):
        wide_vectors()
        told = _told(plans, numbers, reals, inputs, values)
        size, n = told.numbers.size, told.numbers.n
        count, inner = told.numbers.in_axis, told.numbers.inner
        width = min(inner, COLUMNS)
        in_group = (inner + width - 1) // width
        rows = max(1, CHUNK // inner) if width == inner else 1
        room, tops = rows * width, np.empty(width, integer)
        ones, each = np.empty(width, ones_dtype), np.empty(room, ones_dtype)
        others, beside = np.empty(width, others_dtype), np.empty(room, others_dtype)
        scratch, bounds = np.empty((3, room), integer), np.zeros(2, np.int64)
        while unit < end:
            group, left = unit // in_group, unit % in_group * width
            block, columns = group % count, min(width, inner - left)
            length = min(size, n - block * size)
            base = (group // count * n + block * size) * inner + left
            tops[:] = 0
            for row in range(0, length, rows):
                start, height = base + row * inner, min(rows, length - row)
                patterns = load(x, start, start + height * columns, scratch[0], told)
                bounds[1] = patterns.size
                larger(patterns, bounds, tops, columns)
            begin = group * inner + left
            befallen = choose(
                tops[:columns], ones[:columns], others[:columns],
                scales[begin : begin + columns], told,
            )  # fmt: skip
            bounds[1] = rows * columns
            _spread(ones, columns, each, bounds)
            if both:
                _spread(others, columns, beside, bounds)
            for row in range(0, length, rows):
                start, height = base + row * inner, min(rows, length - row)
                patterns = load(x, start, start + height * columns, scratch[0], told)
                target = out[start : start + patterns.size]
                apply(
                    patterns, each[: patterns.size], beside[: patterns.size], target,
                    first + start, befallen, scratch, told,
                )  # fmt: skip
                if befallen & NAN:
                    _void(tops, 0, columns, target, 0, target.size, told)
            unit += 1

    return body


# Groups are looped over here: a call or a slice for each would count references, which takes as
# long as a block does.


@jitable
def _larger(patterns, bounds, tops, width):
    """The largest magnitude so far of each block: ``width`` of them between two bounds."""
    wide_vectors()
    for k in range(bounds.size - 1):
        start, end = bounds[k], bounds[k + 1]
        if width == 1:
            top, vectors_end = tops[k], start + (end - start) // WIDTH * WIDTH
            for i in range(start, vectors_end, WIDTH):
                top = max(top, largest_magnitude(patterns, i))
            for i in range(vectors_end, end):
                top = max(top, magnitude_of(patterns[np.uint64(i)]))
            tops[k] = top
            continue
        at = np.uint64(k * width)
        for row in range(start, end, width):
            for i in range(np.uint64(width)):
                magnitude = magnitude_of(patterns[np.uint64(row) + i])
                tops[at + i] = max(tops[at + i], magnitude)


@jitable
def _spread(row, width, out, bounds):
    """What belongs to each block beside each of its elements."""
    wide_vectors()
    for k in range(bounds.size - 1):
        start, end = bounds[k], bounds[k + 1]
        if width == 1:
            value, vectors_end = row[k], start + (end - start) // WIDTH * WIDTH
            for i in range(start, vectors_end, WIDTH):
                fill_vector(out, i, value)
            for i in range(vectors_end, end):
                out[np.uint64(i)] = value
            continue
        at = np.uint64(k * width)
        for begin in range(start, end, width):
            for i in range(np.uint64(width)):
                out[np.uint64(begin) + i] = row[at + i]


@jitable
def _void(tops, at, width, out, start, end, told):
    """Every element of a block that is not finite is the same."""
    for row in range(start, end, width):
        for i in range(width):
            if tops[at + i] >= told.numbers.infinity:
                out[row + i] = told.numbers.nan


# The steps.


def _casting(t: Traits) -> Parts:
    integer, real = (np.int64, np.float64) if t.carrier is FLOAT64 else (np.int32, np.float32)
    load = _loading(t)
    if t.scale is None:
        return Parts(integer, load, _larger, _powers(real), _shifted_apply(t, real), integer)
    snapped = t.carrier is not FLOAT64
    at_once = snapped and not t.element.codes and t.back is None
    choose = _fractions(t.scale, snapped, real)
    apply = _snapped_apply(t) if at_once else _divided_apply(t, snapped, real)
    others = np.float64 if snapped else None
    return Parts(integer, load, _larger, choose, apply, np.float64, others)


def _loading(t: Traits) -> Any:
    """Elements as patterns of the carrier."""

    @jitable
    def as_is(x, start, end, scratch, told):
        return x[start:end]

    @jitable
    def widened(x, start, end, scratch, told):
        wide_vectors()
        given, wide = x[start:end].view(np.float32), scratch[: end - start]
        double = wide.view(np.float64)
        for i in range(given.size):
            double[i] = given[i]
        return wide

    @jitable
    def looked_up(x, start, end, scratch, told):
        given, wide = x[start:end], scratch[: end - start]
        for i in range(given.size):
            wide[i] = told.inputs[given[i]]
        return wide

    return {"patterns": as_is, "float32": widened, "codes": looked_up}[t.memory]


def _powers(real: Any) -> Any:
    @jitable
    def choose(tops, exponents, unused, scales, told):
        """Powers of two, by the rule's carry into the exponent of the largest magnitude."""
        wide_vectors()
        n, befallen = told.numbers, 0
        sizes = tops.view(real)
        for k in range(tops.size):
            pattern = np.float64(sizes[k]).view(np.int64) + n.carry
            exponent = min(max((pattern >> 52) - 1023 - n.binade, n.least), n.most)
            lost = tops[k] >= n.infinity
            far = (exponent < n.tiny) | (exponent > n.huge)
            befallen |= NAN * lost + FAR * (far & (tops[k] != 0))
            exponents[k] = exponent
        for k in range(scales.size):
            lost = tops[k] >= n.infinity
            scales[k] = n.nan_scale if lost else exponents[k] + n.bias
        return befallen

    return choose


def _shifted_apply(t: Traits, real: Any) -> Any:
    stretch, finish, coded, narrow = _stretch(t), _finishing(t), t.element.codes, t.back is not None
    lift, lower = real(2.0**LIFT), real(2.0**-LIFT)

    @jitable
    def apply(patterns, exponents, unused, out, first, befallen, scratch, told):
        wide_vectors()
        made = scratch[1][: out.size] if narrow else out
        if not befallen & FAR:
            stretch(patterns, exponents, made, first, told)
        else:
            tiny, huge = told.numbers.tiny, told.numbers.huge
            lifted, moved = scratch[2][: out.size], np.empty_like(exponents)
            given, high = patterns.view(real), lifted.view(real)
            for i in range(given.size):
                e = exponents[i]
                high[i] = given[i] * (lift if e < tiny else lower if e > huge else real(1))
                moved[i] = e + (LIFT if e < tiny else -LIFT if e > huge else 0)
            stretch(lifted, moved, made, first, told)
            if not coded:
                values = made.view(real)
                for i in range(values.size):
                    e = exponents[i]
                    values[i] *= lower if e < tiny else lift if e > huge else real(1)
        if narrow:
            finish(made, out, told)

    return apply


def _finishing(t: Traits) -> Any:
    if t.back is None:
        return None
    back = cast_one(t.carrier, t.back)

    @jitable
    def finish(patterns, out, told):
        """Values as codes of the dtype they are written in."""
        wide_vectors()
        for i in range(patterns.size):
            out[i] = back(patterns[i], 0, 0, told.back)

    return finish


def _stretch(t: Traits) -> Any:
    rule, widen, moves = cast_one(t.carrier, t.element), t.carrier.widen, t.scale is None

    @jitable
    def stretch(patterns, exponents, out, first, told):
        """The rule on each pattern, its grid moved by the exponent beside it."""
        wide_vectors()
        start = 0
        while start < patterns.size:
            high = (first + start) >> 32  # of an index; it seldom changes
            end = min(patterns.size, ((high + 1) << 32) - first)
            source, powers, target = patterns[start:end], exponents[start:end], out[start:end]
            for i in range(source.size):
                plan = _moved(told, widen(powers[i])) if moves else told.element
                target[i] = rule(source[i], first + start + i, high, plan)
            start = end

    return stretch


@jitable
def _moved(told, e):
    """The plan of a format whose numbers are times 2**e."""
    p, n = told.element, told.numbers
    place, o = p.place, p.outcome
    over, over_negative = o.over + e * n.over_step, o.over_negative + e * n.over_negative_step
    return Plan(
        Placement(
            place.drop, place.least + e, place.rebias - e, place.fraction_bits, place.flush,
            place.longest,
        ),
        Outcome(
            o.keep, o.sign, o.void, o.void_negative, o.zero, o.zero_negative, over, over_negative,
            over, over_negative, o.nan, o.nan_negative,
        ),
        p.largest + e * n.step, p.tiny + e * n.step, p.key, p.random_bits, p.beyond + e,
    )  # fmt: skip


def _fractions(shape: Shape, snapped: bool, real: Any) -> Any:
    rounded = cast_one(FLOAT64, shape)

    @jitable
    def choose(tops, ones, others, scales, told):
        """Amax over the largest element, rounded to nearest; elements get divisor or inverse."""
        wide_vectors()
        n, full, tensor, befallen = told.numbers, told.reals[0], told.reals[1], 0
        sizes, codes = tops.view(real), np.empty(tops.size, np.int64)
        for k in range(tops.size):
            largest = np.float64(sizes[k])
            value = largest / full
            quotient = np.float64(jammed(value, fused(-value, full, largest)))
            lost = tops[k] >= n.infinity
            befallen |= NAN * lost
            code = rounded(quotient.view(np.int64), 0, 0, told.scale)
            codes[k] = n.nan_scale if lost else code
        for k in range(tops.size):
            divisor = told.values[codes[k]] * tensor
            ones[k] = divisor
            if snapped:
                ones[k] = 1.0 / divisor if divisor != 0 else 0.0
                others[k] = divisor
        for k in range(scales.size):
            scales[k] = codes[k]
        return befallen

    return choose


def _divided_apply(t: Traits, snapped: bool, real: Any) -> Any:
    stretch, coded = _stretch(t), t.element.codes
    divide = _snapped(t) if snapped else _odd
    product = _products(t)

    @jitable
    def apply(patterns, ones, others, out, first, befallen, scratch, told):
        quotients = scratch[1][: out.size]
        divide(patterns.view(real), ones, quotients.view(real))
        if coded:
            stretch(quotients, quotients, out, first, told)
        else:
            elements = scratch[2][: out.size]  # loops within one array are not vectorised
            stretch(quotients, quotients, elements, first, told)
            product(elements.view(real), others if snapped else ones, out, told)

    return apply


def _snap(t: Traits) -> Any:
    # Roundings that look at what is left of nothing must find it.
    leaps = t.element.rounding not in ("nearest_even", "nearest_away", "toward_zero")
    least = np.float64(LEAST_QUOTIENT).view(np.int64)
    magnitudes = (1 << 63) - 1

    @jitable
    def snap(x, inverse):
        """The quotient as a float32 that is rounded as it is."""
        bits = np.float64(x * inverse).view(np.int64)
        bits = (bits + SNAPPED // 2) & -SNAPPED
        bits = (bits & ~BEYOND) | (((bits & BEYOND) + BEYOND) & (BEYOND + 1))
        if leaps:
            magnitude = bits & magnitudes
            bits = bits - magnitude + (max(magnitude, least) if magnitude else 0)
        return np.float32(np.int64(bits).view(np.float64))

    return snap


def _snapped(t: Traits) -> Any:
    snap = _snap(t)

    @jitable
    def divide(x, inverses, out):
        wide_vectors()
        for i in range(x.size):
            out[i] = snap(x[i], inverses[i])

    return divide


def _snapped_apply(t: Traits) -> Any:
    """Quotient, rule and product at once, where nothing is drawn and float32 is written."""
    rule, snap = cast_one(t.carrier, t.element), _snap(t)

    @jitable
    def apply(patterns, inverses, divisors, out, first, befallen, scratch, told):
        wide_vectors()
        x, values = patterns.view(np.float32), out.view(np.float32)
        for i in range(x.size):
            made = rule(np.float32(snap(x[i], inverses[i])).view(np.int32), 0, 0, told.element)
            values[i] = np.int32(made).view(np.float32) * divisors[i]

    return apply


@jitable
def _odd(x, divisors, out):
    wide_vectors()
    for i in range(x.size):
        divisor = divisors[i] if divisors[i] != 0 else np.inf
        value = x[i] / divisor
        quotient = jammed(value, fused(-value, divisor, x[i]))
        vanished = (value == 0) & (x[i] != 0) & (divisor < np.inf)
        out[i] = np.copysign(LEAST_QUOTIENT, x[i]) if vanished else quotient


def _products(t: Traits) -> Any:
    single = t.memory == "float32" or (t.memory == "patterns" and t.carrier is not FLOAT64)
    back: Any = None if t.back is None else cast_one(FLOAT64, t.back)
    narrow = back is not None

    @jitable
    def product(elements, factors, out, told):
        """Element times scales, rounded once to what is written."""
        wide_vectors()
        if narrow:
            for i in range(elements.size):
                value = np.float64(elements[i] * factors[i])
                out[i] = back(value.view(np.int64), 0, 0, told.back)
        else:
            values = out.view(np.float32 if single else np.float64)
            for i in range(elements.size):
                values[i] = elements[i] * factors[i]

    return product


def _decoding() -> Parts:
    @jitable
    def load(x, start, end, scratch, told):
        return x[start:end]

    @jitable
    def choose(tops, ones, others, scales, told):
        for k in range(scales.size):
            ones[k] = told.values[scales[k]] * told.reals[1]
        return 0

    @jitable
    def apply(codes, factors, unused, out, first, befallen, scratch, told):
        wide_vectors()
        for i in range(codes.size):
            out[i] = told.inputs[codes[i]] * factors[i]

    @jitable
    def no_larger(codes, bounds, tops, width):
        pass

    return Parts(np.uint8, load, no_larger, choose, apply, np.float64)
