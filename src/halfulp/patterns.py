"""L1: the cast of one bit pattern of a native float, written once for every array backend.

A backend views its arrays as integers and says how its carrier is made (:class:`Carrier`);
everything else is here: fields apart, subnormals normalised where the target needs it, the rule,
and the pattern of the answer. What depends on the format comes as ints at run time
(:class:`Plan`); rounding and the kind of answer are fixed when :func:`pattern_cast` makes the
function, so that a compiler sees straight-line code.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

from halfulp.carrier import (
    Outcome,
    Placement,
    base_of,
    choose,
    convert,
    drop_of,
    is_plain,
    placement,
    round_at,
    settle,
    settle_plainly,
)
from halfulp.casting import Cast, number_code, outcome
from halfulp.catalogue import Format, format
from halfulp.exact import finite, number
from halfulp.noise import Key, key_of, random_word
from halfulp.rounding import DECISIONS, at_least, at_most, chance_of, round_off


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


class Carrier(NamedTuple):
    """The integers that patterns are computed in, and the float they are patterns of."""

    name: str
    source: Format  # float32 or float64
    bits: int  # of the carrier; it wraps
    widen: Callable[[Any], Any]  # an integer or a truth value as the carrier
    store: Callable[[Any], Any]  # and back to a pattern
    float_field: Callable[[Any], Any]  # floor(log2) of a positive carrier value
    # Sum and difference of two floats given as patterns, rounded by the processor to nearest even.
    add: Callable[[Any, Any], Any] | None = None
    subtract: Callable[[Any, Any], Any] | None = None
    # What a function needs to be called from compiled code.
    compiles: Callable[[Callable[..., Any]], Callable[..., Any]] = _as_it_is

    @property
    def longest(self) -> int:
        """The longest shift that leaves room for the rule's doubling of what is dropped."""
        return self.bits - 2


class Plan(NamedTuple):
    """Everything a loop needs to know of a cast, as ints that fit its carrier."""

    place: Placement
    outcome: Outcome
    largest: int  # the largest finite number, as a pattern of the answer
    tiny: int  # the least positive number, as a pattern of the source
    key: Key
    random_bits: int
    beyond: int  # the binade after that of the largest finite number, as a field of the source


def fits(cast: Cast, source: Format, bits: int) -> bool:
    """Whether integers of ``bits`` hold every step of a cast from a native float."""
    largest_field = source.emax + cast.target.bias + 1
    codes = (largest_field << cast.target.fraction_bits).bit_length()
    return source.precision >= cast.target.precision and codes < bits and source.width <= bits


def plan(cast: Cast, carrier: Carrier, seed: int, *, codes: bool) -> Plan:
    """A cast from a native float as ints for its carrier."""
    source = carrier.source
    fates = outcome(cast, cast.target if codes else source)
    return Plan(
        placement(cast.target, source.precision, source.bias, carrier.longest),
        Outcome(*(_signed(pattern, carrier.bits) for pattern in fates)),
        cast.target.max_code if codes else number_code(source, finite(cast.target.max)),
        number_code(source, finite(cast.target.least_positive)),
        key_of(seed),
        cast.random_bits,
        cast.target.emax + 1 + source.bias,
    )


def _signed(pattern: int, bits: int) -> int:
    """A pattern as the signed integer of the same bits."""
    return pattern - (1 << bits) if pattern >> (bits - 1) == 1 else pattern


class Way(Enum):
    """How a magnitude is rounded; all ways give the same bits."""

    APART = "apart"  # exponent and significand apart: every cast
    WHOLE = "whole"  # the pattern as it stands, where both formats have the same exponents
    SUM = "sum"  # nearest even, by a sum that the processor rounds
    POWERS = "powers"  # the pattern as it stands, to the powers of two from one binade below it


class Shape(NamedTuple):
    """What a compiled cast is specialised for: straight-line code without what it never needs."""

    rounding: str
    codes: bool  # the answer is codes, else patterns of the source
    normalise: bool  # the target reaches below the source's least normal number
    plain: bool  # nothing but what carrier.settle_plainly does befalls what has no place
    way: Way = Way.APART


@lru_cache(maxsize=4096)
def shape_of(cast: Cast, carrier: Carrier, *, codes: bool) -> Shape:
    """The shape of a cast on a carrier."""
    return _shape_of(cast, carrier, plan(cast, carrier, 0, codes=codes), codes=codes)


