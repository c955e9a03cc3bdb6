"""Columns of a sample as bytes: each array in its narrowest dtype, bytes of a rank together, zlib.

Counts take few of their bytes, and those of neighbours are alike: shuffled, they shrink to a fifth.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.errors import HalfulpError
from halfulp.language import translate as _

Array = npt.NDArray[Any]

LEVEL = 1  # of zlib: higher ones take ten times as long for a tenth less


def packed(columns: Sequence[Array]) -> bytes:
    """Arrays of numbers as one blob."""
    narrow = [_narrowed(np.asarray(column)) for column in columns]
    heads = json.dumps([[a.dtype.str, list(a.shape)] for a in narrow]).encode()
    body = zlib.compress(b"".join(_shuffled(a) for a in narrow), LEVEL)
    return struct.pack("<I", len(heads)) + heads + body


def unpacked(blob: bytes) -> list[Array]:
    """The arrays of a blob: integers as int64, floats as float64.

    Raises HalfulpError where the blob is none of :func:`packed`.
    """
    try:
        (size,) = struct.unpack_from("<I", blob)
        heads = json.loads(blob[4 : 4 + size])
        body = zlib.decompress(blob[4 + size :])
        found, at = [], 0
        for dtype, shape in heads:
            count = int(np.prod(shape, dtype=np.int64))
            kind = np.dtype(dtype)
            raw = np.frombuffer(body, np.uint8, count * kind.itemsize, at)
            at += raw.size
            plain = np.ascontiguousarray(raw.reshape(kind.itemsize, count).T).view(kind)
            found.append(plain.reshape(shape).astype("i8" if kind.kind in "iu" else "f8"))
        return found
    except (struct.error, zlib.error, ValueError, TypeError) as error:
        raise HalfulpError(_("a sample is damaged: {error}").format(error=error)) from error


def _narrowed(a: Array) -> Array:
    """The same numbers in the least dtype of their kind that holds all of them."""
    if a.dtype.kind in "iu":
        low, high = (int(a.min()), int(a.max())) if a.size else (0, 0)
        kinds = ("u1", "u2", "u4", "i8") if low >= 0 else ("i1", "i2", "i4", "i8")
        return a.astype(
            next(k for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
        )
    with np.errstate(over="ignore"):
        single = a.astype("f4")
    same = single.astype("f8") == a
    return single if bool((same | np.isnan(a)).all()) else a.astype("f8")


def _shuffled(a: Array) -> bytes:
    return np.ascontiguousarray(a).view(np.uint8).reshape(a.size, a.itemsize).T.tobytes()
