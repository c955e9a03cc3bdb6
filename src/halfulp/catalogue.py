"""L0: formats, the sets of numbers that bit patterns can name.

A format is a frozen record of standard parameters; everything else about it is derived. Its codes
of one sign are ordered like its values, and both are the same straight line within a binade:
``code = significand + ((exponent field - 1) << fraction_bits)``, subnormals included. Every part
of halfulp rests on that line.

Sources: IEEE 754-2019 §3.3; OCP 8-bit Floating Point Specification (2023) §5; OCP Microscaling
Formats (2023) §5.3 and §5.4; IEEE P3109 interim report 3.x §4 (widths, biases, NaN and infinities);
the ``ml_dtypes`` naming of formats.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import cache, cached_property
from typing import Any, cast

from halfulp.errors import HalfulpError, unknown
from halfulp.language import translate as _
from halfulp.records import Record


class NanStyle(StrEnum):
    """Where a format keeps its NaN codes."""

    IEEE = "ieee"  # exponent all ones, fraction not zero
    ALL_ONES = "all_ones"  # the one code whose magnitude bits are all ones
    NEGATIVE_ZERO = "negative_zero"  # the code that would be −0
    NONE = "none"


@dataclass(frozen=True)
class Format(Record):
    """One floating-point format, as a record of its standard parameters.

    >>> half = format("float16")
    >>> half.max, half.precision, half.least_positive == Fraction(1, 2**24)
    (Fraction(65504, 1), 11, True)
    """

    renderer = "halfulp.explanations.formats_text:format_page"

    name: str
    exponent_bits: int
    fraction_bits: int  # stored; the implicit bit is not among them
    bias: int
    signed: bool = True
    infinities: bool = True
    nan: NanStyle = NanStyle.IEEE
    subnormals: bool = True  # False: nothing lies between zero and the least normal number
    signed_zero: bool = True
    zero: bool = True  # False: exponent field 0 is an ordinary binade (scale formats)

    def __post_init__(self) -> None:
        _check(self)

    def __str__(self) -> str:
        return self.name

    def as_field(self) -> str:
        """In another record a format is its name."""
        return self.name

    @classmethod
    def from_field(cls, value: str) -> Format:
        """The format of a name."""
        return format(value)

    # The layout of a code.

    @property
    def width(self) -> int:
        """Bits of a code, the sign included."""
        return int(self.signed) + self.magnitude_bits

    @property
    def magnitude_bits(self) -> int:
        """Bits of a code without its sign."""
        return self.exponent_bits + self.fraction_bits

    @property
    def precision(self) -> int:
        """Significand bits, the implicit one included."""
        return self.fraction_bits + 1

    @property
    def sign_bit(self) -> int:
        """The sign as a mask on codes; 0 in an unsigned format."""
        return int(self.signed) << self.magnitude_bits

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return 1 << self.width

    # Codes with a meaning of their own. All but nan_code are magnitudes (no sign).

    @property
    def has_nan(self) -> bool:
        """Whether any code is NaN."""
        if self.nan is NanStyle.IEEE:
            return self.fraction_bits > 0 or not self.infinities
        return self.nan is not NanStyle.NONE

    @property
    def nan_code(self) -> int | None:
        """The quiet NaN that a cast produces: the code itself, for a positive input."""
        if not self.has_nan:
            return None
        if self.nan is NanStyle.NEGATIVE_ZERO:
            return self.sign_bit
        top = (1 << self.magnitude_bits) - 1
        if self.nan is NanStyle.ALL_ONES:
            return top
        quiet = (1 << self.fraction_bits) >> 1
        return (top >> self.fraction_bits << self.fraction_bits) | quiet

    @property
    def infinity_code(self) -> int | None:
        """The code of +∞, or None."""
        return self._first_special if self.infinities else None

    @cached_property
    def _first_special(self) -> int:
        """The least magnitude code that is not a finite number."""
        top = (1 << self.magnitude_bits) - 1
        if self.nan is NanStyle.IEEE:
            return top >> self.fraction_bits << self.fraction_bits
        return top + 1 - int(self.nan is NanStyle.ALL_ONES) - int(self.infinities)

    @property
    def max_code(self) -> int:
        """The magnitude code of the largest finite number."""
        return self._first_special - 1

    @property
    def least_code(self) -> int:
        """The magnitude code of the least positive number."""
        if not self.zero:
            return 0
        return 1 if self.subnormals else 1 << self.fraction_bits

    @property
    def nan_codes(self) -> int:
        """How many codes are NaN, of both signs."""
        if self.nan is NanStyle.NEGATIVE_ZERO:
            return 1
        if not self.has_nan:
            return 0
        beyond = (1 << self.magnitude_bits) - self._first_special - int(self.infinities)
        return beyond << int(self.signed)

    # The numbers, exactly.

    @property
    def least_field(self) -> int:
        """The exponent field of the least normal binade: 1, or 0 where there is no zero."""
        return int(self.zero)

    @property
    def emin(self) -> int:
        """Exponent of the least normal number."""
        return self.least_field - self.bias

    @property
    def emax(self) -> int:
        """Exponent of the largest finite number (its binade)."""
        field = self.max_code >> self.fraction_bits
        return max(field, self.least_field) - self.bias

    @property
    def least_quantum_exponent(self) -> int:
        """Exponent of the finest spacing: log2 of the ulp at and below the least normal number."""
        return self.emin - self.fraction_bits * int(self.subnormals)

    def magnitude(self, code: int) -> Fraction:
        """The value of a finite magnitude code.

        >>> format("float16").magnitude(0x3C7C)
        Fraction(287, 256)
        """
        field, fraction = divmod(code, 1 << self.fraction_bits)
        if field >= self.least_field:
            fraction += 1 << self.fraction_bits
        elif not self.subnormals:
            return Fraction(0)
        exponent = max(field, self.least_field) - self.bias - self.fraction_bits
        return multiple(fraction, exponent)

    @cached_property
    def max(self) -> Fraction:
        """The largest finite number."""
        return self.magnitude(self.max_code)

    @cached_property
    def least_positive(self) -> Fraction:
        """The least positive number, subnormal where there are subnormals."""
        return self.magnitude(self.least_code)

    @cached_property
    def least_normal(self) -> Fraction:
        """The least positive normal number."""
        return power_of_two(self.emin)

    @property
    def epsilon(self) -> Fraction:
        """The ulp of 1.0, were 1.0 in the normal range: 2 ** (1 - precision)."""
        return power_of_two(-self.fraction_bits)

    def ulp(self, value: Fraction | int | float) -> Fraction:
        """The spacing of the format in the binade of ``value``: the gap to the next number away
        from zero when ``value`` is one of the format's own.

        >>> format("float16").ulp(1.125), format("float16").ulp(0)
        (Fraction(1, 1024), Fraction(1, 16777216))
        """
        return power_of_two(self.quantum_exponent(Fraction(value)))

    def quantum_exponent(self, value: Fraction) -> int:
        """log2 of :meth:`ulp`."""
        if not value:
            return self.least_quantum_exponent
        exponent = binade(value)
        if exponent < self.emin:
            return self.least_quantum_exponent
        return min(exponent, self.emax) - self.fraction_bits

    def holds(self, other: Format) -> bool:
        """Whether every finite number of ``other`` is one of this format.

        >>> format("float32").holds(format("bfloat16")), format("float16").holds(format("bfloat16"))
        (True, False)
        """
        return (
            self.precision >= other.precision
            and self.max >= other.max
            and self.least_quantum_exponent <= other.least_quantum_exponent
            and self.signed >= other.signed
        )

    def fields(self, code: int) -> tuple[str, str, str]:
        """Sign, exponent and fraction bits of a code, as strings of 0 and 1.

        >>> format("float16").fields(0x3C7C)
        ('0', '01111', '0001111100')
        """
        bits = f"{code:0{self.width}b}"
        sign, rest = bits[: int(self.signed)], bits[int(self.signed) :]
        return sign, rest[: self.exponent_bits], rest[self.exponent_bits :]

    def hex(self, code: int) -> str:
        """A code in hexadecimal, as wide as the format."""
        return f"0x{code:0{(self.width + 3) // 4}x}"


def power_of_two(exponent: int) -> Fraction:
    """2 ** exponent, exactly, for any int."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def multiple(count: int, exponent: int) -> Fraction:
    """Count × 2 ** exponent, exactly: reduced by shifts, for gcd takes the square of the length.

    >>> multiple(12, -3), multiple(-3, 2)
    (Fraction(3, 2), Fraction(-12, 1))
    """
    if exponent >= 0 or not count:
        return Fraction(count << max(exponent, 0))
    twos = min((count & -count).bit_length() - 1, -exponent)
    return Fraction(count >> twos, 1 << (-exponent - twos))


