"""Where along the magnitudes a cast to a format changes what it does, exactly; and scaled.

Rounding to nearest even is monotone, so three magnitudes tell all: from where on a number does not
become zero, is normal, and overflows. Each is midway between two neighbours, and the rule itself
says which of them takes the tie. A scale divides them: S·g reaches a bound where g reaches bound/S,
so that no product is formed, and any scale is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from halfulp.casting import Detail, cast_to
from halfulp.catalogue import Format, binade, power_of_two
from halfulp.exact import finite


class Bound(NamedTuple):
    """A magnitude from which on something happens."""

    at: Fraction
    itself: bool  # whether it happens at that very magnitude, or beyond it alone


class Bounds(NamedTuple):
    """Those of one format."""

    kept: Bound  # it does not become zero
    normal: Bound  # its result is normal, or overflows
    over: Bound  # it overflows


class Edges(NamedTuple):
    """The bounds of a scaled cast as the first float64 magnitudes that reach them, or infinity."""

    kept: float
    normal: float
    over: float


@lru_cache(maxsize=256)
def bounds(target: Format) -> Bounds:
    """The bounds of a format with a sign and a zero.

    >>> from halfulp.catalogue import format
    >>> kept, normal, over = bounds(format("float16"))
    >>> kept.at == Fraction(1, 2**25), kept.itself, over.at, over.itself
    (True, False, Fraction(65520, 1), True)
    """
    cast = cast_to(target)
    first_normal = target.least_field << target.fraction_bits

    def between(low: Fraction, high: Fraction, reached: Callable[[Detail], bool]) -> Bound:
        middle = (low + high) / 2
        return Bound(middle, bool(reached(cast.detail(finite(middle)))))

    kept = between(Fraction(0), target.least_positive, lambda d: d.step.rule.rounded > 0)
    subnormal = target.magnitude(first_normal - 1)
    normal = between(subnormal, target.least_normal, lambda d: d.step.code >= first_normal)
    end = target.max + target.ulp(target.max)
    over = between(target.max, end, lambda d: d.overflow)
    return Bounds(kept, normal if target.subnormals else kept, over)


def edges(target: Format, scale: Fraction) -> Edges:
    """Where a cast of numbers times a scale changes what it does.

    >>> from halfulp.catalogue import format
    >>> edges(format("float16"), Fraction(1024)).over
    63.984375
    """
    return Edges(*(_first(bound, scale) for bound in bounds(target)))


def _first(bound: Bound, scale: Fraction) -> float:
    """The least float64 magnitude that reaches a bound when it is scaled."""
    wanted = bound.at / scale
    try:
        first = float(wanted)
    except OverflowError:
        return math.inf
    short = first < wanted if bound.itself else first <= wanted
    return math.nextafter(first, math.inf) if short else first


def least_power(bound: Bound, magnitude: Fraction) -> int:
    """The least exponent e for which 2**e times a magnitude reaches a bound.

    >>> least_power(Bound(Fraction(1), True), Fraction(1, 8))
    3
    >>> least_power(Bound(Fraction(1), False), Fraction(1, 8))
    4
    """
    ratio = bound.at / magnitude
    exponent = binade(ratio)
    reaches = bound.itself and power_of_two(exponent) == ratio
    return exponent if reaches else exponent + 1
