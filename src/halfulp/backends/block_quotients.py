"""L1: blocks whose scales are any numbers: elements are divided.

The divisor d is the block's scale times the tensor's.

- ``snapped``, for x of at most 24 bits. A float32 product with the inverse of d is within 4 of its
  patterns of the quotient. Thresholds (numbers of the format, or middles of two) are short numbers:
  where no short one is as near as that, the product is on the quotient's side of each of them and
  is rounded in its place. Where one is, the quotient is approached in float64, within 2**-53 of it,
  and snapped to 41 bits. That decides as the quotient would: against a threshold m, x and m d are
  integers of one unit, x below 2**24 and m d below 2**39 (:func:`is_short`), so that they are equal
  or 2**-39 apart at least. Where they are equal the quotient snaps to m, which is short; where not,
  it stays on its side. Its last bits are then jammed into the last of the 24 that float32 has.
  Element times scale is exact in float32, and so its product with the tensor's is rounded once.
- ``odd``, for everything else (float64; stochastic rounding, whose thresholds have 34 bits more):
  the quotient rounded to odd in float64, by the sign of the remainder that one fma gives. The
  remainder x - q d is nonzero wherever q is inexact: it could only vanish below 2**-1074, and a
  quotient that any threshold is near has x above 2**-300.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from halfulp.backends.block_steps import FAR, NAN, Traits, stretch_of
from halfulp.backends.kernels import FLOAT64, cast_one
from halfulp.backends.lanes import lane, unlane, wide_vectors
from halfulp.backends.odd import jammed
from halfulp.backends.symbols import jitable
from halfulp.backends.vectors import fused
from halfulp.catalogue import Format
from halfulp.patterns import Shape, leaps

# Numba infers the types of what follows.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

# Units of a float64's last place that quotients are snapped to: 41 bits are left.
SNAPPED = 1 << 12
# What float64 has beyond float32's 24 bits.
BEYOND = (1 << 29) - 1
# Smaller quotients stand in for each other: nothing an element can be is nearly as small.
LEAST_QUOTIENT = 2.0**-100
# What stands for the largest quotient of a block whose scale is zero: far below the least element,
# and beside no short number, so that blocks of numbers too small for a scale need no second look.
FAINT = 2.0**-60 * 4 / 3
# Patterns of float32 that a product with an inverse may be off by: two are, at most.
NEAR = 4
STRIP = 1 << 10  # elements that are looked at for one near a threshold
# Divisors whose inverses float32 has in full, and elements and scales whose products it has.
LEAST_DIVISOR, MOST_DIVISOR = 2.0**-120, 2.0**120
ELEMENT_EXPONENTS, SCALE_EXPONENTS = 40, 60


def is_short(element: Format, scale: Format) -> bool:
    """Whether ``snapped`` decides as the exact quotient: a threshold times a divisor in 39 bits.

    The divisor has the tensor scale's 24 bits and the scale's; a threshold one more than elements.
    The least elements and scales, and the largest, must have products in the midst of float32.
    """
    products = all(
        f.least_quantum_exponent >= -most and f.emax < most
        for f, most in ((element, ELEMENT_EXPONENTS), (scale, SCALE_EXPONENTS))
    )
    return products and 24 + scale.precision + element.precision + 1 <= 39


def _fractions(shape: Shape) -> Any:
    rounded = cast_one(FLOAT64, shape)

    @jitable
    def fractions(tops, sizes, codes, told):
        """The codes of scales: amax over the largest element times the tensor's scale."""
        wide_vectors()
        n, full, befallen = told.numbers, told.reals[0], 0
        for k in range(tops.size):
            largest = np.float64(sizes[k])
            value = largest / full
            quotient = np.float64(jammed(value, fused(-value, full, largest)))
            code = rounded(quotient.view(np.int64), 0, 0, told.scale)
            lost = tops[k] >= n.infinity
            befallen |= NAN * lost
            codes[k] = n.nan_scale if lost else code
        return befallen

    return fractions


def inverses(shape: Shape, element: Shape) -> Any:
    """The choice of scales for :func:`snapped_apply`: their values, and divisors' inverses."""
    fractions, faint = _fractions(shape), 0.0 if leaps(element) else FAINT

    @jitable
    def choose(tops, inverses, values, scales, told):
        wide_vectors()
        tensor, sizes, codes = told.reals[1], tops.view(np.float32), np.empty(tops.size, np.int64)
        befallen = fractions(tops, sizes, codes, told)
        for k in range(tops.size):
            values[k] = told.values[np.uint64(codes[k])]
        for k in range(tops.size):
            value, largest = np.float64(values[k]), np.float64(sizes[k])
            divisor, empty = value * tensor, value == 0
            # In a block whose scale is zero each element is far below the least.
            over = largest if empty else divisor
            inverses[k] = (faint if empty else 1.0) / (over if over != 0 else np.inf)
            far = (divisor < LEAST_DIVISOR) | (divisor > MOST_DIVISOR)
            befallen |= FAR * (far & ~empty)
        for k in range(scales.size):
            scales[k] = codes[k]
        return befallen

    return choose