def binade(value: Fraction) -> int:
    """The exponent of a nonzero number: the largest e with 2**e <= |value|. From bit lengths alone.

    >>> binade(Fraction(3, 4)), binade(Fraction(-8))
    (-1, 3)
    """
    numerator, denominator = abs(value.numerator), value.denominator
    guess = numerator.bit_length() - denominator.bit_length()
    # The bit lengths leave one of two binades; one exact comparison settles it.
    if guess >= 0:
        return guess - int(numerator < denominator << guess)
    return guess - int(numerator << -guess < denominator)


def _check(f: Format) -> None:
    # binary128 (IEEE 754 §3.6) and the widest P3109 format fit; beyond, decimals have no end.
    if not (1 <= f.exponent_bits <= 16 and 0 <= f.fraction_bits <= 112):
        raise HalfulpError(
            _(
                "format {name!r} has {exponent_bits} exponent and {fraction_bits} fraction "
                "bits: allowed are 1 to 16 and 0 to 112"
            ).format(name=f.name, exponent_bits=f.exponent_bits, fraction_bits=f.fraction_bits)
        )
    if abs(f.bias) > 1 << 16:
        raise HalfulpError(
            _("format {name!r} has bias {bias}: allowed is up to ±65536").format(
                name=f.name, bias=f.bias
            )
        )
    if f.signed_zero and not f.signed:
        raise HalfulpError(
            _("format {name!r} is unsigned, so it can have no −0").format(name=f.name)
        )
    if not f.zero and (f.signed or f.fraction_bits or f.subnormals):
        raise HalfulpError(
            _(
                "format {name!r} has no zero: only unsigned formats of powers of two can do "
                "without (ue8m0fn_nozero), and they have no subnormals"
            ).format(name=f.name)
        )
    if f.nan is NanStyle.NEGATIVE_ZERO and (f.signed_zero or not f.signed):
        raise HalfulpError(
            _(
                "format {name!r} keeps NaN in the code of −0, so it must be signed and have no −0"
            ).format(name=f.name)
        )
    if f.max_code < f.least_code:
        raise HalfulpError(
            _("format {name!r} has no finite number but zero: give it more bits").format(
                name=f.name
            )
        )


