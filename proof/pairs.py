"""Arithmetic of float16 on all 65,536² pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from halfulp import arithmetic
from halfulp.catalogue import format
from proof import oracle, references, softfloat
from proof.backends import NUMPY
from proof.pieces import IEEE_754, MODES, Array, Claim, Found, Piece, compare, pieces_of

AREA = "pairs"
CODES = 1 << 16
ROWS = 16  # left operands at a time, each with every right one
_NATIVE = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
SOURCES = ("halfulp.arithmetic", "halfulp.backends.operations", "halfulp.backends.numpy", __name__)


def claims(slice: bool = False) -> Iterator[Claim]:
    """Addition and multiplication in every mode, the other two to nearest."""
    numpy, theirs = references.titled("numpy", "NumPy"), softfloat.reference()
    for operation in ("add", "mul", "sub", "div"):
        yield _claim(slice, operation, MODES[:1], numpy, "numpy", "", by_numpy, 45.0)
        modes = IEEE_754 if operation in ("add", "mul") else MODES[:1]
        yield _claim(
            slice, operation, modes, theirs, softfloat.PACKAGE, softfloat.absent(), by_softfloat,
            20.0,
        )  # fmt: skip


def _claim(
    slice: bool, operation: str, roundings: tuple[str, ...], reference: str, package: str,
    absent: str, theirs: Callable[[str, str, Array, Array], Array], nanoseconds: float,
) -> Claim:  # fmt: skip
    pieces = pieces_of(CODES, 1024)
    if slice:
        pieces = (Piece("every 4099th left operand", range(1, CODES, 4099)),)
    return Claim(
        AREA, "float16 pairs:", operation, roundings, NUMPY.name, reference, CODES * CODES,
        partial(check, operation=operation, roundings=roundings, theirs=theirs), pieces,
        len(pieces[0].span) * CODES * len(roundings) * nanoseconds * 1e-9, SOURCES,
        (*NUMPY.packages, package), absent,
    )  # fmt: skip


def check(
    piece: Piece, *, operation: str, roundings: tuple[str, ...],
    theirs: Callable[[str, str, Array, Array], Array],
) -> Found:  # fmt: skip
    """Left operands of a piece with every right one; a NaN is a NaN, whatever its payload."""
    found, ours = Found(), getattr(arithmetic, operation)
    every, nan = np.arange(CODES, dtype=np.uint16), oracle.is_nan(format("float16"))
    for first in range(0, len(piece.span), ROWS):
        part = piece.span[first : first + ROWS]
        left = np.repeat(np.array(part, np.uint16), CODES)
        right = np.tile(every, len(part))
        found += Found(left.size)
        for rounding in roundings:
            values = ours(left.view(np.float16), right.view(np.float16), "float16", rounding)
            found += compare(
                [left, right], values.view(np.uint16), theirs(operation, rounding, left, right),
                f"{operation}, {rounding}", nan,
            )  # fmt: skip
    return found


def by_numpy(operation: str, rounding: str, left: Array, right: Array) -> Array:
    """NumPy's float16: in float32, then rounded again.

    Rounding these four twice is as good as once where the wider significand has 2p + 2 bits
    (24 ≥ 2·11 + 2: S. Figueroa, "When is double rounding innocuous?", 1995). Subnormal results keep
    fewer bits, which only leaves more room.
    """
    with np.errstate(all="ignore"):
        values = _NATIVE[operation](left.view(np.float16), right.view(np.float16))
    return np.asarray(values).view(np.uint16)


def by_softfloat(operation: str, rounding: str, left: Array, right: Array) -> Array:
    """SoftFloat's f16_add and the like."""
    return softfloat.operate(operation, "float16", rounding, (left, right))
