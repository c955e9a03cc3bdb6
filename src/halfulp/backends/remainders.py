"""L1: float32 values as numbers of a narrower format and what is left: the memory of updates.

Split: the nearest bfloat16 (ties away from zero, on patterns), and the signed rest of its pattern,
which then fits 16 bits. Compensated (Kahan): a number of a format and, in the same format, what
rounding to it lost.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp import patterns
from halfulp.backends.kernels import (
    carrier_of,
    cast_one,
    compiled,
    flat_plan,
    named,
    unflattened,
)
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import in_threads
from halfulp.backends.symbols import jitable
from halfulp.casting import Cast
from halfulp.patterns import Carrier, Shape, shape_of

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


def split_compensated(cast: Cast, bits: Array, weight: Array, rest: Array) -> None:
    """Patterns of float32 (int32) as codes of a format, and the codes of what was lost.

    All are contiguous and of one shape. Of what is not finite, nothing is lost.
    """
    carrier = carrier_of(patterns.FLOAT32, cast)
    assert carrier is not None, "float32 holds the format"
    flat, first, second = bits.reshape(-1), weight.reshape(-1), rest.reshape(-1)
    codes, values = (flat_plan(cast, carrier, 0, codes=codes) for codes in (True, False))
    kernel = _compensated_kernel(
        carrier, shape_of(cast, carrier, codes=True), shape_of(cast, carrier, codes=False)
    )
    in_threads(flat.size, lambda a, b: kernel(flat[a:b], first[a:b], second[a:b], codes, values))


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


#: What a loop calls; compiled() puts it in place.
one: Any = None
BLOCK = 1 << 10  # elements at a time, whose float32 errors stay in the caches


@cache
def _compensated_kernel(carrier: Carrier, as_codes: Shape, as_values: Shape) -> Any:
    name = f"compensated_{named(carrier, as_codes)}_{named(carrier, as_values)}"
    return compiled(_compensated_loop, name, _compensated_block(carrier, as_codes, as_values))


def _compensated_loop(bits, weight, rest, codes, values):
    lost = np.empty(BLOCK, np.int32)
    for start in range(0, bits.size, BLOCK):
        end = start + BLOCK
        one(bits[start:end], weight[start:end], rest[start:end], lost, codes, values)


def _compensated_block(carrier: Carrier, as_codes: Shape, as_values: Shape) -> Any:
    coded, valued = cast_one(carrier, as_codes), cast_one(carrier, as_values)

    @jitable
    def block(bits, weight, rest, lost, codes, values):
        wide_vectors()
        to_codes, to_values = unflattened(codes), unflattened(values)
        x, errors = bits.view(np.float32), lost[: bits.size].view(np.float32)
        infinite, nothing = np.float32(np.inf), np.float32(0)
        for i in range(bits.size):
            weight[i] = coded(bits[i], 0, 0, to_codes)
            lost[i] = valued(bits[i], 0, 0, to_values)
        for i in range(bits.size):
            error = x[i] - errors[i]
            errors[i] = error if np.abs(error) < infinite else nothing
        for i in range(bits.size):
            rest[i] = coded(lost[i], 0, 0, to_codes)

    return block