def _ieee(name: str, e: int, m: int) -> Format:
    return Format(name, e, m, bias=2 ** (e - 1) - 1)


def _finite(name: str, e: int, m: int, nan: NanStyle = NanStyle.NONE) -> Format:
    return Format(name, e, m, bias=2 ** (e - 1) - 1, infinities=False, nan=nan)


def _fnuz(name: str, e: int, m: int, bias: int) -> Format:
    style = NanStyle.NEGATIVE_ZERO
    return Format(name, e, m, bias, infinities=False, nan=style, signed_zero=False)


def _scale(name: str, e: int) -> Format:
    return Format(
        name, e, 0, bias=2 ** (e - 1) - 1, signed=False, infinities=False, nan=NanStyle.ALL_ONES,
        subnormals=False, signed_zero=False, zero=False,
    )  # fmt: skip


CATALOGUE: tuple[Format, ...] = (
    _ieee("float64", 11, 52),
    _ieee("float32", 8, 23),
    _ieee("tfloat32", 8, 10),
    _ieee("float16", 5, 10),
    _ieee("bfloat16", 8, 7),
    _ieee("float8_e5m2", 5, 2),
    _fnuz("float8_e5m2fnuz", 5, 2, bias=16),
    _finite("float8_e4m3fn", 4, 3, NanStyle.ALL_ONES),
    _ieee("float8_e4m3", 4, 3),
    _fnuz("float8_e4m3fnuz", 4, 3, bias=8),
    _fnuz("float8_e4m3b11fnuz", 4, 3, bias=11),
    _ieee("float8_e3m4", 3, 4),
    _scale("float8_e8m0fnu", 8),
    _finite("float6_e2m3fn", 2, 3),
    _finite("float6_e3m2fn", 3, 2),
    _finite("float4_e2m1fn", 2, 1),
)

