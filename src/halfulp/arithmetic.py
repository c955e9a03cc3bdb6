"""L2: arithmetic in a format: the exact result of IEEE 754's operations, rounded once.

Operands are numbers, texts that name a format (``1.125:float16`` is 1.125 rounded to float16,
``float16:0x3c7c`` is what that code means), or NumPy arrays, whose dtype names it. Mixed formats
promote as NumPy and PyTorch promote. Single numbers take the exact path of this file, arrays that
of backends/operations.py; both give the same bits.

Source: IEEE 754-2019 §5.4.1 (operations), §6.1 to §6.3 (infinities, NaN, the sign of zero).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from typing import Any

from halfulp.casting import Cast, cast_to, checked_seed, code_number
from halfulp.catalogue import ALIASES, Format, binade, format, power_of_two
from halfulp.conversion import as_kind_of, kind_of, refuse_out, word_of
from halfulp.errors import HalfulpError
from halfulp.exact import Number, finite, number
from halfulp.language import translate as _
from halfulp.noise import NOISE_BITS
from halfulp.profiles import profiled_cast
from halfulp.promotion import promoted
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
    left, _colon, right = source.partition(":")
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
            _(
                "{text!r} names no code: after {source}: write a code such as 0x3c7c or 0b101"
            ).format(text=text, source=source)
        ) from None
    found = code_number(source, value)
    return Operand(text, found, found, source)


def _starts_number(text: str) -> bool:
    name = text.strip().lower()
    if name in ALIASES or name.lstrip("+-−")[:3] in ("inf", "nan"):
        return name not in ALIASES
    return name.lstrip("+-−")[:1].isdigit() or name.lstrip("+-−")[:1] == "."


@lru_cache(maxsize=1024)
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


def exact_difference(a: Number, b: Number, rounding: str = "nearest_even") -> Number:
    """A − b without rounding; the rounding decides only the sign of an exact zero."""
    return exact_sum(a, -b, rounding)


def exact_fma(a: Number, b: Number, c: Number, rounding: str = "nearest_even") -> Number:
    """A × b + c without rounding; the rounding decides only the sign of an exact zero."""
    return exact_sum(exact_product(a, b), c, rounding)


def exact_quotient(a: Number, b: Number, rounding: str = "nearest_even") -> Number:
    """A / b without rounding; a number divided by zero is infinite."""
    negative = a.negative != b.negative
    vanishes, grows = (n.is_finite and not n.value for n in (a, b))
    both_infinite = a.special == b.special == "inf"
    if a.is_nan or b.is_nan or both_infinite or (vanishes and grows):
        return NAN
    if grows or not a.is_finite:
        return Number(negative=negative, special="inf")
    return finite(a.value / b.value if b.is_finite else Fraction(0), negative_zero=negative)


def odd_root(a: Number, bits: int) -> Number:
    """The square root of a, to odd with at least ``bits`` bits: exact if its last bit is even.

    An odd last bit stands for all that follows it, so that rounding to fewer bits than ``bits``
    is rounding the root itself.

    >>> odd_root(number(2), 8).value, odd_root(number("9/16"), 8).value
    (Fraction(363, 256), Fraction(3, 4))
    """
    if a.is_nan or (a.negative and (a.value or not a.is_finite)):
        return NAN
    if not a.is_finite or not a.value:
        return a
    places = bits - binade(a.value) // 2
    scaled = a.value * power_of_two(2 * places)
    root = isqrt(scaled.numerator // scaled.denominator)
    sticky = root * root != scaled
    return finite((root | sticky) * power_of_two(-places))


EXACT: dict[str, Callable[[Number, Number, str], Number]] = {
    "add": exact_sum,
    "multiply": exact_product,
}

# What each public operation does with exact operands; the root of most numbers is only to be had
# to as many bits as the format needs.
_OPERATIONS: dict[str, Callable[..., Number]] = {
    "add": exact_sum,
    "sub": exact_difference,
    "mul": exact_product,
    "div": exact_quotient,
    "fma": exact_fma,
}


def add(
    a: Any, b: Any, target: str | Format | None = None, rounding: str = "nearest_even", *,
    overflow: str | None = None, seed: int | None = None, random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:  # fmt: skip
    """A + b, exact and then rounded once to ``target`` (by default what the operands promote to).

    Operands are numbers or texts as in :func:`operand`, or NumPy arrays of any float dtype, which
    broadcast. An array's elements are taken exactly as they are; a number that names no format is
    first rounded to the target. Of numbers the answer is of the kind of ``a``; with an array among
    them it holds the target's values in the dtype that NumPy promotes the arrays to, or is written
    to ``out`` (of that dtype, or of any other that holds the target). ``rounding``, ``overflow``,
    ``seed`` and ``random_bits`` are those of :func:`halfulp.cast`.

    Raises HalfulpError for what is no number or no array of floats, for operands that name no
    format or do not broadcast, and for a dtype or an ``out`` that does not hold the target.

    >>> add(1.125, 0.12457275390625, "float16")
    1.25
    >>> import numpy as np
    >>> add(np.array([1, 2048], "float16"), 1).tolist()
    [2.0, 2048.0]
    """
    options = (overflow, seed, random_bits, out)
    return _calculate("add", (a, b), target, rounding, *options)


def sub(
    a: Any, b: Any, target: str | Format | None = None, rounding: str = "nearest_even", *,
    overflow: str | None = None, seed: int | None = None, random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:  # fmt: skip
    """A − b, exact and then rounded once; as :func:`add`.

    >>> sub(1, "0.00048828125:float16", "float16", "toward_zero")
    Fraction(2047, 2048)
    """
    options = (overflow, seed, random_bits, out)
    return _calculate("sub", (a, b), target, rounding, *options)


def mul(
    a: Any, b: Any, target: str | Format | None = None, rounding: str = "nearest_even", *,
    overflow: str | None = None, seed: int | None = None, random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:  # fmt: skip
    """A × b, exact and then rounded once; as :func:`add`.

    >>> mul("0.1:float16", "3:float16")
    '0.2998046875'
    """
    options = (overflow, seed, random_bits, out)
    return _calculate("mul", (a, b), target, rounding, *options)


def div(
    a: Any, b: Any, target: str | Format | None = None, rounding: str = "nearest_even", *,
    overflow: str | None = None, seed: int | None = None, random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:  # fmt: skip
    """A / b, exact and then rounded once; as :func:`add`. What is divided by zero is infinite.

    >>> div(1.0, 3, "float8_e4m3fn"), div(-1.0, 0, "float16")
    (0.34375, -inf)
    """
    options = (overflow, seed, random_bits, out)
    return _calculate("div", (a, b), target, rounding, *options)


def sqrt(
    a: Any, target: str | Format | None = None, rounding: str = "nearest_even", *,
    overflow: str | None = None, seed: int | None = None, random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:  # fmt: skip
    """The square root of a, exact and then rounded once; as :func:`add`. Of −0 it is −0.

    >>> sqrt(2.0, "bfloat16")
    1.4140625
    """
    return _calculate("sqrt", (a,), target, rounding, overflow, seed, random_bits, out)


def fma(
    a: Any, b: Any, c: Any, target: str | Format | None = None, rounding: str = "nearest_even", *,
    overflow: str | None = None, seed: int | None = None, random_bits: int = NOISE_BITS,
    out: Any = None,
) -> Any:  # fmt: skip
    """A × b + c, exact and then rounded once; as :func:`add`.

    >>> fma(0.1, 10.0, -1.0, "float16"), add(mul(0.1, 10.0, "float16"), -1.0, "float16")
    (-0.000244140625, 0.0)
    """
    options = (overflow, seed, random_bits, out)
    return _calculate("fma", (a, b, c), target, rounding, *options)


def _calculate(
    operation: str, values: Sequence[Any], target: Any, rounding: str, overflow: str | None,
    seed: int | None, random_bits: int, out: Any,
) -> Any:  # fmt: skip
    if any(is_array(value) for value in values):
        return _calculate_arrays(
            operation, values, target, rounding, overflow, seed, random_bits, out
        )
    refuse_out(out)
    given = _meeting(values, target)
    cast = _meeting_cast(given, target, rounding, overflow, random_bits)
    word = word_of(cast, checked_seed(cast, seed))
    exact = exact_result(operation, [each.number for each in given], cast)
    return as_kind_of(values[0], cast.number(exact, word=word))


def exact_result(operation: str, numbers: Sequence[Number], cast: Cast) -> Number:
    """What an operation gives before the cast, or a number that the cast rounds alike."""
    if operation == "sqrt":
        return odd_root(numbers[0], cast.target.precision + NOISE_BITS + 2)
    return _OPERATIONS[operation](*numbers, cast.rounding)


def _calculate_arrays(
    operation: str, values: Sequence[Any], target: Any, rounding: str, overflow: str | None,
    seed: int | None, random_bits: int, out: Any,
) -> Any:  # fmt: skip
    from halfulp.backends.operations import calculate, format_of

    held = [format_of(value) for value in values if is_array(value)]
    numbers = iter(_meeting([v for v in values if not is_array(v)], target, held))
    given = [value if is_array(value) else next(numbers) for value in values]
    meeting = promoted(*held)
    formats = [(v.format or meeting) if isinstance(v, Operand) else format_of(v) for v in given]
    wanted = promoted(*formats) if target is None else target
    cast = profiled_cast(wanted, rounding, overflow, random_bits)
    seed = checked_seed(cast, seed)
    whole = [_wide_code(v) if isinstance(v, Operand) else v for v in given]
    return calculate(operation, whole, formats, meeting, cast, seed, out)


def _wide_code(given: Operand) -> int:
    """The float64 code of a number that is calculated with beside arrays."""
    wide = format("float64")
    code = cast_to(wide).code(given.number)
    if given.number.is_finite and code_number(wide, code) != given.number:
        raise HalfulpError(
            _("{text} is no float64: arrays calculate with numbers that are").format(
                text=given.text
            )
        )
    return code


def is_array(x: Any) -> bool:
    """Whether x is a NumPy array or scalar; HalfulpError for other containers of numbers."""
    kind = kind_of(x)
    if kind not in (None, "numpy"):
        raise HalfulpError(
            _("arithmetic takes NumPy arrays and numbers, not {kind} arrays: convert").format(
                kind=kind
            )
        )
    return kind == "numpy"


def operands(a: Any, b: Any, within: str | Format | None) -> tuple[Operand, Operand]:
    """Two operands; one that names no format is of ``within``, or else of the other's format."""
    left, right = _meeting((a, b), within)
    return left, right


