"""A slow reference on Fractions. It shares no code with src/: it reads a format's parameters, and
works by listing or searching its numbers instead of shifting bits."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any


def two_to(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def meaning(f: Any, code: int) -> Fraction | str:
    """What a code means, from the definition: a Fraction, '-0', 'inf', '-inf' or 'nan'."""
    bits = f"{code:0{f.width}b}"
    negative = f.signed and bits[0] == "1"
    body = bits[1:] if f.signed else bits
    exponent_bits, fraction_bits = body[: f.exponent_bits], body[f.exponent_bits :]
    field, fraction = int(exponent_bits, 2), int(fraction_bits or "0", 2)
    all_ones = "0" not in body
    one_below = "0" not in body[:-1] and body[-1] == "0"
    if f.nan == "ieee" and "0" not in exponent_bits:
        if fraction == 0 and f.infinities:
            return "-inf" if negative else "inf"
        return "nan"
    if f.nan == "all_ones" and all_ones:
        return "nan"
    top = one_below if f.nan == "all_ones" else all_ones
    if f.infinities and f.nan != "ieee" and top:
        return "-inf" if negative else "inf"
    if negative and "1" not in body:
        if f.nan == "negative_zero":
            return "nan"
        return "-0" if f.signed_zero else Fraction(0)
    value = _magnitude(f, field, fraction)
    if value == 0 and negative:  # a code that means zero where there are no subnormals
        return "-0" if f.signed_zero else value
    return -value if negative else value


def _magnitude(f: Any, field: int, fraction: int) -> Fraction:
    part = Fraction(fraction, 2**f.fraction_bits)
    if field == 0 and f.zero:
        if not f.subnormals:
            return Fraction(0)
        return part * two_to(1 - f.bias)
    return (1 + part) * two_to(field - f.bias)


@cache
def largest_code(f: Any) -> int:
    """The magnitude code of the largest finite number, by walking down from the top."""
    code = 2 ** (f.exponent_bits + f.fraction_bits) - 1
    while isinstance(meaning(f, code), str):
        # Whole NaN binades are skipped by their length where they are long.
        ieee = f.nan == "ieee" and f.fraction_bits > 12
        code = (code >> f.fraction_bits << f.fraction_bits) - 1 if ieee else code - 1
    return code


@cache
def least_codes(f: Any) -> tuple[int, int]:
    """The codes of zero (or the least number) and of the number after it."""
    if f.zero and not f.subnormals:
        return 0, 2**f.fraction_bits
    return 0, 1


def below(f: Any, size: Fraction) -> int:
    """The magnitude code of the largest number <= size, by bisection; -1 if there is none."""
    if size < meaning(f, 0):  # a format without zero
        return -1
    low, high = 0, largest_code(f)
    if meaning(f, high) <= size:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if meaning(f, middle) <= size else (low, middle)
    if f.zero and not f.subnormals and low < 2**f.fraction_bits:
        return 0
    return low


def after(f: Any, code: int) -> int:
    zero, least = least_codes(f)
    return least if code == zero and f.zero else code + 1


def value_after(f: Any, code: int) -> Fraction:
    """The next number, also beyond the largest, as if the exponents went on."""
    if code == largest_code(f):
        return _magnitude(f, *divmod(code + 1, 2**f.fraction_bits))
    return meaning(f, after(f, code))


def goes_up(
    mode: str, place: int, odd: bool, negative: bool, chance: Fraction | None = None,
    rest: Fraction | None = None, bits: int = 32,
) -> bool:  # fmt: skip
    """Whether a number between two neighbours goes away from zero. ``place``: -1 below half, 0, 1."""
    match mode:
        case "nearest_even":
            return place > 0 or (place == 0 and odd)
        case "nearest_away":
            return place >= 0
        case "toward_zero":
            return False
        case "up":
            return not negative
        case "down":
            return negative
        case "to_odd":
            return not odd
        case "stochastic":
            scaled = rest * 2**bits
            return scaled.numerator // scaled.denominator > chance
    raise AssertionError(mode)


def round_code(f: Any, value: Fraction, mode: str, *, word: int = 0, bits: int = 32) -> Any:
    """The signed result of casting a finite nonzero number: its code, or 'overflow' or 'least'.

    Signed formats only see the magnitude code with their sign bit; -0 gives way where it must.
    """
    negative, size = value < 0, abs(value)
    top = largest_code(f)
    low = below(f, size)
    if low < 0:
        return "least"
    if meaning(f, low) == size:
        return signed(f, low, negative)
    if low == top and size >= value_after(f, top):
        away = mode not in ("toward_zero", "to_odd") and not (
            mode in ("up", "down") and negative == (mode == "up")
        )
        return "overflow" if away else signed(f, top, negative)
    floor, ceiling = meaning(f, low), value_after(f, low)
    rest = (size - floor) / (ceiling - floor)
    place = (rest > Fraction(1, 2)) - (rest < Fraction(1, 2))
    up = goes_up(mode, place, low % 2 == 1, negative, word >> (32 - bits), rest, bits)
    if mode == "to_odd" and low == top:
        up = False
    if not up:
        return signed(f, low, negative)
    return "overflow" if low == top else signed(f, after(f, low), negative)


def signed(f: Any, code: int, negative: bool) -> int:
    if not negative or (code == 0 and f.zero and not f.signed_zero):
        return code
    return code + 2 ** (f.width - 1)