_BY_NAME = {f.name: f for f in CATALOGUE}

ALIASES = {
    "fp64": "float64", "double": "float64", "fp32": "float32", "single": "float32",
    "tf32": "tfloat32", "fp16": "float16", "half": "float16", "bf16": "bfloat16",
    "e8m0": "float8_e8m0fnu",
}  # fmt: skip


def formats() -> tuple[Format, ...]:
    """The catalogue, widest first.

    >>> [f.name for f in formats()][:4]
    ['float64', 'float32', 'tfloat32', 'float16']
    """
    return CATALOGUE


def p3109_formats(width: int) -> Iterator[Format]:
    """Every IEEE P3109 format of one width (3 to 16 bits).

    Raises HalfulpError for another width.

    >>> len(list(p3109_formats(8)))
    30
    """
    if not isinstance(width, int) or not 3 <= width <= 16:
        raise HalfulpError(
            _("P3109 has no formats of {width!r} bits: allowed are 3 to 16").format(width=width)
        )
    for signedness in "su":
        # A signed format needs a bit for its sign, so its precision ends one short of the width.
        for precision in range(1, width + (signedness == "u")):
            for domain in "ef":
                yield _p3109(width, precision, signedness, domain)


@cache
def _p3109(width: int, precision: int, signedness: str, domain: str) -> Format:
    signed = signedness == "s"
    name = f"p3109_k{width}p{precision}{signedness}{domain}"
    if not (3 <= width <= 16 and 1 <= precision <= width - signed):
        raise HalfulpError(
            _(
                "{name!r} is no P3109 format: width k is 3 to 16, precision p is 1 to k - 1 "
                "(signed) or 1 to k (unsigned)"
            ).format(name=name)
        )
    exponent_bits = width - precision + (not signed)
    return Format(
        name, exponent_bits, precision - 1, bias=2 ** (exponent_bits - 1), signed=signed,
        infinities=domain == "e", nan=NanStyle.NEGATIVE_ZERO if signed else NanStyle.ALL_ONES,
        signed_zero=False,
    )  # fmt: skip


# Customs: e5m10, e4m3b7, ue5m3fn … with the suffixes that ml_dtypes uses, and words for the rest.
# The patterns are compiled when they are first asked for, which most starts do not.
_P3109 = r"p3109_k(\d{1,4})p(\d{1,4})([su])([ef])"
_CUSTOM = r"(u?)e(\d{1,4})m(\d{1,4})(?:b(-?\d{1,9}))?(fnuz|fn|f)?((?:_[a-z0-9]+)*)"
_SUFFIXES = {
    "": (True, NanStyle.IEEE),
    "fn": (False, NanStyle.ALL_ONES),
    "fnuz": (False, NanStyle.NEGATIVE_ZERO),
    "f": (False, NanStyle.NONE),
}
_WORDS: dict[str, tuple[str, bool | NanStyle]] = {
    "inf": ("infinities", True),
    "noinf": ("infinities", False),
    "nanones": ("nan", NanStyle.ALL_ONES),
    "nannegzero": ("nan", NanStyle.NEGATIVE_ZERO),
    "nonan": ("nan", NanStyle.NONE),
    "nosub": ("subnormals", False),
    "nozero": ("zero", False),
    "nonegzero": ("signed_zero", False),
}


