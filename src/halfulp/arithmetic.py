"""L2: add and multiply in a format: exactly, then rounded once.

Operands are numbers, or texts that name a format: ``1.125:float16`` is 1.125 rounded to float16,
``float16:0x3c7c`` is what that code means. Mixed formats promote as NumPy and PyTorch promote.

Source: IEEE 754-2019 §5.4.1 (operations), §6.1 and §6.3 (infinities, NaN, the sign of zero).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halfulp.casting import Cast, code_number
from halfulp.catalogue import ALIASES, Format, format
from halfulp.conversion import as_kind_of
from halfulp.errors import HalfulpError
from halfulp.exact import Number, finite, number
from halfulp.profiles import profiled_cast
from halfulp.records import Record

NAN = Number(special="nan")


@dataclass(frozen=True)
class Operand(Record):
    """A number with the format it lives in, if one was named."""

    text: str  # as it was given
    given: Number  # before it was rounded to its format
    number: Number
    format: Format | None


def operand(source: Any, within: str | Format | None = None) -> Operand:
    """A number or a text, rounded to the format it names, or else to ``within``.

    Raises HalfulpError where there is no number or no such format in it.

    >>> operand("float16:0x3c7c").number.value, operand("1.1:float16").number.value
    (Fraction(287, 256), Fraction(563, 512))
    """
    if isinstance(source, Operand):
        return source
    if not isinstance(source, str) or ":" not in source:
        given = number(source)
        # Python refuses to write integers of more than 4300 digits; numbers write themselves.
        large = isinstance(source, int) and source.bit_length() > 1000
        return _rounded(str(given) if large else str(source), given, within)
    left, _, right = source.partition(":")
    if _starts_number(left):
        return _rounded(source, number(left), right)
    return _coded(source, format(left), right)


def _rounded(text: str, given: Number, within: str | Format | None) -> Operand:
    if within is None:
        return Operand(text, given, given, None)
    target = format(within)
    return Operand(text, given, profiled_cast(target, "nearest_even", None).number(given), target)


def _coded(text: str, source: Format, code: str) -> Operand:
    try:
        value = int(code.strip(), 0)
    except ValueError:
        raise HalfulpError(
            f"{text!r} names no code: after {source}: write a code such as 0x3c7c or 0b101"
        ) from None
    found = code_number(source, value)
    return Operand(text, found, found, source)


def _starts_number(text: str) -> bool:
    name = text.strip().lower()
    if name in ALIASES or name.lstrip("+-−")[:3] in ("inf", "nan"):
        return name not in ALIASES
    return name.lstrip("+-−")[:1].isdigit() or name.lstrip("+-−")[:1] == "."


def promoted(a: Format, b: Format) -> Format:
    """The format that two operands meet in: the wider, or the least standard one that holds both.

    >>> promoted(format("float16"), format("bfloat16")).name
    'float32'
    """
    for candidate in (a, b, format("float32"), format("float64")):
        if all(candidate.holds(f) for f in (a, b)):
            return candidate
    raise HalfulpError(f"no standard format holds both {a} and {b}: name one with --in")


def exact_sum(a: Number, b: Number, rounding: str = "nearest_even") -> Number:
    """A + b without rounding; the rounding decides only the sign of an exact zero."""
    if a.is_nan or b.is_nan:
        return NAN
    if not a.is_finite or not b.is_finite:
        if not a.is_finite and not b.is_finite and a.negative != b.negative:
            return NAN  # inf - inf
        return b if a.is_finite else a
    total = a.value + b.value
    both_negative = a.negative and b.negative
    opposite_down = rounding == "down" and a.negative != b.negative
    return finite(total, negative_zero=both_negative or opposite_down)


def exact_product(a: Number, b: Number, rounding: str = "nearest_even") -> Number:
    """A × b without rounding."""
    negative = a.negative != b.negative
    if a.is_nan or b.is_nan:
        return NAN
    if not a.is_finite or not b.is_finite:
        zero_times_infinity = any(n.is_finite and not n.value for n in (a, b))
        return NAN if zero_times_infinity else Number(negative=negative, special="inf")
    return finite(a.value * b.value, negative_zero=negative)


EXACT = {"add": exact_sum, "multiply": exact_product}


def add(
    a: Any,
    b: Any,
    target: str | Format | None = None,
    rounding: str = "nearest_even",
    *,
    overflow: str | None = None,
) -> Any:
    """A + b, exact and then rounded once to ``target`` (by default what the operands promote to).

    Operands are numbers or texts as in :func:`operand`; the answer is of the kind of ``a``.
    Raises HalfulpError for what is no number, and for operands that name no format.

    >>> add(1.125, 0.12457275390625, "float16")
    1.25
    """
    return _calculate("add", a, b, target, rounding, overflow)


def mul(
    a: Any,
    b: Any,
    target: str | Format | None = None,
    rounding: str = "nearest_even",
    *,
    overflow: str | None = None,
) -> Any:
    """A × b, exact and then rounded once; as :func:`add`.

    >>> mul("0.1:float16", "3:float16")
    '0.2998046875'
    """
    return _calculate("multiply", a, b, target, rounding, overflow)


def _calculate(
    operation: str, a: Any, b: Any, target: Any, rounding: str, overflow: str | None
) -> Any:
    left, right = operands(a, b, target)
    cast = meeting_cast(left, right, target, rounding, overflow)
    result = cast.number(EXACT[operation](left.number, right.number, rounding))
    return as_kind_of(a, result)


def operands(a: Any, b: Any, within: str | Format | None) -> tuple[Operand, Operand]:
    """Two operands; one that names no format is of ``within``, or else of the other's format."""
    left, right = operand(a, within), operand(b, within)
    if left.format is None and right.format is not None:
        left = operand(a, right.format)
    if right.format is None and left.format is not None:
        right = operand(b, left.format)
    return left, right


def meeting_cast(
    a: Operand, b: Operand, target: Any, rounding: str, overflow: str | None = None
) -> Cast:
    """The cast that ends an operation: to ``target``, or to what the operands promote to."""
    if target is None:
        if a.format is None or b.format is None:
            raise HalfulpError(
                "the operands name no format to add in: write 1.125:float16, or name one with --in"
            )
        target = promoted(a.format, b.format)
    return profiled_cast(target, rounding, overflow)