def _meeting(
    values: Sequence[Any], within: str | Format | None, others: Sequence[Format] = ()
) -> list[Operand]:
    """Operands; one that names no format is of ``within``, or else of what the others meet in."""
    given = [operand(value, within) for value in values]
    named = [*others, *(each.format for each in given if each.format is not None)]
    if not named:
        return given
    return [
        operand(value, promoted(*named)) if each.format is None else each
        for value, each in zip(values, given, strict=True)
    ]


def meeting_cast(
    a: Operand, b: Operand, target: Any, rounding: str, overflow: str | None = None,
    *, promotion: str = "halfulp",
) -> Cast:  # fmt: skip
    """The cast that ends an operation: to ``target``, or to what the operands promote to."""
    return _meeting_cast((a, b), target, rounding, overflow, promotion=promotion)


def _meeting_cast(
    given: Sequence[Operand], target: Any, rounding: str, overflow: str | None,
    random_bits: int = NOISE_BITS, promotion: str = "halfulp",
) -> Cast:  # fmt: skip
    if target is None:
        named = [each.format for each in given if each.format is not None]
        if len(named) < len(given):
            raise HalfulpError(
                _(
                    "the operands name no format to add in: write 1.125:float16, or name one with "
                    "--in"
                )
            )
        target = promoted(*named, rule=promotion)
    return profiled_cast(target, rounding, overflow, random_bits)
