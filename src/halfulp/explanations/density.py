"""L3: how close the numbers of a format are to one another, relative to their size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from halfulp.catalogue import Format, binade, format
from halfulp.language import N_
from halfulp.records import Record


@dataclass(frozen=True)
class Binades(Record):
    """Neighbouring binades that hold as many numbers each: from 2**first to below 2**(last + 1)."""

    first: int
    last: int
    kind: str  # "normal" or "subnormal"
    numbers: int  # positive ones, in each binade
    relative_spacing: int  # log2(ulp / 2**e) at the start of binade e, half of it at its end
    significant_bits: int
    decimal_digits: int  # so many survive, wherever in the binade


@dataclass(frozen=True)
class Density(Record):
    """The numbers of a format, counted, and how finely they divide each binade.

    >>> half = Density.of("float16")
    >>> half.per_binade, half.decimal_digits, half.round_trip_digits
    (1024, 3, 5)
    >>> [(b.first, b.last, b.relative_spacing) for b in half.binades][-2:]
    [(-15, -15, -9), (-14, 15, -10)]
    """

    renderer = "halfulp.explanations.density_text:density_page"

    format: Format
    numbers: int  # different finite ones in all, zero included
    positive: int
    subnormal: int  # positive ones
    per_binade: int  # of the normal range
    decimal_digits: int  # decimals of so many digits survive the way here and back
    round_trip_digits: int  # so many digits tell every number from all others
    binades: tuple[Binades, ...]  # from the least positive number to the largest

    @staticmethod
    def of(target: str | Format) -> Density:
        """The density of a format; raises HalfulpError for an unknown one."""
        f = format(target)
        positive = f.max_code - f.least_code + 1
        normal = max(f.max_code + 1 - (f.least_field << f.fraction_bits), 0)
        return Density(
            format=f,
            numbers=(positive << int(f.signed)) + int(f.zero),
            positive=positive,
            subnormal=positive - normal,
            per_binade=1 << f.fraction_bits,
            decimal_digits=decimal_digits(f.precision),
            round_trip_digits=round_trip_digits(f.precision),
            binades=tuple(_binades(f)),
        )


def _binades(f: Format) -> Iterator[Binades]:
    """Each subnormal binade, the normal ones as one, and the top one where codes are missing."""
    least = binade(f.least_positive)
    for exponent in range(least, f.emin):
        if f.max_code >= _code(f, exponent):
            yield _alike(f, exponent, exponent)
    whole = f.emax if f.max_code + 1 == _code(f, f.emax + 1) else f.emax - 1
    if whole >= f.emin:
        yield _alike(f, f.emin, whole)
    if whole < f.emax and f.max_code >= _code(f, f.emax):
        yield _alike(f, f.emax, f.emax)


def _alike(f: Format, first: int, last: int) -> Binades:
    bits = f.precision - max(f.emin - first, 0)
    numbers = min(_code(f, first + 1), f.max_code + 1) - _code(f, first)
    kind = N_("normal") if first >= f.emin else N_("subnormal")
    return Binades(first, last, kind, numbers, 1 - bits, bits, decimal_digits(bits))


def _code(f: Format, exponent: int) -> int:
    """The code of 2**exponent, were it in range."""
    if exponent >= f.emin:
        return (exponent + f.bias) << f.fraction_bits
    return 1 << (exponent - f.least_quantum_exponent)


def decimal_digits(bits: int) -> int:
    """How many significant decimal digits survive in so many bits, there and back.

    The most k with 10**k <= 2**(bits - 1): then decimals lie no closer than numbers.

    >>> [decimal_digits(bits) for bits in (53, 24, 11, 8, 1)]
    [15, 6, 3, 2, 0]
    """
    return len(str(1 << (bits - 1))) - 1


def round_trip_digits(bits: int) -> int:
    """How many significant decimal digits tell all numbers of so many bits from one another.

    The least k with 10**(k - 1) > 2**bits.

    >>> [round_trip_digits(bits) for bits in (53, 24, 11, 8)]
    [17, 9, 5, 4]
    """
    return len(str(1 << bits)) + 1
