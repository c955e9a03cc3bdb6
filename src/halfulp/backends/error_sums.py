"""L1: float sums of what casts change, in an order that no number of threads alters."""

from __future__ import annotations

import math
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
from halfulp.backends.references import borrowed, keep
from halfulp.backends.symbols import jitable
from halfulp.casting import Cast
from halfulp.patterns import Carrier, Shape, shape_of

Array = npt.NDArray[Any]

HALF = LEAF // 2
# Smaller elements could have a product with a bound that is subnormal, and so rounds by more.
LEAST_TAME = 2.0**-80
# Places in an array of numbers that have the width of the source.
NOTHING, INFINITE, TAME, BOUND = range(4)


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
    wide_vectors()
    half = HALF // 2
    while half:
        for i in range(half):
            leaf[i] += leaf[i + half]
        half //= 2
    return leaf[0]


@jitable
def signal_of(x, squares):
    """The sum of the squares of a leaf."""
    wide_vectors()
    for i in range(HALF):
        squares[i] = x[i] * x[i] + x[i + HALF] * x[i + HALF]
    return tree(squares)


@jitable
def is_tame(own, limits):
    """Whether products with a bound are normal or 0, so that rounding them is relative."""
    wide_vectors()
    wild = False
    for i in range(LEAF):
        magnitude = np.abs(own[i])
        wild |= (magnitude > 0) & (magnitude < limits[TAME])
    return not wild


@jitable
def clear(results, own, sound, cleared, limits):
    """Results, replaced by the value itself where these or that are not finite: no error there.

    And whether any was; and whether any error may be beyond the bound, where no is never wrong.
    All of it is at the width of the source, which is twice as fast as float64 for float32.
    """
    wide_vectors()
    lacking, candidate = False, False
    for i in range(LEAF):
        error = np.abs(results[i] - own[i])
        compared = error < limits[INFINITE]
        cleared[i] = results[i] if compared else sound[i]
        lacking |= not compared
        candidate |= compared & (error > limits[BOUND] * np.abs(own[i]))
    return lacking, candidate


@jitable
def square(cleared, x, errors, squares):
    """Errors and their squares, folded once."""
    wide_vectors()
    for i in range(HALF):
        a, b = np.float64(cleared[i]) - x[i], np.float64(cleared[i + HALF]) - x[i + HALF]
        errors[i] = a + b
        squares[i] = a * a + b * b


@jitable
def is_beyond(cleared, x, bound):
    """Whether any |error| / |x| is beyond a bound; a product decides, since divisions are slow."""
    wide_vectors()
    candidate = False
    for i in range(LEAF):
        candidate |= np.abs(np.float64(cleared[i]) - x[i]) > bound * np.abs(x[i])
    return candidate


@jitable
def worst(cleared, x, size, largest, where, index):
    """The largest relative error and the index of the first element with it."""
    for i in range(size):
        error = np.abs(np.float64(cleared[i]) - x[i])
        if error > 0 and error / np.abs(x[i]) > largest:
            largest, where = error / np.abs(x[i]), index + i
    return largest, where


@jitable
def signal_of_compared(results, own, sound, kept, squares, limits):
    """The sum of the squares of values whose results are finite; and how many there are."""
    wide_vectors()
    count = np.int64(0)
    for i in range(LEAF):
        compared = np.abs(results[i] - own[i]) < limits[INFINITE]
        kept[i] = sound[i] if compared else limits[NOTHING]
        count += np.int64(compared)
    for i in range(HALF):
        a, b = np.float64(kept[i]), np.float64(kept[i + HALF])
        squares[i] = a * a + b * b
    return tree(squares), count


@jitable
def bound_at_a_glance(largest):
    """What a bound is lowered to, so that rounded products pass over no element beyond it.

    With a power of two, such as the 1.0 of whatever became zero, products are exact.
    """
    return largest if math.frexp(largest)[0] == 0.5 else largest * (1 - 2.0**-20)


def _sums_loop(bits, values, first, flats, sums, compared, largest, where):
    wide_vectors()
    rows, wide = np.zeros((5, LEAF), values.dtype), np.zeros((2, LEAF))
    bits, values, flats = borrowed(bits), borrowed(values), borrowed(flats)
    results, own, sound = borrowed(rows[0]), borrowed(rows[1]), borrowed(rows[2])
    cleared, limits, made = borrowed(rows[3]), borrowed(rows[4]), borrowed(rows[0].view(bits.dtype))
    x, errors, squares = borrowed(wide[0]), borrowed(wide[1][:HALF]), borrowed(wide[1][HALF:])
    limits[INFINITE], limits[TAME] = np.inf, LEAST_TAME
    for start in range(0, bits.size, LEAF):
        part, given = bits[start : start + LEAF], values[start : start + LEAF]
        size, index = part.size, first + start
        for i in range(size):
            own[i] = given[i]
        own[size:], made[size:] = 0.0, 0
        for i in range(LEAF):
            sound[i] = own[i] if np.abs(own[i]) < limits[INFINITE] else limits[NOTHING]
            x[i] = sound[i]
        signal, tame = signal_of(x, squares), is_tame(own, limits)
        for f in range(flats.shape[0]):
            plan = unflattened(flats[f])
            for i in range(size):
                made[i] = one(part[i], index + i, index >> 32, plan)
            limits[BOUND] = bound_at_a_glance(largest[f])
            lacking, candidate = clear(results, own, sound, cleared, limits)
            bound = largest[f] * (1 + 2.0**-50)  # ratios of floats are equal or further apart
            if (candidate or not tame) and is_beyond(cleared, x, bound):
                largest[f], where[f] = worst(cleared, x, size, largest[f], where[f], index)
            square(cleared, x, errors, squares)
            row = sums[start // FOLD, f]
            row[0] += tree(errors)
            row[1] += tree(squares)
            compared[f] += size
            if lacking:  # without finite results; what pads the leaf is not counted
                compared_signal, count = signal_of_compared(
                    results, own, sound, cleared, squares, limits
                )
                row[2] += compared_signal
                compared[f] += count - LEAF
            else:
                row[2] += signal
    keep(rows)
    keep(wide)