@lru_cache(maxsize=1024)
def for_errors(cast: Cast, carrier: Carrier, seed: int) -> tuple[Shape, Plan]:
    """Shape and plan of a cast whose finite results of finite values alone are looked at.

    Signs of zeros, which infinity and what of NaN do not matter then, so that more casts are plain.
    """
    made = plan(cast, carrier, seed, codes=False)
    infinity, o = number_code(carrier.source, number("inf")), made.outcome
    sign = _signed(carrier.source.sign_bit, carrier.bits)
    if {o.zero, o.zero_negative, o.void, o.void_negative} <= {0, sign}:
        o = o._replace(zero=0, zero_negative=sign, void=0, void_negative=sign)
    if o.over >= infinity and o.over_negative & ~sign >= infinity:
        o = o._replace(over=infinity, over_negative=infinity | sign)
    o = o._replace(infinite=o.over, infinite_negative=o.over_negative)
    nan = infinity | 1
    made = made._replace(outcome=o._replace(nan=nan, nan_negative=nan | sign))
    return _shape_of(cast, carrier, made, codes=False), made


def _shape_of(cast: Cast, carrier: Carrier, made: Plan, *, codes: bool) -> Shape:
    container = cast.target if codes else carrier.source
    sign = _signed(container.sign_bit, carrier.bits)
    infinities_overflow = cast.target.emax <= carrier.source.emax
    plain = infinities_overflow and is_plain(made.place, made.outcome, sign)
    return Shape(
        cast.rounding,
        codes,
        normalise=cast.target.emin < carrier.source.emin,
        plain=plain and cast.target.signed,
        way=_way(cast, carrier),
    )


def _way(cast: Cast, carrier: Carrier) -> Way:
    source, target = carrier.source, cast.target
    if target.precision == 1 and (target.emin, target.bias) == (source.emin - 1, source.bias):
        return Way.APART if cast.is_stochastic else Way.POWERS
    if not (target.fraction_bits and target.subnormals and source.precision > target.precision):
        return Way.APART
    if (target.emin, target.bias) == (source.emin, source.bias):
        return Way.WHOLE
    # No number of the sum is subnormal, which threads may be told to flush, or overflows.
    least = target.emin - target.fraction_bits > source.emin
    most = target.emax + 1 + source.precision - target.precision <= source.emax
    sums = carrier.add is not None and cast.rounding == "nearest_even"
    return Way.SUM if sums and least and most else Way.APART


def leaps(shape: Shape) -> bool:
    """Whether a result may be further from its value than zero is: above the least, not nearest.

    The nearest of a number below half the least positive one is never that one.
    """
    return shape.rounding not in ("nearest_even", "nearest_away", "toward_zero")


def pattern_cast(carrier: Carrier, shape: Shape) -> Callable[..., Any]:
    """The cast of a pattern: ``(pattern, low and high word of its noise's index, plan)``.

    It answers with codes, or with patterns of the source. The arguments of this factory are
    resolved when a compiler sees the function.
    """
    round_magnitude = carrier.compiles(_WAYS[shape.way](carrier, shape))
    widen, store, plain = carrier.widen, carrier.store, shape.plain
    infinity = number_code(carrier.source, number("inf"))
    magnitude_mask = (1 << carrier.source.magnitude_bits) - 1

    def cast_pattern(bits: Any, low: Any, high: Any, plan: Any) -> Any:
        pattern = widen(bits)
        negative = widen(pattern < 0)
        magnitude = pattern & magnitude_mask
        result, void = round_magnitude(negative, magnitude, low, high, plan)
        over = result > plan.largest
        nan, fates = magnitude > infinity, plan.outcome
        if plain:
            return store(settle_plainly(result, negative * fates.sign, void, over, nan, fates))
        zero, infinite = magnitude == 0, magnitude == infinity
        return store(settle(result, negative, void, zero, over, infinite, nan, fates))

    return cast_pattern


