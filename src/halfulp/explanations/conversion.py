"""L3: how one number becomes the code of a format, through any chain of formats, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from typing import Any

from halfulp.arithmetic import Operand, operand
from halfulp.casting import Cast, Detail, code_number
from halfulp.catalogue import Format
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.language import N_
from halfulp.profiles import profiled_cast
from halfulp.records import Record


class Reason(StrEnum):
    """Why the result is what it is."""

    EXACT = "exact"
    BELOW_HALF = "below_half"
    ABOVE_HALF = "above_half"
    TIE_STAYS = "tie_stays_even"
    TIE_UP = "tie_up_to_even"
    TIE_AWAY = "tie_away"
    TOWARD_ZERO = "toward_zero"
    AWAY = "away_from_zero"
    ODD = "to_odd"
    OVERFLOW = "overflow"
    SATURATED = "saturated"
    UNDERFLOW = "underflow"
    INFINITY = "infinity"
    NAN = "nan"
    LEAST = "least"  # below the least number of a format without zero
    CUT_TO_ZERO = "cut_to_zero"  # below the least number, by a directed rounding
    STAYS_IN_RANGE = "stays_in_range"  # beyond the largest number, by a directed rounding
    NO_PLACE = "no_place"  # zero or a negative number in a format without


@dataclass(frozen=True)
class Fields(Record):
    """The layout of a code."""

    sign: str
    exponent: str
    fraction: str
    exponent_value: int | None  # of the number: 2 ** exponent_value; None for inf and NaN
    kind: str  # "normal", "subnormal", "zero", "inf" or "nan"


@dataclass(frozen=True)
class Conversion(Record):
    """One cast, step by step. Errors are ``value - source``; None where either is not finite."""

    format: Format
    rounding: str
    source: Number  # the number that is cast
    source_format: str | None  # where it comes from in the chain; None for the exact input
    code: str  # hexadecimal
    bits: str
    fields: Fields
    value: Number
    error: Fraction | None
    error_ulps: Fraction | None
    direction: str  # "up", "down" or "exact": where the value went on the number line
    tie: bool
    reason: Reason
    kept: str  # significand bits that stay, the implicit one first
    dropped: str  # those that go
    endless: bool  # the dropped bits go on without end
    exponent: int | None  # of the first kept bit
    guard: int  # the first dropped bit
    round: int  # the second
    sticky: int  # whether any later one is set
    ulp: Fraction
    next_bit_value: Number | None  # what "look at the next bit" would give, where it differs
    error_from_input: Fraction | None  # since the number at the head of the chain
    error_from_input_ulps: Fraction | None


@dataclass(frozen=True)
class Explanation(Record):
    """A chain of casts of one number.

    >>> [str(step.value) for step in explain("1.12156456132", via=["float32", "float16"]).results]
    ['1.12156450748443603515625', '1.12109375']
    """

    renderer = "halfulp.explanations.steps_text:explanation_page"

    input: str
    exact: Number
    results: tuple[Conversion, ...]
    double_rounding: Conversion | None  # the direct cast, where the chain ends elsewhere


def explain(
    x: Any,
    via: Sequence[str | Format] = (),
    to: Sequence[str | Format] | str | Format | None = None,
    *,
    rounding: str = "nearest_even",
    overflow: str | None = None,
) -> Explanation:
    """How ``x`` becomes each format of the chain ``via`` (then ``to``), every bit and decision.

    ``x`` is a number of any kind, a text in any notation of :func:`halfulp.number`, or a code such
    as ``float16:0x3c7c``. Raises HalfulpError for what is none, unknown formats, roundings and
    overflows, and an empty chain.
    """
    last: list[Any] = list(to) if isinstance(to, (list, tuple)) else [] if to is None else [to]
    chain = [profiled_cast(f, rounding, overflow) for f in [*via, *last]]
    if not chain:
        raise HalfulpError("nothing to convert to: name a format, such as --to float16")
    if rounding == "stochastic":
        raise HalfulpError(
            "a stochastic result cannot be explained in advance: name another rounding"
        )
    given = operand(x)
    results = _chain(given, chain)
    direct = conversion(chain[-1], given.number, None)
    doubled = direct if len(chain) > 1 and direct.code != results[-1].code else None
    return Explanation(given.text, given.number, tuple(results), doubled)


def _chain(given: Operand, chain: list[Cast]) -> list[Conversion]:
    results: list[Conversion] = []
    source, name = given.number, None if given.format is None else given.format.name
    for cast in chain:
        step = conversion(cast, source, name)
        total = difference(step.value, given.number)
        ulps = None if total is None else total / step.ulp
        results.append(replace(step, error_from_input=total, error_from_input_ulps=ulps))
        source, name = step.value, cast.target.name
    return results


def conversion(cast: Cast, source: Number, source_format: str | None = None) -> Conversion:
    """One cast of one number as data, from the very integers the rule worked on."""
    detail = cast.detail(source)
    value = code_number(cast.target, detail.code)
    error = difference(value, source)
    ulp = cast.target.ulp(source.value) if source.is_finite else cast.target.epsilon
    ulps = None if error is None else error / ulp
    kept, dropped, guard, second, sticky = _split(detail)
    ordinary = source.is_finite and not detail.overflow
    return Conversion(
        format=cast.target,
        rounding=cast.rounding,
        source=source,
        source_format=source_format,
        code=cast.target.hex(detail.code),
        bits=f"{detail.code:0{cast.target.width}b}",
        fields=fields_of(cast.target, detail.code),
        value=value,
        error=error,
        error_ulps=ulps,
        direction=_direction(value, source, error),
        tie=ordinary and _is_tie(detail),
        reason=_reason(cast, detail, value),
        kept=kept if source.is_finite else "",
        dropped=dropped if source.is_finite else "",
        endless=detail.sticky,
        exponent=_first_exponent(detail) if source.is_finite else None,
        guard=guard,
        round=second,
        sticky=sticky,
        ulp=ulp,
        next_bit_value=_next_bit(cast, source, value),
        error_from_input=error,
        error_from_input_ulps=ulps,
    )


def fields_of(target: Format, code: int) -> Fields:
    """The layout of a code, and what kind of number it is."""
    number = code_number(target, code)
    sign, exponent, fraction = target.fields(code)
    if not number.is_finite:
        return Fields(sign, exponent, fraction, None, number.special)
    field = int(exponent, 2)
    kind = N_("normal") if field >= target.least_field else N_("subnormal")
    kind = kind if number.value else N_("zero")
    return Fields(sign, exponent, fraction, max(field, target.least_field) - target.bias, kind)


def difference(value: Number, source: Number) -> Fraction | None:
    """How far a value is from its source; None where either is not finite."""
    both = value.is_finite and source.is_finite
    return value.value - source.value if both else None


def _direction(value: Number, source: Number, error: Fraction | None) -> str:
    if error is None:
        if value.is_nan or source.is_nan or value.special == source.special:
            return "exact"
        # One of the two is infinite: the value went up where it is +inf or left -inf.
        return "up" if (value.special == "inf") != value.negative else "down"
    return "exact" if not error else "up" if error > 0 else "down"


def _split(detail: Detail) -> tuple[str, str, int, int, int]:
    """Kept and dropped bits as text, and guard, round and sticky."""
    drop = detail.step.shift
    kept = f"{detail.step.rule.kept:b}"
    if drop <= 0:
        return kept, "", 0, 0, 0
    length = drop - 1 if detail.sticky else drop
    bits = f"{detail.step.rule.dropped >> int(detail.sticky):0{length}b}"
    sticky = int("1" in bits[2:] or detail.sticky)
    return kept, bits, int(bits[:1] or 0), int(bits[1:2] or 0), sticky


def _is_tie(detail: Detail) -> bool:
    return bool(detail.step.rule.tie) and detail.step.shift > 0


def _first_exponent(detail: Detail) -> int:
    """The exponent of the first kept bit: that of the number, or of the least ulp below range."""
    last = detail.exponent - (detail.width - 1) + max(detail.step.shift, 0)
    kept = int(detail.step.rule.kept)
    return int(last) + max(kept.bit_length(), 1) - 1


def _reason(cast: Cast, detail: Detail, value: Number) -> Reason:
    source, rule = detail.source, detail.step.rule
    if source.is_nan:
        return Reason.NAN
    if not source.is_finite:
        return Reason.INFINITY
    nearest = cast.rounding.startswith("nearest")
    if source.negative and source.value and not cast.target.signed:
        return Reason.NO_PLACE
    if detail.overflow:
        inside = value.is_finite and not cast.overflows_away(source.negative)
        saturated = Reason.SATURATED if value.is_finite else Reason.OVERFLOW
        return Reason.STAYS_IN_RANGE if inside else saturated
    lost_sign = source.negative and not source.value and not value.negative
    if not value.is_finite or lost_sign:
        return Reason.NO_PLACE
    if source.value and not rule.rounded and not cast.target.zero:
        return Reason.LEAST
    if not rule.dropped or detail.step.shift <= 0:
        return Reason.EXACT if value.value == source.value else Reason.NO_PLACE
    if not value.value:
        return Reason.UNDERFLOW if nearest else Reason.CUT_TO_ZERO
    if not nearest:
        away = Reason.AWAY if rule.up else Reason.TOWARD_ZERO
        return Reason.ODD if cast.rounding == "to_odd" else away
    if not rule.tie:
        return Reason.ABOVE_HALF if rule.up else Reason.BELOW_HALF
    if cast.rounding == "nearest_away":
        return Reason.TIE_AWAY
    return Reason.TIE_UP if rule.up else Reason.TIE_STAYS


def _next_bit(cast: Cast, source: Number, value: Number) -> Number | None:
    """What "look at the next bit: 1 rounds up, 0 does not" gives, where that is something else."""
    if cast.rounding != "nearest_even" or not source.is_finite:
        return None
    other = replace(cast, rounding="nearest_away").number(source)
    return other if other != value else None
