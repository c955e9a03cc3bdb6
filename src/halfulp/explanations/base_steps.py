"""L3: how a number is written in another base, with the steps people learn by hand, as data.

Digits are read by the sum of digit × base^position, the whole part is written by repeated division,
the fraction by repeated multiplication. Every row holds exact numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from halfulp.errors import HalfulpError
from halfulp.exact import Digits, digits, from_digits, number
from halfulp.language import translate as _
from halfulp.records import Record

MOST_STEPS = 1000  # rows a part
# Work is bounded by how long the numbers are: writing one out takes the square of its length.
DIGIT_BITS = 1 << 28
ROW_BITS = 1 << 35


@dataclass(frozen=True)
class DigitTerm(Record):
    """A digit that is read: ``value = worth × base ** position``."""

    digit: str
    worth: int
    position: int
    value: Fraction


@dataclass(frozen=True)
class PeriodTerm(Record):
    """A repeating part: ``value = worth / (base ** length - 1) × base ** position``."""

    digits: str
    worth: Fraction  # the digits as a whole number
    length: int
    position: int  # minus the digits between the point and the repeating part
    value: Fraction


@dataclass(frozen=True)
class DivisionStep(Record):
    """One division of the whole part: ``number = base × quotient + remainder``."""

    number: Fraction
    quotient: Fraction
    remainder: int
    digit: str  # the next one to the left


@dataclass(frozen=True)
class MultiplicationStep(Record):
    """One multiplication of the fraction: ``product = base × fraction``; its whole part leaves."""

    fraction: Fraction
    product: Fraction
    digit: str  # the next one to the right
    begins_period: bool  # the first row of the repeating part
    closes_period: bool  # what is left is the fraction of the row that begins the period


@dataclass(frozen=True)
class BaseConversion(Record):
    """A number written in a base, with every step; made by :func:`base_conversion`.

    The steps are of the magnitude: the sign is written in front. ``*_cut`` says that there would be
    more rows than are here.
    """

    renderer = "halfulp.explanations.base_steps_text:base_page"

    input: str  # the text as it was given
    source_base: int | None  # of the digits that were given; None for a fraction, a power …
    target_base: int
    value: Fraction
    result: Digits
    terms: tuple[DigitTerm, ...]  # the digits given, from the left; none without a source base
    period: PeriodTerm | None  # the repeating part given
    terms_cut: bool
    whole: tuple[DivisionStep, ...]  # the last digit first
    whole_cut: bool
    fraction: tuple[MultiplicationStep, ...]  # the first digit after the point first
    fraction_cut: bool
    period_begins: int | None  # the row of the fraction, from 1, also where it is cut
    period_closes: int | None


class _Written(NamedTuple):
    """Digits as they stand in a text."""

    base: int
    whole: str
    fraction: str
    repeating: str


def base_conversion(
    text: Any,
    source_base: int | None = None,
    target_base: int = 2,
    *,
    limit: int = 10_000,
    steps: int = 64,
) -> BaseConversion:
    """How ``text`` is read, and written in ``target_base``, step by step.

    ``text`` is digits in ``source_base`` (2 to 36, a repeating part in parentheses), or, without
    one, a number in any notation of :func:`halfulp.number`. ``limit`` bounds the digits after the
    point, ``steps`` (0 to 1000) the rows of a part; numbers of thousands of digits get fewer of
    both. Raises HalfulpError for what is no number, infinities and NaN, other bases and bounds.

    >>> found = base_conversion("0.1", 10, 2)
    >>> str(found.result), [str(step.product) for step in found.fraction]
    ('0.0(0011)', ['1/5', '2/5', '4/5', '8/5', '6/5'])
    >>> found.period_begins, found.period_closes
    (2, 5)
    """
    _check_steps(steps)
    given = number(text if source_base is None else from_digits(text, source_base))
    size = abs(given.value)
    length = size.numerator.bit_length() + size.denominator.bit_length()
    result = digits(given, target_base, limit=_bounded(limit, DIGIT_BITS // length))
    rows = min(steps, max(1, ROW_BITS // length**2))
    # Only a text has digits: those of a float's shortest decimal are of another number.
    is_text = isinstance(text, str) or source_base is not None
    written = _written(str(text), source_base) if is_text else None
    terms, period, terms_cut = _reading(written, rows)
    whole, whole_cut = _divisions(size, result, rows)
    places = len(result.fraction) + len(result.repeating)
    return BaseConversion(
        input=str(text) if is_text else str(given),
        source_base=written.base if written else None,
        target_base=target_base,
        value=given.value,
        result=result,
        terms=terms,
        period=period,
        terms_cut=terms_cut,
        whole=whole,
        whole_cut=whole_cut,
        fraction=tuple(_multiplications(size, result, rows)),
        fraction_cut=places > rows or result.truncated,
        period_begins=len(result.fraction) + 1 if result.repeating else None,
        period_closes=places if result.repeating else None,
    )


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps <= MOST_STEPS:
        raise HalfulpError(
            _("steps is {steps!r}: allowed are 0 to {most} rows").format(
                steps=steps, most=MOST_STEPS
            )
        )


def _bounded(limit: int, most: int) -> int:
    """A limit of digits() as it was given where that refuses it, else no more than ``most``."""
    whole = isinstance(limit, int) and not isinstance(limit, bool)
    return min(limit, most) if whole and 0 <= limit <= 10**5 else limit


_NOTATIONS = ((16, r"0x([0-9a-f]*)\.?([0-9a-f]*)"), (2, r"0b([01]*)\.?([01]*)"),
              (8, r"0o([0-7]*)\.?([0-7]*)"), (10, r"(\d*)\.?(\d*)"))  # fmt: skip


def _written(text: str, base: int | None) -> _Written | None:
    """The digits of a text that was read as a number; None where it is not made of digits alone."""
    body = text.strip().lower().replace("_", "").replace("−", "-").lstrip("+-")
    if base is not None:
        whole, _point, rest = body.partition(".")
        head, _opened, cycle = rest.partition("(")
        return _Written(base, whole, head, cycle.rstrip(")"))
    for radix, notation in _NOTATIONS:
        if match := re.fullmatch(notation, body, re.ASCII):
            return _Written(radix, match[1], match[2], "")
    return None


def _reading(
    written: _Written | None, rows: int
) -> tuple[tuple[DigitTerm, ...], PeriodTerm | None, bool]:
    """The sum that reads digits, from the left: its terms, and whether there are more."""
    if written is None:
        return (), None, False
    base, head = written.base, written.whole + written.fraction
    terms = []
    for place, digit in enumerate(head[:rows]):
        worth, position = int(digit, 36), len(written.whole) - 1 - place
        terms.append(DigitTerm(digit, worth, position, worth * Fraction(base) ** position))
    if not written.repeating or len(head) >= rows:
        return tuple(terms), None, len(head) + bool(written.repeating) > rows
    cycle, length = from_digits(written.repeating, base), len(written.repeating)
    position = -len(written.fraction)
    value = cycle / (base**length - 1) * Fraction(base) ** position
    return tuple(terms), PeriodTerm(written.repeating, cycle, length, position, value), False


def _divisions(size: Fraction, result: Digits, rows: int) -> tuple[tuple[DivisionStep, ...], bool]:
    """The whole part divided until nothing is left: its digits from the right."""
    whole = size.numerator // size.denominator
    steps: list[DivisionStep] = []
    while whole and len(steps) < rows:
        quotient, remainder = divmod(whole, result.base)
        digit = result.whole[-1 - len(steps)]
        steps.append(DivisionStep(Fraction(whole), Fraction(quotient), remainder, digit))
        whole = quotient
    return tuple(steps), whole > 0


def _multiplications(size: Fraction, result: Digits, rows: int) -> Iterator[MultiplicationStep]:
    """The fraction multiplied: its digits from the left, no more than the result has."""
    rest = size - size.numerator // size.denominator
    begins, places = len(result.fraction), result.fraction + result.repeating
    for row, digit in enumerate(places[:rows]):
        product = rest * result.base
        yield MultiplicationStep(
            rest,
            product,
            digit,
            begins_period=bool(result.repeating) and row == begins,
            closes_period=bool(result.repeating) and row == len(places) - 1,
        )
        rest = product - product.numerator // product.denominator
