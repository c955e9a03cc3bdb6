"""L1: float32 as a bfloat16 and 16 more bits, and together again: the memory of split updates.

The bfloat16 is the nearest (ties away from zero, on patterns): the signed rest of any pattern then
fits 16 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.backends.kernels import compiled
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import in_threads

Array = npt.NDArray[Any]


def split_halves(bits: Array, high: Array, low: Array) -> None:
    """Patterns of float32 (int32) as patterns of bfloat16 and the rest (both int16).

    All are contiguous and of one shape.
    """
    flat, first, second = bits.reshape(-1), high.reshape(-1), low.reshape(-1)
    kernel = _split_kernel()
    in_threads(flat.size, lambda a, b: kernel(flat[a:b], first[a:b], second[a:b]))


def join_halves(high: Array, low: Array, bits: Array) -> None:
    """The patterns of float32 that :func:`split_halves` took apart, written to ``bits``."""
    flat, first, second = bits.reshape(-1), high.reshape(-1), low.reshape(-1)
    kernel = _join_kernel()
    in_threads(flat.size, lambda a, b: kernel(first[a:b], second[a:b], flat[a:b]))


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.


@cache
def _split_kernel() -> Any:
    return compiled(_split_loop, "split_halves")


def _split_loop(bits, high, low):
    wide_vectors()
    for i in range(bits.size):
        pattern = bits[i]
        high[i] = np.int16((np.int64(pattern) + 0x8000) >> 16)
        low[i] = np.int16(pattern)


@cache
def _join_kernel() -> Any:
    return compiled(_join_loop, "join_halves")


def _join_loop(high, low, out):
    wide_vectors()
    for i in range(out.size):
        out[i] = np.int32((np.int64(high[i]) << 16) + np.int64(low[i]))
