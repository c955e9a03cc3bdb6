"""L3: how two numbers are added or multiplied in a format, with every bit visible, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halfulp.arithmetic import EXACT, Operand, meeting_cast, operands
from halfulp.casting import number_code
from halfulp.catalogue import Format, binade, power_of_two
from halfulp.errors import unknown
from halfulp.exact import Number
from halfulp.explanations.conversion import Conversion, Fields, conversion, fields_of
from halfulp.language import translate as _
from halfulp.records import Record


@dataclass(frozen=True)
class Term(Record):
    """One operand in its format, and where its significand stands in the operation."""

    text: str
    given: Number
    value: Number
    format: Format | None
    code: str | None
    fields: Fields | None
    rounded: bool  # its format changed it
    exponent: int | None  # of its first bit; None for zero, inf and NaN
    significand: str  # its bits, the first one leading
    shift: int  # how far right it goes to meet the larger exponent


@dataclass(frozen=True)
class Operation(Record):
    """An addition or multiplication: operands, alignment, exact result, and the one rounding.

    >>> work = explain_operation("add", "1.125:float16", "0.12457275190625:float16")
    >>> str(work.exact), str(work.result.value), work.operands[1].shift
    ('1.24957275390625', '1.25', 4)
    """

    renderer = "halfulp.explanations.steps_text:operation_page"

    operation: str  # "add" or "multiply"
    operands: tuple[Term, Term]
    format: Format  # of the result
    promoted: bool  # an operand's format was widened to that of the result, which holds both
    exact: Number  # the exact sum or product
    exponent: int | None  # of its first bit
    significand: str  # its bits
    normalise: int  # how far its point moves: 1 after a carry, negative after cancellation
    result: Conversion  # the rounding of the exact result


def explain_operation(
    operation: str,
    a: Any,
    b: Any,
    target: str | Format | None = None,
    *,
    rounding: str = "nearest_even",
    overflow: str | None = None,
    promotion: str = "halfulp",
) -> Operation:
    """The operation ``add`` or ``multiply`` of two operands as :func:`halfulp.arithmetic.operand`
    reads them; operands that name no format are rounded to ``target`` first. Without a target the
    result is in what operands meet in by a rule of :data:`halfulp.promotion.RULES`.

    Raises HalfulpError for what is no operand, where no format is named at all, and where a
    framework does not add the two.
    """
    if operation not in EXACT:
        raise unknown(_("operation"), str(operation), EXACT)
    left, right = operands(a, b, target)
    cast = meeting_cast(left, right, target, rounding, overflow, promotion=promotion)
    exact = EXACT[operation](left.number, right.number, rounding)
    top = max((binade(n.value) for n in (left.number, right.number) if _has_bits(n)), default=0)
    terms = (_term(left, operation, top), _term(right, operation, top))
    exponent, significand = _bits(exact)
    start = top if operation == "add" else sum(t.exponent or 0 for t in terms)
    return Operation(
        operation=operation,
        operands=terms,
        format=cast.target,
        promoted=any(t.format != cast.target for t in terms)
        and all(t.format is not None and cast.target.holds(t.format) for t in terms),
        exact=exact,
        exponent=exponent,
        significand=significand,
        normalise=0 if exponent is None else exponent - start,
        result=conversion(cast, exact),
    )


def _term(given: Operand, operation: str, top: int) -> Term:
    exponent, significand = _bits(given.number)
    target = given.format
    code = None if target is None else number_code(target, given.number)
    shift = 0 if exponent is None or operation != "add" else top - exponent
    return Term(
        text=given.text,
        given=given.given,
        value=given.number,
        format=target,
        code=None if target is None or code is None else target.hex(code),
        fields=None if target is None or code is None else fields_of(target, code),
        rounded=given.given != given.number,
        exponent=exponent,
        significand=_padded(significand, given, exponent),
        shift=shift,
    )


def _padded(significand: str, given: Operand, exponent: int | None) -> str:
    """All the significand bits that the format keeps there, trailing zeros included."""
    if given.format is None or exponent is None:
        return significand
    bits = exponent - given.format.quantum_exponent(abs(given.number.value)) + 1
    return significand.ljust(bits, "0")


def _has_bits(n: Number) -> bool:
    return n.is_finite and bool(n.value)


def _bits(n: Number) -> tuple[int | None, str]:
    """The exponent of the first bit and all bits of a dyadic number; of others the first 64."""
    if not _has_bits(n):
        return None, ""
    exponent = binade(n.value)
    size = abs(n.value)
    scaled = size * power_of_two(size.denominator.bit_length() - 1)
    if scaled.denominator != 1:
        scaled = size * power_of_two(63 - exponent)
    return exponent, f"{scaled.numerator // scaled.denominator:b}".rstrip("0") or "0"
