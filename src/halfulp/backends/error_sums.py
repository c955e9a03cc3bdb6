"""L1: float sums of what casts change, in an order that no number of threads alters."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.classes import FOLD, LEAF, carrier_for
from halfulp.backends.kernels import (
    cast_one,
    compiled,
    flat_plan,
    named,
    unflattened,
)
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import (
    in_threads,
)
from halfulp.backends.symbols import jitable
from halfulp.casting import Cast
from halfulp.patterns import Carrier, Shape, shape_of

Array = npt.NDArray[Any]

HALF = LEAF // 2


class Sums(NamedTuple):
    """The float sums of one cast over all elements whose value and result are finite."""

    compared: int
    error: float  # of result - value
    squared_error: float
    signal: float  # of squared values
    largest: float  # |error| / |value|
    where: int  # of the first element with that; -1 where there is no error


def error_sums(x: Array, first: int, casts: Sequence[Cast], seed: int) -> list[Sums]:
    """The sums of contiguous float32 or float64 elements under each cast.

    Each stretch of 1,024 elements is folded as a binary tree (i with i + 512, then i + 256, …),
    64 such stretches are added in order, and so are theirs: for any number of threads.
    """
    bits = x.view(np.dtype(f"int{8 * x.dtype.itemsize}"))
    groups: dict[tuple[Carrier, Shape], list[int]] = {}
    for i, cast in enumerate(casts):
        carrier = carrier_for(cast, x.dtype)
        groups.setdefault((carrier, shape_of(cast, carrier, codes=False)), []).append(i)
    found: list[Sums] = [Sums(0, 0.0, 0.0, 0.0, 0.0, -1)] * len(casts)
    for (carrier, shape), members in groups.items():
        flats = np.stack([flat_plan(casts[i], carrier, seed, codes=False) for i in members])
        kernel = _sums_kernel(carrier, shape)
        for i, sums in zip(members, _group_sums(bits, x, first, flats, kernel), strict=True):
            found[i] = sums
    return found


def _group_sums(bits: Array, x: Array, first: int, flats: Array, kernel: Any) -> list[Sums]:
    folds = -(-x.size // FOLD)

    def work(start: int, end: int) -> tuple[Array, ...]:
        part = slice(start * FOLD, min(end * FOLD, x.size))
        sums = np.zeros((end - start, len(flats), 3))
        compared = np.zeros(len(flats), np.int64)
        worst, where = np.zeros(len(flats)), np.full(len(flats), -1, np.int64)
        kernel(bits[part], x[part], first + part.start, flats, sums, compared, worst, where)
        return sums, compared, worst, where

    parts = in_threads(folds, work, piece=1) if folds else []
    made = []
    for f in range(len(flats)):
        ordered = [sums[:, f] for sums, *_ in parts]
        # accumulate adds one after the other, where sum would choose an order of its own.
        totals = np.add.accumulate(np.concatenate([np.zeros((1, 3)), *ordered]))[-1]
        error, squared, signal = map(float, totals)
        largest = max((float(worst[f]) for _, _, worst, _ in parts), default=0.0)
        at = [int(where[f]) for _, _, worst, where in parts if worst[f] == largest > 0]
        compared = sum(int(count[f]) for _, count, _, _ in parts)
        made.append(Sums(compared, error, squared, signal, largest, at[0] if at else -1))
    return made


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.

#: What a loop calls for each element; compiled() puts it in place.
one: Any = None


@cache
def _sums_kernel(carrier: Carrier, shape: Shape) -> Any:
    """``(patterns, values, index of the first, flat plans, sums [fold, cast, 3], compared, largest
    relative errors, where)``.
    """
    return compiled(_sums_loop, f"sums_{named(carrier, shape)}", cast_one(carrier, shape))


@jitable
def tree(leaf):
    """The sum of a leaf that was folded once, folded in halves; it is overwritten."""
    half = HALF // 2
    while half:
        for i in range(half):
            leaf[i] += leaf[i + half]
        half //= 2
    return leaf[0]


@jitable
def finite_or(value, otherwise):
    """A value, or another where it is infinite or NaN."""
    return value if np.abs(value) < np.inf else otherwise


@jitable
def signal_of(x, squares):
    """The sum of the squares of a leaf; NaN counts as nothing."""
    for i in range(HALF):
        a, b = x[i], x[i + HALF]
        squares[i] = (a * a if a == a else 0.0) + (b * b if b == b else 0.0)
    return tree(squares)


@jitable
def compare(results, x, errors, squares, bound):
    """Errors and their squares, folded once; whether any is not finite, and any beyond the bound.

    The bound is of |error| / |x|; a product decides, since divisions would take most of the time.
    """
    lacking, candidate = False, False
    for i in range(HALF):
        one_error = np.float64(results[i]) - x[i]
        other_error = np.float64(results[i + HALF]) - x[i + HALF]
        lacking |= (not np.abs(one_error) < np.inf) | (not np.abs(other_error) < np.inf)
        a, b = finite_or(one_error, 0.0), finite_or(other_error, 0.0)
        candidate |= np.abs(a) > bound * np.abs(x[i])
        candidate |= np.abs(b) > bound * np.abs(x[i + HALF])
        errors[i] = a + b
        squares[i] = a * a + b * b
    return lacking, candidate


@jitable
def worst(results, x, size, largest, where, index):
    """The largest relative error and the index of the first element with it."""
    for i in range(size):
        error = np.abs(np.float64(results[i]) - x[i])
        if 0 < error < np.inf and error / np.abs(x[i]) > largest:
            largest, where = error / np.abs(x[i]), index + i
    return largest, where


@jitable
def signal_of_compared(results, x, squares):
    """The sum of the squares of values whose results are finite; and how many there are."""
    count = np.int64(0)
    for i in range(HALF):
        one_kept = np.abs(np.float64(results[i]) - x[i]) < np.inf
        other_kept = np.abs(np.float64(results[i + HALF]) - x[i + HALF]) < np.inf
        a, b = x[i] if one_kept else 0.0, x[i + HALF] if other_kept else 0.0
        squares[i] = a * a + b * b
        count += np.int64(one_kept) + np.int64(other_kept)
    return tree(squares), count


def _sums_loop(bits, values, first, flats, sums, compared, largest, where):
    wide_vectors()
    made = np.zeros(LEAF, bits.dtype)
    results = made.view(values.dtype)
    x, errors, squares = np.zeros(LEAF), np.zeros(HALF), np.zeros(HALF)
    for start in range(0, bits.size, LEAF):
        part, given = bits[start : start + LEAF], values[start : start + LEAF]
        size, index = part.size, first + start
        for i in range(size):
            x[i] = finite_or(np.float64(given[i]), np.nan)
        x[size:], made[size:] = 0.0, 0
        signal, numbers = signal_of(x, squares), size
        for f in range(flats.shape[0]):
            plan = unflattened(flats[f])
            for i in range(size):
                made[i] = one(part[i], index + i, index >> 32, plan)
            bound = largest[f] * (1 + 2.0**-50)  # ratios of floats are equal or further apart
            lacking, candidate = compare(results, x, errors, squares, bound)
            if candidate:
                largest[f], where[f] = worst(results, x, size, largest[f], where[f], index)
            row = sums[start // FOLD, f]
            row[0] += tree(errors)
            row[1] += tree(squares)
            compared[f] += numbers
            if lacking:  # without finite results; what pads the leaf is not counted
                compared_signal, count = signal_of_compared(results, x, squares)
                row[2] += compared_signal
                compared[f] += count - LEAF
            else:
                row[2] += signal
