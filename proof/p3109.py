"""The IEEE P3109 formats, 504 of 3 to 16 bits, against gfloat and the oracle."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from halfulp.catalogue import Format, p3109_formats
from halfulp.conversion import decode, encode
from halfulp.exact import number
from proof import oracle, references
from proof.backends import NUMBERS, NUMPY
from proof.casts import SOURCES
from proof.pieces import IEEE_754, MODES, Array, Claim, Found, Piece, compare, total
from proof.sources import check_float64

AREA = "p3109"
PACKAGE = "gfloat"
WIDTHS = range(3, 17)
FLOAT64_EXPONENT_BITS = 11  # more, and float64 has not all numbers of a format
ROUNDINGS = dict(
    zip(
        IEEE_754, ("TiesToEven", "TiesToAway", "TowardZero", "TowardPositive", "TowardNegative"),
        strict=True,
    )
)  # fmt: skip
SAMPLE = 48  # numbers of a format that float64 has not


def claims(slice: bool = False) -> Iterator[Claim]:
    """Every width, by arrays where float64 has the formats, else by single numbers."""
    theirs, absent = references.titled(PACKAGE), references.absent(PACKAGE)
    for width in (8, 11) if slice else WIDTHS:
        held = formats_of(width)
        held = held[:: max(1, len(held) // 6)] if slice else held
        item, ends = f"k = {width}", (NUMPY.name, theirs)
        codes = len(held) << width
        yield _claim(
            "every code of every format, decoded:", item, (), *ends, codes,
            partial(check_decode, formats=held), codes * 2e-7, absent,
        )  # fmt: skip
        yield _claim(
            "float64 at and about every number and midpoint of every format, to codes:", item,
            IEEE_754, *ends, len(held) << 64, partial(check_encode, formats=held), codes * 6e-6,
            absent,
        )  # fmt: skip
        if width <= 8:
            yield _claim(
                "float64 about every change of every format, and random, to codes and values:",
                item, MODES, NUMPY.name, oracle.REFERENCE, len(held) << 64,
                partial(check_oracle, formats=held), len(held) * 0.1,
            )  # fmt: skip
        beyond = formats_of(width, beyond=True)
        if beyond:
            yield _claim(
                "numbers and midpoints of formats wider than float64, both ways:", item, MODES,
                NUMBERS.name, oracle.REFERENCE, len(beyond) << width,
                partial(check_beyond, formats=beyond), len(beyond) * 1.0,
            )  # fmt: skip


def _claim(
    subject: str, item: str, roundings: tuple[str, ...], backend: str, reference: str,
    population: int, check: Any, seconds: float, absent: str = "",
) -> Claim:  # fmt: skip
    return Claim(
        AREA, subject, item, roundings, backend, reference, population, check,
        (Piece("all of it", range(1)),), seconds, (*SOURCES, __name__),
        (*NUMPY.packages, PACKAGE), absent,
    )  # fmt: skip


def formats_of(width: int, beyond: bool = False) -> tuple[Format, ...]:
    """The formats of a width whose numbers float64 has, or else has not."""
    every = p3109_formats(width)
    return tuple(f for f in every if (f.exponent_bits > FLOAT64_EXPONENT_BITS) == beyond)


def in_gfloat(f: Format) -> Any:
    """A format as gfloat describes it, from its width, precision, sign and infinities."""
    from gfloat import Domain, Signedness
    from gfloat.formats import format_info_p3109

    return format_info_p3109(
        f.width, f.precision, Signedness.Signed if f.signed else Signedness.Unsigned,
        Domain.Extended if f.infinities else Domain.Finite,
    )  # fmt: skip


def check_decode(piece: Piece, *, formats: tuple[Format, ...]) -> Found:
    """What every code means, as float64."""
    return total(_decoded(f) for f in formats)


def _decoded(f: Format) -> Found:
    from gfloat import decode_ndarray

    codes = np.arange(f.codes, dtype=oracle.code_dtype(f))
    theirs = decode_ndarray(in_gfloat(f), codes.astype(np.int64)).view(np.uint64)
    ours = decode(codes, f, "float64").view(np.uint64)
    return Found(codes.size) + compare([codes], ours, theirs, f.name, _is_nan)


def _is_nan(bits: Array) -> Array:
    return np.isnan(bits.view(np.float64))


def check_encode(piece: Piece, *, formats: tuple[Format, ...]) -> Found:
    """Numbers, midpoints and their neighbours in float64, rounded as gfloat rounds them."""
    return total(_encoded(f) for f in formats)


def _encoded(f: Format) -> Found:
    from gfloat import RoundMode, encode_ndarray, round_ndarray

    info, x = in_gfloat(f), probes(f)
    found = Found(x.size)
    for rounding, theirs in ROUNDINGS.items():
        with np.errstate(over="ignore"):
            rounded = round_ndarray(info, x, getattr(RoundMode, theirs))
        codes = encode_ndarray(info, rounded).astype(oracle.code_dtype(f))
        found += compare(
            [x.view(np.uint64)], np.asarray(encode(x, f, rounding)), codes, f"{f}, {rounding}"
        )  # fmt: skip
    return found


def probes(f: Format) -> Array:
    """Numbers of a format as gfloat reads them, midpoints, what float64 has next to both, and what
    has no place.

    gfloat rounds negative numbers into unsigned formats as if they had signs; ours are NaN, and
    held to the oracle.
    """
    from gfloat import decode_ndarray

    values = np.unique(np.abs(decode_ndarray(in_gfloat(f), np.arange(f.codes))))
    values = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        values = np.append(values, 2 * values[-1] - values[-2])
        places = np.append(values, values[:-1] + np.diff(values) / 2)
        near = [np.nextafter(places, -np.inf), places, np.nextafter(places, np.inf)]
        x = np.unique(np.abs(np.concatenate([*near, [2 * values[-1], np.finfo(float).max]])))
    x = np.append(x[np.isfinite(x)], [np.inf, np.nan])
    return np.concatenate([x, -x[:-1]]) if f.signed else x


def check_oracle(piece: Piece, *, formats: tuple[Format, ...]) -> Found:
    """Every rounding, negative numbers, and values as well as codes."""
    return total(
        check_float64(piece, backend=NUMPY, target=f, random=1 << 10) for f in formats
    )  # fmt: skip


def check_beyond(piece: Piece, *, formats: tuple[Format, ...]) -> Found:
    """Single numbers, as Fractions: some codes both ways, and the midpoints above them."""
    return total(_beyond(f) for f in formats)


def _beyond(f: Format) -> Found:
    top = int(oracle.oracle.largest_code(f))
    codes = sorted({*range(0, top, -(-top // SAMPLE)), 1, top - 1, top})
    exact = [oracle.oracle.meaning(f, code) for code in codes]
    middles = [
        (value + oracle.oracle.value_after(f, c)) / 2 for value, c in zip(exact, codes, strict=True)
    ]
    given = np.array(codes, np.uint64)
    read = [encode(decode(code, f), f) for code in codes]
    same = [
        number(decode(code, f)).value == value for code, value in zip(codes, exact, strict=True)
    ]
    found = Found(given.size)
    found += compare([given], np.array(read, np.uint64), given, f"{f}, decoded and encoded")
    found += compare([given], np.array(same, np.uint64), np.ones_like(given), f"{f}, is meant")
    for rounding in MODES:
        ours = np.array([encode(value, f, rounding) for value in middles], np.uint64)
        theirs = np.array([_code(f, value, rounding) for value in middles], np.uint64)
        found += compare([given], ours, theirs, f"{f}, {rounding}, midpoint above")
    return found


def _code(f: Format, value: Fraction, rounding: str) -> int:
    found = oracle.oracle.round_code(f, value, rounding)
    return oracle.fates(f, False).over if found == "overflow" else int(found)