def format(
    spec: str | Format,
    *,
    infinities: bool | None = None,
    nan: str | NanStyle | None = None,
    subnormals: bool | None = None,
    signed_zero: bool | None = None,
    bias: int | None = None,
) -> Format:
    """The format of a name: of the catalogue, of the P3109 family, or a custom one.

    A custom is ``e<exponent bits>m<fraction bits>``, optionally with ``b<bias>``, ``u`` in front
    (unsigned) and a suffix: ``fn`` (finite, NaN all ones), ``fnuz`` (finite, NaN in place of −0),
    ``f`` (finite, no NaN), or the words ``_noinf _inf _nanones _nannegzero _nonan _nosub
    _nonegzero _nozero``. The keyword options say the same, and go into the name.

    Raises HalfulpError for an unknown name (the nearest ones are named) or impossible parameters.

    >>> format("e4m3b7", subnormals=False).name
    'e4m3b7_nosub'
    >>> format("p3109_k8p4se").max, format("float8_e4m3fn", bias=8).max
    (Fraction(224, 1), Fraction(224, 1))
    """
    found = spec if isinstance(spec, Format) else _lookup(str(spec))
    style = None if nan is None else _nan_style(nan)
    asked = {
        "infinities": infinities, "nan": style, "subnormals": subnormals,
        "signed_zero": signed_zero, "bias": bias,
    }  # fmt: skip
    for name, value in asked.items():
        if name not in ("nan", "bias") and not isinstance(value, bool | None):
            raise HalfulpError(
                _("{name} is {value!r}: give True or False").format(name=name, value=value)
            )
    if isinstance(bias, bool) or not isinstance(bias, int | None):
        raise HalfulpError(_("bias is {bias!r}: give a whole number").format(bias=bias))
    changes = {k: v for k, v in asked.items() if v is not None and v != getattr(found, k)}
    if style is NanStyle.NEGATIVE_ZERO:
        changes.setdefault("signed_zero", False)
    if not changes:
        return found
    return _renamed(replace(found, name="custom", **cast(Any, changes)))


@cache
def _lookup(spec: str) -> Format:
    name = spec.strip().lower()
    name = ALIASES.get(name, name)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if match := re.fullmatch(_P3109, name):
        width, precision, signedness, domain = match.groups()
        return _p3109(int(width), int(precision), signedness, domain)
    if match := re.fullmatch(_CUSTOM, name):
        return _custom(name, match)
    known = [*_BY_NAME, *ALIASES, "p3109_k8p4se", "e5m10", "e4m3b7"]
    raise unknown(_("format"), spec, known)


def _custom(name: str, match: re.Match[str]) -> Format:
    unsigned, e, m, bias, suffix, words = match.groups()
    infinities, nan = _SUFFIXES[suffix or ""]
    options: dict[str, bool | NanStyle] = {"infinities": infinities, "nan": nan}
    for word in words.split("_")[1:]:
        if word not in _WORDS:
            raise unknown(_("word in format {name!r}:").format(name=name), word, _WORDS)
        key, value = _WORDS[word]
        options[key] = value
    if "zero" in options:
        options["subnormals"] = False
    signed_zero = not unsigned and options["nan"] is not NanStyle.NEGATIVE_ZERO
    options["signed_zero"] = signed_zero and bool(options.get("signed_zero", True))
    # ml_dtypes gives fnuz formats one more on the bias: the NaN leaves them the top binade.
    standard = 2 ** (int(e) - 1) - int(options["nan"] is not NanStyle.NEGATIVE_ZERO)
    return Format(
        name,
        int(e),
        int(m),
        int(bias) if bias else standard,
        signed=not unsigned,
        **cast(Any, options),
    )


def _renamed(f: Format) -> Format:
    """The same format under the custom name that spells its parameters, readable by format()."""
    stem = f"{'' if f.signed else 'u'}e{f.exponent_bits}m{f.fraction_bits}b{f.bias}"
    suffix = next((s for s, traits in _SUFFIXES.items() if traits == (f.infinities, f.nan)), None)
    words = []
    if suffix is None:
        words.append("inf" if f.infinities else "noinf")
        words += [w for w, (key, style) in _WORDS.items() if key == "nan" and style == f.nan]
    if not f.zero:
        words.append("nozero")
    elif not f.subnormals:
        words.append("nosub")
    if f.signed and not f.signed_zero and f.nan is not NanStyle.NEGATIVE_ZERO:
        words.append("nonegzero")
    return replace(f, name="_".join([stem + (suffix or ""), *words]))


def _nan_style(nan: str | NanStyle) -> NanStyle:
    try:
        return NanStyle(nan)
    except ValueError:
        raise unknown(_("NaN style"), str(nan), [style.value for style in NanStyle]) from None
