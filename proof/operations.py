"""Operations of float16, float32 and float64 in the five modes of IEEE 754, against SoftFloat."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from halfulp import arithmetic
from halfulp.catalogue import Format, format
from halfulp.conversion import encode
from proof import oracle, softfloat
from proof.backends import NUMBERS, NUMPY
from proof.operands import operands
from proof.pairs import SOURCES
from proof.pieces import CHUNK, IEEE_754, Array, Claim, Found, Piece, compare, pieces_of, total

AREA = "operations"
FLOATS = ("float16", "float32", "float64")
CASES = 1 << 24  # of each operation and float
SINGLE = 1 << 11  # by single numbers
PIECE = 1 << 22
#: float64 to these, which share no code with those of float32.
NARROWER = ("float16", "float32")


def claims(slice: bool = False) -> Iterator[Claim]:
    """Every operation, by arrays and by single numbers."""
    cases, single = (1 << 13, 1 << 6) if slice else (CASES, SINGLE)
    most = 1 << 16 if slice else 1 << 32  # that are all taken
    for operation, (_, arity) in softfloat.OPERATIONS.items():
        for name in FLOATS:
            all_of_them = 1 << (arity * format(name).width)
            many = all_of_them if arity == 1 and all_of_them <= most else cases
            seconds = 130e-9 if name == "float64" else 30e-9
            yield _claim(NUMPY.name, operation, name, all_of_them, many, seconds)
            yield _claim(NUMBERS.name, operation, name, all_of_them, single, 150e-6)
    for name in NARROWER:
        yield _claim(NUMPY.name, "convert", name, 1 << 64, cases, 30e-9)


def _claim(
    backend: str, operation: str, name: str, population: int, cases: int, seconds: float
) -> Claim:
    subject = f"{operation} of operands in TestFloat's classes:"
    if operation == "convert":
        subject = "float64 in TestFloat's classes to"
    elif cases == population:
        subject = f"{operation}:"
    return Claim(
        AREA, subject, name, IEEE_754, backend, softfloat.reference(), population,
        partial(check, backend=backend, operation=operation, name=name, every=cases == population),
        pieces_of(cases, 1 << 26 if cases == population else PIECE),
        min(cases, 1 << 26 if cases == population else PIECE) * 5 * seconds,
        (*SOURCES, __name__), (*NUMPY.packages, softfloat.PACKAGE), softfloat.absent(),
    )  # fmt: skip


def check(piece: Piece, *, backend: str, operation: str, name: str, every: bool) -> Found:
    """The cases of a piece: those of TestFloat's classes with these numbers, or all codes."""
    spans = (piece.span[n : n + CHUNK] for n in range(0, len(piece.span), CHUNK))
    return total(_chunk(span, backend, operation, name, every) for span in spans)


def _chunk(span: range, backend: str, operation: str, name: str, every: bool) -> Found:
    target, source = format(name), format("float64" if operation == "convert" else name)
    arity = softfloat.OPERATIONS.get(operation, ("", 1))[1]
    if every:
        given: tuple[Array, ...] = (np.arange(span.start, span.stop).astype(f"uint{source.width}"),)
    else:
        given = operands(source, arity, span.start, len(span))
    ours = _single if backend == NUMBERS.name else _arrays
    found = Found(len(span))
    for rounding in IEEE_754:
        found += compare(
            given, ours(operation, given, source, target, rounding),
            _theirs(operation, given, source, target, rounding), f"{operation}, {rounding}",
            lambda codes: np.isnan(codes.view(name)),
        )  # fmt: skip
    return found


def _arrays(
    operation: str, given: tuple[Array, ...], source: Format, target: Format, rounding: str
) -> Array:
    values = [bits.view(source.name) for bits in given]
    if operation == "convert":
        return np.asarray(encode(values[0], target, rounding))
    result = getattr(arithmetic, operation)(*values, target, rounding)
    return np.asarray(result).view(given[0].dtype)


def _single(
    operation: str, given: tuple[Array, ...], source: Format, target: Format, rounding: str
) -> Array:
    """By Python numbers, each of which says its code."""
    work, codes = getattr(arithmetic, operation), []
    for case in zip(*(bits.tolist() for bits in given), strict=True):
        result: Any = work(*(f"{source.name}:{code:#x}" for code in case), target, rounding)
        codes.append(encode(result, target))
    return np.array(codes, oracle.code_dtype(target))


def _theirs(
    operation: str, given: tuple[Array, ...], source: Format, target: Format, rounding: str
) -> Array:
    if operation == "convert":
        return softfloat.convert(given[0], source.name, target.name, rounding)
    return softfloat.operate(operation, source.name, rounding, given)
