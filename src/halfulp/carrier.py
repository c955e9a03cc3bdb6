"""L1: what surrounds the rule on every carrier, in its dialect: exponents before, fates after.

:func:`convert` says where the last kept bit lies and puts the code together; :func:`settle` gives
overflow, infinities, NaN, zeros and signs their patterns. Python ints run them for single numbers,
Numba for arrays; only ints go in and come out. The formulas are the straight line of catalogue.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from halfulp.catalogue import Format
from halfulp.rounding import Rounded, at_most, positive, round_off


class Placement(NamedTuple):
    """Where the last kept bit lies, as ints; exponents are fields biased as the caller's source."""

    drop: int  # bits dropped from a significand in the normal range
    least: int  # the least normal binade, as a field of the source
    rebias: int  # source field -> target field
    fraction_bits: int  # of the target
    flush: int  # what more is dropped below the least normal number where no subnormals are
    longest: int  # the longest shift of the carrier


class Step(NamedTuple):
    """What was dropped of a significand, and how."""

    drop: Any  # bits dropped, before the carrier's limit
    shift: Any  # and within it
    rule: Rounded


class Converted(NamedTuple):
    """A magnitude code on the endless line of codes (it may lie beyond the largest), and how."""

    code: Any
    drop: Any  # bits dropped, before the carrier's limit
    shift: Any  # and within it
    rule: Rounded


def placement(target: Format, width: int, bias: int, longest: int = 62) -> Placement:
    """The placement for significands of ``width`` bits and exponent fields biased by ``bias``."""
    return Placement(
        drop=width - target.precision,
        least=target.emin + bias,
        rebias=target.bias - bias,
        fraction_bits=target.fraction_bits,
        flush=0 if target.subnormals or not target.zero else target.fraction_bits,
        longest=longest,
    )


def drop_of(exponent: Any, place: Any) -> Any:
    """How many bits a significand loses: more below the least normal binade."""
    below = positive(place.least - exponent)
    return place.drop + below + place.flush * at_most(below, 1)


def base_of(exponent: Any, place: Any) -> Any:
    """The code that the kept bits are added to: where the straight line of a binade begins."""
    field = exponent + positive(place.least - exponent) + place.rebias
    return (field - 1) << place.fraction_bits


def round_at(
    negative: Any, exponent: Any, significand: Any, parity: Any, place: Any, chance: Any,
    decide: Any,
) -> Step:  # fmt: skip
    """A significand to the bits that have a place, by the rule; ``parity`` as the rule takes it."""
    drop = drop_of(exponent, place)
    shift = at_most(drop, place.longest)
    return Step(drop, shift, round_off(significand, shift, parity, negative, chance, decide))


def convert(
    negative: Any, exponent: Any, significand: Any, place: Any, chance: Any, decide: Any
) -> Converted:
    """A magnitude to its code, by the straight line of catalogue.py and the rule.

    A zero significand gives the code 0, or -1 in a format without zero; so does what rounds to it.
    """
    base = base_of(exponent, place)
    step = round_at(negative, exponent, significand, base, place, chance, decide)
    code = (step.rule.rounded << (place.flush * (exponent < place.least))) + base
    return Converted(code, step.drop, step.shift, step.rule)


class Outcome(NamedTuple):
    """The patterns of results that are not an ordinary number, positive and negative."""

    keep: int  # a negative result is (magnitude & keep) | sign
    sign: int
    void: int  # rounded to nothing: zero, or the least number where there is no zero
    void_negative: int
    zero: int  # was zero
    zero_negative: int
    over: int
    over_negative: int
    infinite: int
    infinite_negative: int
    nan: int
    nan_negative: int


def settle(
    pattern: Any, negative: Any, void: Any, zero: Any, over: Any, infinite: Any, nan: Any, o: Any
) -> Any:
    """The final pattern of a magnitude: its sign, or the fate of what has no place."""
    pattern = choose(negative, (pattern & o.keep) | o.sign, pattern)
    pattern = choose(void, choose(negative, o.void_negative, o.void), pattern)
    pattern = choose(zero, choose(negative, o.zero_negative, o.zero), pattern)
    pattern = choose(over, choose(negative, o.over_negative, o.over), pattern)
    pattern = choose(infinite, choose(negative, o.infinite_negative, o.infinite), pattern)
    return choose(nan, choose(negative, o.nan_negative, o.nan), pattern)


def settle_plainly(pattern: Any, sign: Any, void: Any, over: Any, nan: Any, o: Any) -> Any:
    """:func:`settle` where both signs fare alike, zeros stay zeros and infinities overflow."""
    pattern = choose(over, o.over, pattern)
    pattern = choose(nan, o.nan, pattern)
    return choose(void, 0, pattern) | sign


def is_plain(place: Placement, o: Outcome, sign: int) -> bool:
    """Whether :func:`settle_plainly` serves; ``sign`` is the sign bit of the patterns."""
    mirrored = all(
        negative == positive | sign
        for positive, negative in (
            (o.void, o.void_negative), (o.over, o.over_negative),
            (o.infinite, o.infinite_negative), (o.nan, o.nan_negative),
        )
    )  # fmt: skip
    zeros = (o.void, o.zero, o.zero_negative) == (0, 0, sign)
    kept = o.keep == -1 and o.sign == sign
    ordinary = place.fraction_bits > 0 and not place.flush
    return mirrored and zeros and kept and ordinary and o.over == o.infinite


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """``yes`` where the condition holds, else ``no``; arithmetic, so that every carrier can."""
    return no + (yes - no) * condition