def _apart(carrier: Carrier, shape: Shape) -> Callable[..., Any]:
    """``(negative, magnitude, noise's words, plan) -> pattern, whether it rounded to nothing``."""
    codes, normalise, plain = shape.codes, shape.normalise, shape.plain
    may_leap = leaps(shape)
    decide, drawn = DECISIONS[shape.rounding], shape.rounding == "stochastic"
    widen, float_field, longest = carrier.widen, carrier.float_field, carrier.longest
    fraction_bits = carrier.source.fraction_bits

    def round_magnitude(negative: Any, magnitude: Any, low: Any, high: Any, plan: Any) -> Any:
        field = magnitude >> fraction_bits
        field = field + widen(field == 0)
        significand = magnitude - ((field - 1) << fraction_bits)
        lift = widen(0)
        if normalise:
            lift = (fraction_bits - float_field(significand)) * widen(significand != 0)
        exponent = field - lift
        significand = significand << lift
        place = plan.place
        if plain:
            place = Placement(
                place.drop, place.least, place.rebias, place.fraction_bits, 0, longest
            )
        chance = None
        if drawn:
            word = random_word(plan.key, widen(low), widen(high))
            drop = drop_of(exponent, place)
            chance = chance_of(word, plan.random_bits, drop, longest)
        if codes:
            made = convert(negative, exponent, significand, place, chance, decide)
            return made.code, made.rule.rounded == 0
        parity = 0 if plain else base_of(exponent, place)
        step = round_at(negative, exponent, significand, parity, place, chance, decide)
        result = (step.rule.rounded << step.shift >> lift) + ((field - 1) << fraction_bits)
        if may_leap:
            result = choose(step.shift > fraction_bits + 1, plan.tiny, result)
        return result, step.rule.rounded == 0

    return round_magnitude


def _whole(carrier: Carrier, shape: Shape) -> Callable[..., Any]:
    """The same where both formats have the same exponents: the rule takes whole patterns."""
    decide, drawn = DECISIONS[shape.rounding], shape.rounding == "stochastic"
    codes, widen, longest = shape.codes, carrier.widen, carrier.longest

    def round_magnitude(negative: Any, magnitude: Any, low: Any, high: Any, plan: Any) -> Any:
        drop, chance = plan.place.drop, None
        if drawn:
            word = random_word(plan.key, widen(low), widen(high))
            chance = chance_of(word, plan.random_bits, widen(drop), longest)
        code = round_off(magnitude, drop, 0, negative, chance, decide).rounded
        return (code if codes else code << drop), code == 0

    return round_magnitude


def _powers(carrier: Carrier, shape: Shape) -> Callable[..., Any]:
    """The same for float8_e8m0fnu from float32, whose exponent field is the code.

    The subnormals are one binade of codes, 0: there a bit less is dropped, and codes are one less.
    """
    decide, codes, widen = DECISIONS[shape.rounding], shape.codes, carrier.widen
    fraction_bits = carrier.source.fraction_bits

    def round_magnitude(negative: Any, magnitude: Any, low: Any, high: Any, plan: Any) -> Any:
        below = widen(magnitude < (1 << fraction_bits))
        rounded = round_off(
            magnitude, fraction_bits - below, 0 - below, negative, None, decide
        ).rounded
        code = rounded - below
        if codes:
            return code, rounded == 0
        return choose(code > 0, code << fraction_bits, 1 << (fraction_bits - 1)), rounded == 0

    return round_magnitude


def _summed(carrier: Carrier, shape: Shape) -> Callable[..., Any]:
    """The same by adding a power of two, whose ulp is the target's there; the processor rounds.

    The sum's last bit is the target's, and even where the target's code is: its ties are ours.
    Subtracted again, the power leaves the rounded magnitude, exactly (Sterbenz's lemma).
    """
    add, subtract, codes = carrier.add, carrier.subtract, shape.codes
    assert add is not None  # shape_of has seen to it
    assert subtract is not None
    fraction_bits = carrier.source.fraction_bits
    exponents = number_code(carrier.source, number("inf"))

    def round_magnitude(negative: Any, magnitude: Any, low: Any, high: Any, plan: Any) -> Any:
        place, least = plan.place, plan.place.least << fraction_bits
        binade = at_most(at_least(magnitude & exponents, least), plan.beyond << fraction_bits)
        power = binade + (place.drop << fraction_bits)
        total = add(magnitude, power)
        if codes:
            base = (binade >> place.drop) + ((place.rebias - 1) << place.fraction_bits)
            return base + (total - power), total == power
        return subtract(total, power), total == power

    return round_magnitude


_WAYS = {Way.APART: _apart, Way.WHOLE: _whole, Way.SUM: _summed, Way.POWERS: _powers}

FLOAT32, FLOAT64 = format("float32"), format("float64")
