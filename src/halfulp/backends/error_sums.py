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
    flattened,
    named,
    unflattened,
)
from halfulp.backends.lanes import inlined, wide_vectors
from halfulp.backends.numpy import (
    in_threads,
)
from halfulp.backends.references import borrowed, keep
from halfulp.backends.symbols import jitable
from halfulp.casting import Cast, number_code
from halfulp.exact import number
from halfulp.patterns import Carrier, Shape, for_errors, leaps

Array = npt.NDArray[Any]

# Elements that are left of a leaf when it is folded in registers: eight lanes in eight vectors.
PART = LEAF // 16
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
    flat: list[Array] = []
    for i, cast in enumerate(casts):
        carrier = carrier_for(cast, x.dtype)
        shape, plan = for_errors(cast, carrier, seed if cast.is_stochastic else 0)
        flat.append(flattened(plan))
        groups.setdefault((carrier, shape), []).append(i)
    found: list[Sums] = [Sums(0, 0.0, 0.0, 0.0, 0.0, -1)] * len(casts)
    for (carrier, shape), members in groups.items():
        flats = np.stack([flat[i] for i in members])
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
    return compiled(_sums_loop, f"sums_{named(carrier, shape)}", _sums_of_leaf(carrier, shape))


def _sums_loop(bits, values, first, flats, sums, compared, largest, where):
    wide_vectors()
    rows, wide = np.zeros((5, LEAF), values.dtype), np.zeros((3, LEAF))
    bits, values, flats = borrowed(bits), borrowed(values), borrowed(flats)
    own, narrow, broad = borrowed(rows[0]), borrowed(rows[1:]), borrowed(wide)
    patterns = borrowed(rows[0].view(bits.dtype))
    for start in range(0, bits.size, LEAF):
        given = values[start : start + LEAF]
        for i in range(given.size):
            own[i] = given[i]
        own[given.size :] = 0.0
        found = sums[start // FOLD], compared, largest, where
        one(patterns, own, given.size, first + start, flats, narrow, broad, found)
    keep(rows)
    keep(wide)


def _sums_of_leaf(carrier: Carrier, shape: Shape) -> Any:
    largest_of_leaf, round_leaf = _largest_of_leaf(carrier), _rounded_leaf(carrier, shape)

    @jitable
    def sums_of_leaf(patterns, own, size, index, flats, narrow, broad, found):
        sums, compared, largest, where = found
        sound, results, cleared, limits = narrow[0], narrow[1], narrow[2], narrow[3]
        x, errors, squares = broad[0], broad[1], broad[2]
        limits[INFINITE], limits[TAME] = np.inf, LEAST_TAME
        make_sound(own, sound, limits)
        for i in range(LEAF):
            x[i] = sound[i]
        signal, top = signal_of(x, squares), largest_of_leaf(patterns)
        for f in range(flats.shape[0]):
            limits[BOUND] = bound_at_a_glance(largest[f])
            missing, candidate = round_leaf(
                patterns, own, sound, results, cleared, index, flats[f], top, limits
            )
            used = cleared if missing else results
            if candidate or (largest[f] < 1 and not is_tame(own, limits)):
                bound = largest[f] * (1 + 2.0**-50)  # ratios of floats are equal or further apart
                if is_beyond(used, x, bound):
                    largest[f], where[f] = worst(used, x, size, largest[f], where[f], index)
            row = sums[f]
            add_errors(used, x, errors, squares, row)
            compared[f] += size - missing
            if not missing:
                row[2] += signal
            else:
                for i in range(size, LEAF):  # what pads the leaf is not counted
                    compared[f] += not np.abs(results[i]) < limits[INFINITE]
                keep_compared(results, own, cleared, limits)
                row[2] += signal_of(cleared, squares)

    return sums_of_leaf


def _rounded_leaf(carrier: Carrier, shape: Shape) -> Any:
    """A leaf under one cast, at the width of the source: twice as fast as float64 for float32."""
    rounded, widen, store = cast_one(carrier, shape), carrier.widen, carrier.store
    infinity, bounded = number_code(carrier.source, number("inf")), not leaps(shape)
    # Then a finite result of the largest magnitude tells that all are.
    ordered = shape.plain and bounded

    @jitable
    def clear(results, own, sound, cleared, infinite):
        """Results, and values where either is not finite: no error there; and how many were."""
        inlined()
        missing = widen(0)
        for i in range(LEAF):
            value, result, instead = own[i], results[i], sound[i]
            is_compared = np.abs(result - value) < infinite
            cleared[i] = result if is_compared else instead
            missing = missing + widen(not is_compared)
        return np.int64(store(missing))

    @jitable
    def any_beyond(cleared, sound, bound):
        """Whether any error may be beyond the bound, where no is never wrong."""
        inlined()
        candidates = widen(0)
        for i in range(LEAF):
            value = sound[i]
            candidates = candidates | widen(np.abs(cleared[i] - value) > bound * np.abs(value))
        return store(candidates) != 0

    @jitable
    def leaf(patterns, own, sound, results, cleared, index, flat, top, limits):
        inlined()
        plan, high, made = unflattened(flat), index >> 32, results.view(patterns.dtype)
        for i in range(LEAF):
            made[i] = rounded(patterns[i], index + i, high, plan)
        missing = 0
        if not (ordered and rounded(top, 0, 0, plan) < infinity):
            missing = clear(results, own, sound, cleared, limits[INFINITE])
        candidate = False
        if not (bounded and limits[BOUND] >= 1):  # nearer than zero is: 1 is never exceeded
            candidate = any_beyond(cleared if missing else results, sound, limits[BOUND])
        return missing, candidate

    return leaf


def _largest_of_leaf(carrier: Carrier) -> Any:
    widen, store = carrier.widen, carrier.store
    magnitudes = (1 << carrier.source.magnitude_bits) - 1

    @jitable
    def largest_of_leaf(patterns):
        """The pattern of the largest magnitude, where a NaN's is the largest of all."""
        inlined()
        largest = widen(0)
        for i in range(LEAF):
            magnitude = widen(patterns[i]) & magnitudes
            largest = magnitude if magnitude > largest else largest
        return store(largest)

    return largest_of_leaf


@jitable
def total(part):
    """The sum of PART numbers, folded in halves; they are overwritten."""
    inlined()
    for i in range(8):
        a, b = part[i] + part[i + 32], part[i + 16] + part[i + 48]
        c, d = part[i + 8] + part[i + 40], part[i + 24] + part[i + 56]
        part[i] = (a + b) + (c + d)
    even = (part[0] + part[4]) + (part[2] + part[6])
    return even + ((part[1] + part[5]) + (part[3] + part[7]))


@jitable
def squares_at(x, i):
    """The squares of four elements, folded twice."""
    a, b, c, d = x[i], x[i + 512], x[i + 256], x[i + 768]
    a, b, c, d = np.float64(a), np.float64(b), np.float64(c), np.float64(d)
    return (a * a + b * b) + (c * c + d * d)


@jitable
def signal_of(x, part):
    """The sum of the squares of a leaf."""
    inlined()
    for i in range(PART):
        even = squares_at(x, i) + squares_at(x, i + 2 * PART)
        part[i] = even + (squares_at(x, i + PART) + squares_at(x, i + 3 * PART))
    return total(part)


@jitable
def is_tame(own, limits):
    """Whether products with a bound are normal or 0, so that rounding them is relative."""
    inlined()
    wild = False
    for i in range(LEAF):
        magnitude = np.abs(own[i])
        wild |= (magnitude > 0) & (magnitude < limits[TAME])
    return not wild


@jitable
def errors_at(cleared, x, i):
    """The errors of four elements, and their squares, folded twice."""
    a, b = np.float64(cleared[i]) - x[i], np.float64(cleared[i + 512]) - x[i + 512]
    c, d = np.float64(cleared[i + 256]) - x[i + 256], np.float64(cleared[i + 768]) - x[i + 768]
    return (a + b) + (c + d), (a * a + b * b) + (c * c + d * d)


@jitable
def add_errors(cleared, x, errors, squares, row):
    """Add a leaf's errors and their squares to a row of sums."""
    inlined()
    for i in range(PART):
        e0, s0 = errors_at(cleared, x, i)
        e1, s1 = errors_at(cleared, x, i + PART)
        e2, s2 = errors_at(cleared, x, i + 2 * PART)
        e3, s3 = errors_at(cleared, x, i + 3 * PART)
        errors[i] = (e0 + e2) + (e1 + e3)
        squares[i] = (s0 + s2) + (s1 + s3)
    row[0] += total(errors)
    row[1] += total(squares)


@jitable
def is_beyond(cleared, x, bound):
    """Whether any |error| / |x| is beyond a bound; a product decides, since divisions are slow."""
    inlined()
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
def make_sound(own, sound, limits):
    """Values, 0 for those that are not finite."""
    inlined()
    infinite, nothing = limits[INFINITE], limits[NOTHING]
    for i in range(LEAF):
        value = own[i]
        sound[i] = value if np.abs(value) < infinite else nothing


@jitable
def keep_compared(results, own, kept, limits):
    """Values whose results are finite, else 0."""
    inlined()
    infinite, nothing = limits[INFINITE], limits[NOTHING]
    for i in range(LEAF):
        value = own[i]
        kept[i] = value if np.abs(results[i] - value) < infinite else nothing


@jitable
def bound_at_a_glance(largest):
    """What a bound is lowered to, so that rounded products pass over no element beyond it.

    With a power of two, such as the 1.0 of whatever became zero, products are exact.
    """
    return largest if math.frexp(largest)[0] == 0.5 else largest * (1 - 2.0**-20)
