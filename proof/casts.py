"""Casts of float32, all 2³² of them, and of every other float that arrays can be of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from halfulp.catalogue import Format, format, formats
from proof import oracle, references, softfloat
from proof.backends import BACKENDS, NUMPY, Backend
from proof.oracle import runs
from proof.pieces import (
    CHUNK,
    IEEE_754,
    Array,
    Claim,
    Found,
    Piece,
    compare,
    pieces_of,
    total,
)
from proof.references import REFERENCES, Reference

AREA = "casts"
EVERY = 1 << 32
#: What float32 is cast to: all of the catalogue that is narrower.
TARGETS = tuple(f for f in formats() if f.width < 32)
#: Of the formats, those that the slow see in a slice: one of each shape that kernels have.
FEW = ("float16", "float8_e4m3fn", "float8_e8m0fnu")
SOURCES = ("halfulp.conversion", "halfulp.backends.numpy")


@dataclass(frozen=True)
class Size:
    """How much is done of each kind: the long suite, or a slice of it."""

    stride: int  # of the patterns beside those at which an answer changes
    slow_stride: int
    most_changes: int
    slow_changes: int
    everything: bool


LONG = Size(1 << 8, 1 << 20, 1 << 24, 1 << 12, True)
SLICE = Size((1 << 18) - 5, (1 << 24) - 3, 1 << 10, 1 << 6, False)


def claims(slice: bool = False) -> Iterator[Claim]:
    """Every cast that is proven."""
    size = SLICE if slice else LONG
    for backend in BACKENDS:
        for target in TARGETS:
            if slice and not _quick(backend, target):
                continue
            for roundings in filter(None, (backend.everything, backend.sampled)):
                whole = size.everything and roundings == backend.everything
                yield against_oracle(backend, target, roundings, size, whole)
    for reference in REFERENCES:
        for name in reference.formats:
            yield against_reference(reference, format(name), size)
    for name in ("float16", "bfloat16"):
        yield against_softfloat(format(name), size)


def _quick(backend: Backend, target: Format) -> bool:
    """Whether a slice of seconds has room: not for long lists of numbers, nor for compiling."""
    if backend is NUMPY:
        return target.width <= 16
    return bool(backend.sampled) and target.name in FEW


# The inputs.


def ascending(piece: Piece, extra: Array | None = None) -> Iterator[Array]:
    """The patterns of float32 that a piece says, and ``extra`` ones, in ascending order."""
    span = piece.span
    if extra is None:
        for first in range(span.start, span.stop, CHUNK):
            yield np.arange(first, min(first + CHUNK, span.stop), dtype=np.uint32)
        return
    regular = np.arange(span.start, span.stop, span.step).astype(np.uint32)
    every = np.union1d(regular, extra)
    yield from np.split(every, range(CHUNK, every.size, CHUNK))


@cache
def changes(target: Format, roundings: Sequence[str], most: int) -> Array:
    """Patterns within two of where some rounding's answer changes; so many places at most."""
    places = np.unique(np.concatenate([runs(target, rounding).starts for rounding in roundings]))
    chosen = places[:: -(-places.size // most)].astype(np.int64)
    near = np.unique(chosen[:, None] + np.arange(-2, 3))
    return near[(near >= 0) & (near < EVERY)].astype(np.uint32)


def _strided(stride: int) -> tuple[Piece, ...]:
    return (Piece(f"every {stride}th and where answers change", range(0, EVERY, stride)),)


# Against the oracle: codes and values.


def against_oracle(
    backend: Backend, target: Format, roundings: tuple[str, ...], size: Size, whole: bool
) -> Claim:
    """A backend's casts of float32 to a format, codes and values, are what the oracle says."""
    slow = backend.nanoseconds > 1000
    most = 0 if whole else size.slow_changes if slow else size.most_changes
    stride = size.slow_stride if slow else size.stride
    pieces = pieces_of(EVERY, 1 << 28) if whole else _strided(stride)
    inputs = len(pieces[0].span) + 5 * min(most, 1 << (target.width + 1))
    return Claim(
        AREA, "float32 to codes and values of", target.name, roundings, backend.name,
        oracle.REFERENCE, EVERY,
        partial(check_oracle, backend=backend, target=target, roundings=roundings, most=most),
        pieces, inputs * 2 * len(roundings) * (backend.nanoseconds + 0.4) * 1e-9,
        (*SOURCES, f"halfulp.backends.{backend.module}", __name__), backend.packages,
        backend.absent,
    )  # fmt: skip


def check_oracle(
    piece: Piece, *, backend: Backend, target: Format, roundings: tuple[str, ...], most: int
) -> Found:
    """Codes and values of float32 patterns, each held to the oracle's."""
    extra = changes(target, roundings, most) if most else None
    return total(_held(part, backend, target, roundings) for part in ascending(piece, extra))


def _held(patterns: Array, backend: Backend, target: Format, roundings: Sequence[str]) -> Found:
    x, found = patterns.view(np.float32), Found(patterns.size)
    for rounding in roundings:
        expected = runs(target, rounding)
        codes, values = backend.encode(x, target, rounding), backend.cast(x, target, rounding)
        found += compare(
            [patterns], codes, expected.along(patterns, expected.codes), f"{rounding}, codes",
            oracle.is_nan(target),
        )  # fmt: skip
        found += compare(
            [patterns], values.view(np.uint32), expected.along(patterns, expected.values),
            f"{rounding}, values", lambda bits: np.isnan(bits.view(np.float32)),
        )  # fmt: skip
    return found


# Against other programs: codes.


def against_reference(reference: Reference, target: Format, size: Size) -> Claim:
    """The nearest codes of float32 are a program's, but for its known differences."""
    return Claim(
        AREA, "float32 to codes of", target.name, ("nearest_even",), NUMPY.name,
        references.titled(reference.package, reference.name), EVERY,
        partial(
            check_program, target=target, roundings=("nearest_even",),
            theirs=partial(_of_reference, reference=reference, target=target),
            most=0 if size.everything else size.most_changes, overflow=reference.overflow,
            same_nan=reference.same_nan,
        ),
        pieces_of(EVERY, 1 << 28) if size.everything else _strided(size.stride),
        (1 << 28 if size.everything else EVERY // size.stride) * reference.nanoseconds * 1e-9,
        (*SOURCES, __name__), (*NUMPY.packages, reference.package),
        references.absent(reference.package),
    )  # fmt: skip


def _of_reference(patterns: Array, rounding: str, *, reference: Reference, target: Format) -> Array:
    return reference.encode(patterns.view(np.float32), target.name)


def against_softfloat(target: Format, size: Size) -> Claim:
    """The codes of float32 are SoftFloat's, in each of its modes."""
    return Claim(
        AREA, "float32 to codes of", target.name, IEEE_754, NUMPY.name,
        softfloat.reference(), EVERY,
        partial(
            check_program, target=target, roundings=IEEE_754,
            theirs=partial(_of_softfloat, target=target),
            most=0 if size.everything else size.most_changes, overflow=None,
        ),
        pieces_of(EVERY, 1 << 27) if size.everything else _strided(size.stride),
        (1 << 27 if size.everything else EVERY // size.stride) * 5 * 20e-9,
        (*SOURCES, __name__), (*NUMPY.packages, softfloat.PACKAGE), softfloat.absent(),
    )  # fmt: skip


def _of_softfloat(patterns: Array, rounding: str, *, target: Format) -> Array:
    return softfloat.convert(patterns, "float32", target.name, rounding)


def check_program(
    piece: Piece, *, target: Format, roundings: Sequence[str],
    theirs: Callable[[Array, str], Array], most: int, overflow: str | None, same_nan: bool = False,
) -> Found:  # fmt: skip
    """The codes of float32 patterns, each held to another program's."""
    extra = changes(target, tuple(roundings), most) if most else None
    found, known = Found(), references.known_differences(target.name)
    for patterns in ascending(piece, extra):
        found += Found(patterns.size)
        for rounding in roundings:
            codes = NUMPY.encode(patterns.view(np.float32), target, rounding, overflow=overflow)
            found += compare(
                [patterns], codes, theirs(patterns, rounding), f"{rounding}, codes",
                None if same_nan else oracle.is_nan(target), known,
            )  # fmt: skip
    return found