def snapped_apply(t: Traits) -> Any:
    """Quotient, rule and product, where nothing is drawn."""
    rule, snap = cast_one(t.carrier, t.element), _snap(t)
    finish, quick = _product(t, exact=True), _product(t, exact=False)
    written = _itself if t.back or t.element.codes else _as_values

    @jitable
    def apply(patterns, inverses, scales, out, first, befallen, scratch, told):
        wide_vectors()
        x = patterns.view(np.float32)
        made = written(out)
        beyond_thresholds = lane((1 << (told.element.place.drop - 1)) - 1)
        tensor, single = told.reals[1], np.float32(told.reals[1])
        for begin in range(0, x.size, STRIP):
            start, end = np.uint64(begin), np.uint64(min(begin + STRIP, x.size))
            near = lane(befallen & FAR)
            for i in range(start, end):
                pattern = np.float32(x[i] * inverses[i]).view(np.int32)
                short = ((lane(pattern) + NEAR) & beyond_thresholds) < 2 * NEAR
                near = near | lane(short & (x[i] != 0))
                made[i] = quick(rule(pattern, 0, 0, told.element), scales[i], single, told)
            if unlane(near):
                for i in range(start, end):
                    pattern = snap(np.float64(x[i]), np.float64(scales[i]) * tensor)
                    made[i] = finish(rule(pattern, 0, 0, told.element), scales[i], single, told)

    return apply


def _snap(t: Traits) -> Any:
    least = np.float64(LEAST_QUOTIENT).view(np.int64) if leaps(t.element) else 0
    magnitudes = (1 << 63) - 1

    @jitable
    def snap(x, divisor):
        """The quotient as a float32's pattern that is rounded as it is."""
        bits = np.float64(x / (divisor if divisor != 0 else np.inf)).view(np.int64)
        bits = (bits + SNAPPED // 2) & -SNAPPED
        bits = (bits & ~BEYOND) | (((bits & BEYOND) + BEYOND) & (BEYOND + 1))
        magnitude = bits & magnitudes
        bits = bits - magnitude + (max(magnitude, least) if magnitude else 0)
        return np.float32(np.int64(bits).view(np.float64)).view(np.int32)

    return snap


def _product(t: Traits, *, exact: bool) -> Any:
    """An element times its scales, as it is written: their product first, or one by one."""
    if t.element.codes:
        return _element
    back: Any = None if t.back is None else cast_one(FLOAT64, t.back)

    @jitable
    def coded(element, scale, tensor, told):
        factor = np.float64(scale) * np.float64(tensor)
        value = np.float64(np.int32(element).view(np.float32) * factor)
        return back(value.view(np.int64), 0, 0, told.back)

    @jitable
    def rounded(element, scale, tensor, told):
        factor = np.float64(scale) * np.float64(tensor)
        return np.float32(np.int32(element).view(np.float32) * factor)

    @jitable
    def in_parts(element, scale, tensor, told):
        return np.int32(element).view(np.float32) * scale * tensor

    return coded if back else rounded if exact else in_parts


@jitable
def _element(element, scale, tensor, told):
    return element


@jitable
def _itself(out):
    return out


@jitable
def _as_values(out):
    return out.view(np.float32)


def divisors(shape: Shape) -> Any:
    """The choice of scales for :func:`odd_apply`."""
    fractions = _fractions(shape)

    @jitable
    def choose(tops, divisors, unused, scales, told):
        wide_vectors()
        tensor, codes = told.reals[1], np.empty(tops.size, np.int64)
        befallen = fractions(tops, tops.view(np.float64), codes, told)
        for k in range(tops.size):
            divisors[k] = told.values[codes[k]] * tensor
        for k in range(scales.size):
            scales[k] = codes[k]
        return befallen

    return choose


def odd_apply(t: Traits) -> Any:
    """Quotients rounded to odd, the rule and products."""
    stretch, coded, product = stretch_of(t), t.element.codes, _products(t)

    @jitable
    def apply(patterns, divisors, unused, out, first, befallen, scratch, told):
        quotients = scratch[1][: out.size]
        _odd(patterns.view(np.float64), divisors, quotients.view(np.float64))
        if coded:
            stretch(quotients, quotients, out, first, told)
        else:
            elements = scratch[2][: out.size]  # loops within one array are not vectorised
            stretch(quotients, quotients, elements, first, told)
            product(elements.view(np.float64), divisors, out, told)

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
    single = t.memory == "float32"
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
