"""L3: one code of a format looked at from all sides: its bits, its neighbours, other formats."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from halfulp.arithmetic import Operand, operand
from halfulp.casting import cast_to, code_number, number_code
from halfulp.catalogue import Format, binade, format, formats
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.explanations.conversion import Fields, difference, fields_of
from halfulp.explanations.formats import FormatSheet, Landmark
from halfulp.language import translate as _
from halfulp.records import Record

AROUND = 4  # neighbours that are shown on either side


@dataclass(frozen=True)
class Beside(Record):
    """The same number in another format."""

    format: Format
    code: str
    value: Number
    error_ulps: Fraction | None  # None where either is not finite
    exact: bool


@dataclass(frozen=True)
class BitsSheet(Record):
    """A number in a format: every bit, what it means, and where it stands.

    >>> sheet = bits_sheet("1.12156456132", "float16")
    >>> sheet.code, str(sheet.value), sheet.hexadecimal
    ('0x3c7c', '1.12109375', '0x1.1fp+0')
    """

    renderer = "halfulp.explanations.bits_text:bits_page"

    input: str
    given: Number  # what was typed, exactly
    format: Format
    code: str
    bits: str
    fields: Fields
    value: Number
    hexadecimal: str  # as C writes floats; "" where it is not finite
    error: Fraction | None  # value - given
    error_ulps: Fraction | None
    ulp: Fraction | None  # the gap to the next number away from zero
    around: tuple[Landmark, ...]  # numbers below and above, itself among them, from low to high
    landmarks: tuple[Landmark, ...]  # the numbers of the format worth knowing
    beside: tuple[Beside, ...]  # what was typed in every format of the catalogue

    @property
    def number(self) -> int:
        """The code as an int."""
        return int(self.code, 16)


def bits_sheet(x: str, target: str | Format) -> BitsSheet:
    """A number, or a code such as ``float16:0x3c7c``, looked at in a format.

    Raises HalfulpError for what is no number, and for unknown formats.
    """
    found, given = format(target), operand(x)
    code = _placed(x, given, found)
    value = code_number(found, code)
    return BitsSheet(
        input=given.text, given=given.given, format=found, code=found.hex(code),
        bits=f"{code:0{found.width}b}", fields=fields_of(found, code), value=value,
        hexadecimal=hexadecimal(value), error=difference(value, given.given),
        error_ulps=_ulps(value, given.given, found),
        ulp=found.ulp(value.value) if value.is_finite else None,
        around=_around(found, code), landmarks=FormatSheet.of(found).landmarks,
        beside=tuple(_beside(f, given.given) for f in formats()),
    )  # fmt: skip


def code_of(x: str, target: Format) -> int:
    """The code of a number in a format, as :func:`bits_sheet` reads it.

    >>> hex(code_of("1.5", format("float16")))
    '0x3e00'
    """
    return _placed(x, operand(x), target)


def _placed(x: str, given: Operand, target: Format) -> int:
    if given.format == target and _is_code(x):  # it stays itself: there are several NaN
        return int(x.partition(":")[2].strip(), 0)
    return cast_to(target).code(given.number)


def flipped(code: int, target: Format, bit: int) -> int:
    """A code with one bit changed; bit 0 is the last.

    Raises HalfulpError for a bit the format does not have.
    """
    if not 0 <= bit < target.width:
        raise HalfulpError(
            _("{target} has no bit {bit}: its bits are 0, the last, to {first}").format(
                target=target, bit=bit, first=target.width - 1
            )
        )
    return code ^ (1 << bit)


def stepped(target: Format, code: int, steps: int) -> int:
    """The code of the number ``steps`` further up the number line; infinities are its ends.

    NaN stays NaN, and −0 is passed over.

    >>> f16 = format("float16")
    >>> hex(stepped(f16, 0x3C00, 1)), hex(stepped(f16, 0x3C00, -1)), hex(stepped(f16, 0, -1))
    ('0x3c01', '0x3bff', '0x8001')
    """
    number = code_number(target, code)
    if number.is_nan:
        return code
    last = target.max_code if target.infinity_code is None else target.infinity_code
    # Without subnormals the codes before the least normal number are all zero, and one place.
    same = target.least_code - 1 if target.zero else 0
    size = max((code & ~target.sign_bit) - same, 0)
    end = last - same
    place = max(
        -end if target.signed else 0, min(end, (-size if number.negative else size) + steps)
    )
    found = abs(place) + same if place else 0
    return target.sign_bit | found if place < 0 else found


def hexadecimal(value: Number) -> str:
    """A dyadic number as C writes floats (``%a``): 0x1.1fp+0; "" of what is not.

    >>> from halfulp.exact import number
    >>> hexadecimal(number("1.12109375")), hexadecimal(number("-2^-24")), hexadecimal(number("1/3"))
    ('0x1.1fp+0', '-0x1p-24', '')
    """
    sign = "-" if value.negative else ""
    size = abs(value.value)
    if not value.is_finite or size.denominator & (size.denominator - 1):
        return ""
    if not size:
        return f"{sign}0x0p+0"
    odd = size.numerator >> ((size.numerator & -size.numerator).bit_length() - 1)
    places = odd.bit_length() - 1
    nibbles = -(-places // 4)
    fraction = f"{(odd - (1 << places)) << (4 * nibbles - places):0{nibbles}x}" if nibbles else ""
    return f"{sign}0x1{'.' if fraction else ''}{fraction}p{binade(size):+d}"


def _is_code(text: str) -> bool:
    left, colon, right = text.partition(":")
    return bool(colon) and not left.strip()[:1].isdigit() and right.strip()[:1].isdigit()


def _around(target: Format, code: int) -> tuple[Landmark, ...]:
    if code_number(target, code).is_nan:
        return ()
    steps = range(-AROUND, AROUND + 1)
    places = dict.fromkeys(stepped(target, code, n) if n else code for n in steps)
    return tuple(Landmark("", target.hex(c), code_number(target, c)) for c in places)


def _beside(target: Format, given: Number) -> Beside:
    value = cast_to(target).number(given)
    error = difference(value, given)
    same = not error if error is not None else value == given
    code = target.hex(number_code(target, value))
    return Beside(target, code, value, _ulps(value, given, target), same)


def _ulps(value: Number, given: Number, target: Format) -> Fraction | None:
    error = difference(value, given)
    return None if error is None else error / target.ulp(given.value)
