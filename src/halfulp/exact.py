"""L1: numbers as Fractions: read from any notation, written in any base, measured in ulps.

Nothing here rounds. What cannot be written out (1/3 in decimals) is written with its repeating
part marked, or as a fraction.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any

from halfulp.catalogue import Format, format, power_of_two
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.records import Record, decimal_string

# Every float64 is exact in far fewer digits; what is longer is a slip or an attack.
LARGEST_EXPONENT = 20_000
LONGEST_TEXT = 20_000
MOST_DIGITS = 100_000

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Number(Record):
    """A number as it was given: finite and exact, or infinite, or NaN; zero keeps its sign."""

    renderer = "halfulp.explanations.record_text:text_page"

    value: Fraction = Fraction(0)  # of a finite number; 0 otherwise
    negative: bool = False
    special: str = ""  # "", "inf" or "nan"

    @property
    def is_finite(self) -> bool:
        """Neither infinite nor NaN."""
        return not self.special

    @property
    def is_nan(self) -> bool:
        """NaN."""
        return self.special == "nan"

    def __str__(self) -> str:
        text = self.special or decimal_string(abs(self.value))
        return f"-{text}" if self.negative and not self.is_nan else text

    def as_field(self) -> str:
        """In another record a number is its text."""
        return str(self)

    def __neg__(self) -> Number:
        return Number(-self.value, not self.negative, self.special)

    def to_float(self) -> float:
        """The nearest float64, infinite beyond its range."""
        if self.special:
            size = math.inf if self.special == "inf" else math.nan
        else:
            try:
                size = float(abs(self.value))
            except OverflowError:
                size = math.inf
        return -size if self.negative else size


def finite(value: Fraction, negative_zero: bool = False) -> Number:
    """A finite Number; only a zero needs to be told its sign."""
    return Number(value, value < 0 or (value == 0 and negative_zero))


def number(source: Any) -> Number:
    """The exact Number of an int, float, Fraction, Decimal, Number, NumPy scalar or text.

    Texts: decimals (``1.5``, ``-2e-7``, ``1_000``), fractions (``17/23``), C hexadecimal floats
    (``0x1.8p3``), binary and octal (``0b1.01``, ``0o17``), powers (``2^-11`` or ``2**-11``), and
    ``inf``, ``nan``. Raises HalfulpError where there is no number in it.

    >>> number("17/23").value, number("0x1.8p3").value, number("2^-11").value
    (Fraction(17, 23), Fraction(12, 1), Fraction(1, 2048))
    """
    if isinstance(source, Number):
        return source
    if isinstance(source, str):
        return _parse(source)
    if isinstance(source, Decimal):
        return _parse(str(source))  # its own arithmetic may take for ever on a large exponent
    if isinstance(source, Rational):
        return finite(Fraction(int(source.numerator), int(source.denominator)))
    try:
        value = float(source)
        if value != value or value - value != 0:
            special = "nan" if value != value else "inf"
            return Number(negative=math.copysign(1.0, value) < 0, special=special)
        # Long doubles and scalars of array libraries know their exact ratio.
        exact = (
            Fraction(*source.as_integer_ratio()) if hasattr(source, "as_integer_ratio") else value
        )
        return finite(Fraction(exact), math.copysign(1.0, value) < 0)
    except (TypeError, ValueError, OverflowError):
        raise _not_a_number(source) from None


_RADIX = {"0x": 16, "0b": 2, "0o": 8}
_DECIMAL = re.compile(r"(\d*)\.?(\d*)(?:e([+-]?\d+))?", re.ASCII)
_POWER = re.compile(r"(\d+)(?:\*\*|\^)([+-]?\d+)", re.ASCII)


def _parse(text: str) -> Number:
    stripped = text.strip().lower().replace("−", "-")
    if len(stripped) > LONGEST_TEXT:
        raise HalfulpError(
            _("the number has {found} characters: at most {most} are read").format(
                found=len(stripped), most=LONGEST_TEXT
            )
        )
    negative = stripped.startswith("-")
    body = stripped[1:] if stripped[:1] in ("-", "+") else stripped
    if body in ("inf", "infinity", "∞", "nan"):
        return Number(negative=negative, special="nan" if body == "nan" else "inf")
    magnitude = _magnitude(re.sub(r"(?<=[0-9a-f])_(?=[0-9a-f])", "", body))
    if magnitude is None:
        raise _not_a_number(text)
    return Number(-magnitude if negative else magnitude, negative)


def _magnitude(body: str) -> Fraction | None:
    if "/" in body:
        over, _slash, under = body.partition("/")
        if "/" in under:
            return None
        numerator, denominator = _magnitude(over), _magnitude(under)
        if numerator is None or denominator is None:
            return None
        if not denominator:
            raise HalfulpError(_("{body!r} divides by zero").format(body=body))
        return numerator / denominator
    if match := _POWER.fullmatch(body):
        base, exponent = Fraction(_int(match[1])), _exponent(match[2], body)
        if not base and exponent < 0:
            raise HalfulpError(_("{body!r} divides by zero").format(body=body))
        if abs(exponent) * base.numerator.bit_length() > 8 * LARGEST_EXPONENT:
            raise HalfulpError(
                _("{body!r} is beyond 2**{most}").format(body=body, most=8 * LARGEST_EXPONENT)
            )
        return base**exponent
    if base_of := _RADIX.get(body[:2]):
        return _in_radix(body, base_of)
    match = _DECIMAL.fullmatch(body)
    if not match or not (match[1] or match[2]):
        return None
    scale = _exponent(match[3] or "0", body) - len(match[2])
    return Fraction(_int(match[1] + match[2])) * Fraction(10) ** scale


def _in_radix(body: str, base: int) -> Fraction | None:
    """``0x1.8p3`` and its kin: digits of the base, and an exponent of two after ``p``."""
    mantissa, marker, power = body[2:].partition("p")
    if marker and not re.fullmatch(r"[+-]?\d+", power, re.ASCII):
        return None
    value = _read_digits(mantissa, base)
    return None if value is None else value * power_of_two(_exponent(power or "0", body))


def _read_digits(text: str, base: int) -> Fraction | None:
    whole, _point, fraction = text.partition(".")
    digits = whole + fraction
    allowed = _DIGITS[:base]
    if not digits or any(d not in allowed for d in digits):
        return None
    return Fraction(int(digits, base) if base & (base - 1) == 0 else _int(digits, base)) / (
        Fraction(base) ** len(fraction)
    )


def _exponent(text: str, body: str) -> int:
    if len(text.lstrip("+-0")) > 6 or abs(int(text)) > LARGEST_EXPONENT:
        shown = body if len(body) <= 40 else body[:37] + "..."
        raise HalfulpError(
            _("{shown!r} has an exponent beyond ±{most}").format(shown=shown, most=LARGEST_EXPONENT)
        )
    return int(text)


def _int(digits: str, base: int = 10) -> int:
    """int() of any length; Python refuses more than 4300 digits at a time."""
    if len(digits) <= 4000:
        return int(digits, base)
    half = len(digits) // 2
    shifted: int = _int(digits[:-half], base) * base**half
    return shifted + _int(digits[-half:], base)


def _not_a_number(source: Any) -> HalfulpError:
    shown = repr(source)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return HalfulpError(
        _(
            "{shown} is no number: give a decimal like 1.5 or 2e-7, a fraction like 17/23, "
            "0x1.8p3, 0b1.01, 2^-11, inf or nan"
        ).format(shown=shown)
    )


# Digits in any base.


@dataclass(frozen=True)
class Digits(Record):
    """A number written in a base: exact, because the part that repeats is marked.

    ``str()`` puts the repeating part in parentheses: 0.1 in base 2 is ``0.0(0011)``.
    """

    renderer = "halfulp.explanations.record_text:text_page"

    base: int
    negative: bool
    whole: str
    fraction: str  # the digits before the repeating part
    repeating: str  # the repeating part; "" where the expansion ends
    truncated: bool  # the expansion goes on, but was cut at the limit asked for

    def __str__(self) -> str:
        text = ("-" if self.negative else "") + self.whole
        if self.fraction or self.repeating or self.truncated:
            text += "." + self.fraction
        if self.repeating:
            text += f"({self.repeating})"
        return text + ("…" if self.truncated else "")


def digits(source: Any, base: int = 10, *, limit: int = 10_000) -> Digits:
    """A number in a base of 2 to 36, fractions exact, the repeating part found by long division.

    ``limit`` bounds the digits after the point; where the repeating part is not closed by then,
    ``truncated`` says so. Raises HalfulpError for another base, infinities and NaN.

    >>> str(digits("0.1", 2)), str(digits("0.75", 2)), str(digits("1/7"))
    ('0.0(0011)', '0.11', '0.(142857)')
    """
    _check_base(base)
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit <= MOST_DIGITS:
        raise HalfulpError(
            _("limit is {limit!r}: allowed are 0 to {most} digits").format(
                limit=limit, most=MOST_DIGITS
            )
        )
    given = number(source)
    if not given.is_finite:
        raise HalfulpError(_("{given} has no digits: give a finite number").format(given=given))
    whole, remainder = divmod(abs(given.value.numerator), given.value.denominator)
    head, cycle, truncated = _long_division(remainder, given.value.denominator, base, limit)
    return Digits(base, given.negative, _whole_digits(whole, base), head, cycle, truncated)


def _long_division(remainder: int, divisor: int, base: int, limit: int) -> tuple[str, str, bool]:
    """The digits of remainder/divisor: before the cycle, the cycle, and whether it was cut."""
    seen: dict[int, int] = {}
    out: list[str] = []
    while remainder and remainder not in seen:
        if len(out) == limit:
            return "".join(out), "", True
        seen[remainder] = len(out)
        digit, remainder = divmod(remainder * base, divisor)
        out.append(_DIGITS[digit])
    start = seen[remainder] if remainder else len(out)
    return "".join(out[:start]), "".join(out[start:]), False


def _whole_digits(whole: int, base: int) -> str:
    if whole.bit_length() > 4000:
        # By halves: digit by digit takes the square of the length.
        half = int(whole.bit_length() / math.log2(base)) // 2
        high, low = divmod(whole, base**half)
        return _whole_digits(high, base) + _whole_digits(low, base).rjust(half, "0")
    out = []
    while whole:
        whole, digit = divmod(whole, base)
        out.append(_DIGITS[digit])
    return "".join(reversed(out)) or "0"


def from_digits(text: str, base: int = 10) -> Fraction:
    """The exact value of digits in a base, a repeating part in parentheses included.

    >>> from_digits("0.0(0011)", 2)
    Fraction(1, 10)
    """
    _check_base(base)
    text = str(text)
    if len(text) > LONGEST_TEXT:
        raise HalfulpError(
            _("{found} digits are too many: at most {most} are read").format(
                found=len(text), most=LONGEST_TEXT
            )
        )
    plain = text.strip().lower().replace("_", "").replace("−", "-")
    body = plain[1:] if plain[:1] in ("-", "+") else plain
    whole, point, rest = body.partition(".")
    head, opened, cycle = rest.partition("(")
    closed = not opened or (cycle.endswith(")") and len(cycle) > 1)
    if not closed or not (whole or head or cycle):
        raise HalfulpError(
            _("{text!r} is no number in base {base}: write digits like 1.01 or 0.(3)").format(
                text=text, base=base
            )
        )
    value = _strict_digits((whole or "0") + point + head, base)
    if opened:
        period = _strict_digits(cycle[:-1], base) / (base ** (len(cycle) - 1) - 1)
        value += period / Fraction(base) ** len(head)
    return -value if plain.startswith("-") else value


def _strict_digits(text: str, base: int) -> Fraction:
    value = _read_digits(text, base)
    if value is None:
        wrong = next((d for d in text.replace(".", "") if d not in _DIGITS[:base]), "")
        raise HalfulpError(
            _("{wrong!r} is no digit of base {base}: its digits are 0 to {last}").format(
                wrong=wrong, base=base, last=_DIGITS[base - 1]
            )
        )
    return value


def _check_base(base: int) -> None:
    if isinstance(base, bool) or not isinstance(base, int) or not 2 <= base <= 36:
        raise HalfulpError(
            _("base {base!r} is not supported: allowed are 2 to 36").format(base=base)
        )


# Where a number stands among a format's numbers.


def neighbours(value: Any, target: str | Format) -> tuple[Fraction | None, Fraction | None]:
    """The nearest numbers of a format below and above ``value``, not itself; None beyond range.

    Raises HalfulpError for what is no finite number or no format.

    >>> neighbours(1, "float16")
    (Fraction(2047, 2048), Fraction(1025, 1024))
    """
    given, found = number(value), format(target)
    if not given.is_finite:
        raise HalfulpError(_("{given} has no neighbours: give a finite number").format(given=given))
    return _next_below(given.value, found), _next_above(given.value, found)


def _next_above(value: Fraction, target: Format) -> Fraction | None:
    if value < 0 and target.signed:
        mirrored = _next_below(-value, target)
        return None if mirrored is None else -mirrored
    if value < 0:
        return Fraction(0) if target.zero else target.least_positive
    if value < target.least_positive:
        return target.least_positive
    if value >= target.max:
        return None
    quantum = target.ulp(value)
    return (value // quantum + 1) * quantum


def _next_below(value: Fraction, target: Format) -> Fraction | None:
    if value <= 0:
        mirrored = _next_above(-value, target) if target.signed else None
        return None if mirrored is None else -mirrored
    if value <= target.least_positive:
        return Fraction(0) if target.zero else None
    if value > target.max:
        return target.max
    quantum = target.ulp(value)
    if value == quantum * (1 << target.fraction_bits) and value > target.least_normal:
        quantum /= 2  # just under a power of two the spacing halves
    return (-(-value // quantum) - 1) * quantum


def ulps(difference: Fraction, at: Fraction, target: Format) -> Fraction:
    """A difference in ulps of the format at ``at``."""
    return difference / target.ulp(at)
