"""L1: tallies of 16- and 8-bit floats, from the histogram of all their patterns.

There are so few patterns that each is cast once and looked at; how often each occurs is all that an
array has to be read for, whatever the number of casts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.classes import (
    KINDS,
    LEAF,
    MOST,
    Classes,
    add_binades,
    kinds_of,
    marked,
)
from halfulp.backends.error_sums import Sums
from halfulp.backends.kernels import (
    compiled,
)
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import (
    cast_array,
    codes_of,
    every_pattern,
    in_threads,
    widening,
)
from halfulp.casting import Cast

Array = npt.NDArray[Any]


def pattern_counts(x: Array) -> Array:
    """How often each pattern of a dtype of 8 or 16 bits occurs among contiguous elements."""
    codes, kernel = x.view(codes_of(x.dtype)), _patterns_kernel()
    size = 1 << (8 * x.dtype.itemsize)

    def work(start: int, end: int) -> Array:
        total = np.zeros(size, np.int64)
        for first in range(start, end, MOST):
            counts = np.zeros(size, np.uint32)
            kernel(codes[first : min(end, first + MOST)], counts)
            total += counts
        return total

    return np.asarray(sum(in_threads(x.size, work)))


class Outcomes(NamedTuple):
    """What a deterministic cast makes of every pattern of a narrow dtype."""

    kinds: Array  # the field of Classes, and as many more for a negative value
    subnormal: Array
    values: Array  # float64
    errors: Array  # float64; 0 where value or result is not finite
    relative: Array  # |error| / |value|
    compared: Array  # both finite


@lru_cache(maxsize=32)  # of two megabytes each
def outcomes(cast: Cast, dtype: np.dtype[Any]) -> Outcomes:
    """Every pattern of a dtype under a cast, looked at for itself."""
    every = every_pattern(dtype)
    wide = np.empty(every.shape, np.float32)
    widening(dtype, wide.dtype)(every, wide, 0)
    kinds, is_subnormal = kinds_of(wide, marked(wide, 0, cast, 0), cast)
    kinds += np.signbit(wide) * KINDS
    with np.errstate(invalid="ignore", divide="ignore"):  # of NaN and infinities, left out, and 0
        values, results = wide.astype(np.float64), cast_array(wide, cast).astype(np.float64)
        compared = np.isfinite(values) & np.isfinite(results)
        errors = np.where(compared, results - values, 0.0)
        relative = np.where(errors != 0, np.abs(errors) / np.abs(values), 0.0)
    values = np.where(compared, values, 0.0)
    return Outcomes(kinds.astype(np.uint8), is_subnormal, values, errors, relative, compared)


def classes_counted(counts: Array, cast: Cast, dtype: np.dtype[Any]) -> dict[int, Classes]:
    """The classes of an array whose patterns were counted, by sign."""
    o, totals = outcomes(cast, dtype), np.zeros((2, 2 * KINDS), np.int64)
    _classes_kernel()(counts, o.kinds, o.subnormal, totals)
    split = np.split(totals, 2, axis=1)
    return {
        sign: Classes(*[int(n) for n in (*kinds, subnormal.sum())])
        for sign, (kinds, subnormal) in enumerate(split)
    }


def sums_counted(counts: Array, cast: Cast, dtype: np.dtype[Any]) -> tuple[Sums, int]:
    """The error sums of such an array, patterns in ascending order; and the worst pattern.

    ``where`` of the sums is left open (-1): the array has to be searched for that pattern.
    """
    o, sums = outcomes(cast, dtype), np.zeros(3)
    compared, largest, pattern = _counted_sums_kernel()(
        counts, o.compared, o.errors, o.values, o.relative, sums
    )
    error, squared, signal = map(float, sums)
    return Sums(int(compared), error, squared, signal, float(largest), -1), int(pattern)


def first_of(x: Array, first: int, patterns: Sequence[int]) -> list[int]:
    """The index of the first contiguous element with each pattern, or -1."""
    wanted = np.array(sorted({p for p in patterns if p >= 0}), codes_of(x.dtype))
    found = np.full(len(wanted), -1, np.int64)
    _first_kernel()(x.view(wanted.dtype), wanted, found)
    where = {int(p): first + int(i) for p, i in zip(wanted, found, strict=True) if i >= 0}
    return [where.get(pattern, -1) for pattern in patterns]


def counted_binades(counts: Array, dtype: np.dtype[Any]) -> dict[int, int]:
    """The binades of an array whose patterns were counted."""
    present = np.flatnonzero(counts)
    wide = np.empty(counts.size, np.float32)
    widening(dtype, wide.dtype)(every_pattern(dtype), wide, 0)
    values = np.abs(wide[present].astype(np.float64))
    ordinary = np.isfinite(values) & (values > 0)
    found: dict[int, int] = {}
    add_binades(found, values[ordinary], counts[present][ordinary])
    return found


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.


@cache
def _patterns_kernel() -> Any:
    """``(codes of 8 or 16 bits, counts)``."""
    return compiled(_patterns_loop, "patterns")


def _patterns_loop(codes, counts):
    for i in range(codes.size):
        counts[codes[i]] += 1


@cache
def _classes_kernel() -> Any:
    """``(counts of patterns, kinds, which are subnormal, totals of kinds and of subnormals)``."""
    return compiled(_classes_loop, "classes")


def _classes_loop(counts, kinds, subnormal, totals):
    for pattern in range(counts.size):
        totals[0, kinds[pattern]] += counts[pattern]
        totals[1, kinds[pattern]] += counts[pattern] * subnormal[pattern]


@cache
def _counted_sums_kernel() -> Any:
    """``(counts of patterns, outcomes of a cast …, three sums) -> compared, largest, pattern``."""
    return compiled(_counted_sums_loop, "counted_sums")


def _counted_sums_loop(counts, compared, errors, values, relative, sums):
    number, largest, worst_pattern = 0, 0.0, -1
    error, squared, signal = 0.0, 0.0, 0.0
    for pattern in range(counts.size):
        count = counts[pattern]
        if count:
            number += count * compared[pattern]
            error += errors[pattern] * count
            squared += errors[pattern] * errors[pattern] * count
            signal += values[pattern] * values[pattern] * count
            if relative[pattern] > largest:
                largest, worst_pattern = relative[pattern], pattern
    sums[0], sums[1], sums[2] = error, squared, signal
    return number, largest, worst_pattern


@cache
def _first_kernel() -> Any:
    """``(codes, wanted codes, the index of each or -1)``."""
    return compiled(_first_loop, "first")


def _first_loop(codes, wanted, found):
    wide_vectors()
    missing = wanted.size
    for start in range(0, codes.size, LEAF):
        part = codes[start : start + LEAF]
        for w in range(wanted.size):
            if found[w] < 0:
                is_there = False
                for i in range(part.size):
                    is_there |= part[i] == wanted[w]
                if is_there:
                    missing -= 1
                    for i in range(part.size):
                        if part[i] == wanted[w]:
                            found[w] = start + i
                            break
        if not missing:
            break
