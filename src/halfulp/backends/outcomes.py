"""L1: what would become of updates if weights were kept in a format: counted, for each strategy.

A weight w (any float64) is first put in the format, then the update d, any float64, is added
exactly and rounded once, as the strategy says. Its strategies: nearest; stochastic; Kahan, whose
compensation begins with what the format lost of w and whose sums pass through float32, as
:mod:`halfulp.training.storage` keeps it. float32 itself stands for a master copy, and for split.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

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
from halfulp.backends.odd import from_pattern, odd_sum, pattern
from halfulp.backends.references import borrowed, keep
from halfulp.backends.symbols import jitable
from halfulp.casting import cast_to
from halfulp.errors import HalfulpError
from halfulp.patterns import Carrier, Shape, shape_of

Array = npt.NDArray[Any]

#: The strategies that are counted together, in the order of the rows of an outcome.
STRATEGIES = ("nearest", "stochastic", "kahan")
#: Elements whose sums are formed alone, then added in order: no number of threads changes them.
STRETCH = 1 << 16
LEAF = 1 << 9  # what is computed at a time, in an L1 cache
LANES = 8  # sums that run side by side


class Outcome(NamedTuple):
    """What became of updates; sums are float64, over elements whose results are finite."""

    updates: int  # nonzero, finite ones of finite weights
    intended: float  # sum of squares of these
    lost: Array  # by strategy: those that leave all that is kept of the weight as it was
    effective: Array  # by strategy: sum of squares of what arrived
    product: Array  # by strategy: sum of arrived times intended

    def merged(self, other: Outcome) -> Outcome:
        """What became of these and of others."""
        return Outcome(
            self.updates + other.updates,
            self.intended + other.intended,
            self.lost + other.lost,
            self.effective + other.effective,
            self.product + other.product,
        )


def outcome(weights: Array, updates: Array, format: str, *, seed: int = 0) -> Outcome:
    """What becomes of updates (float64) of weights (float64, of one size) kept in a format.

    ``seed`` is for stochastic rounding, which takes 32 random bits an element.
    Raises HalfulpError for a format that float64 kernels cannot round to.

    >>> half = 2.0**-11  # of float16's ulp at 1; downwards the gap is half as wide
    >>> found = outcome(np.ones(3), np.array([half, -half, 0.0]), "float16")
    >>> found.updates, int(found.lost[0])
    (2, 1)
    """
    w, d = (np.ascontiguousarray(x, np.float64).reshape(-1) for x in (weights, updates))
    cast, chance = cast_to(format), cast_to(format, "stochastic", random_bits=32)
    at, by_chance = (carrier_of(patterns.FLOAT64, c) for c in (cast, chance))
    if at is None or by_chance is None or not cast.target.signed:
        raise HalfulpError(f"updates in {format} cannot be counted: it is too wide, or has no sign")
    kernel = _kernel(
        at, shape_of(cast, at, codes=False), by_chance, shape_of(chance, by_chance, codes=False)
    )
    plans = flat_plan(cast, at, 0, codes=False), flat_plan(chance, by_chance, seed, codes=False)
    stretches = -(-w.size // STRETCH)
    counts, sums = np.zeros((stretches, 4), np.int64), np.zeros((stretches, 7))

    def work(start: int, end: int) -> None:
        for i in range(start, end):
            part = slice(i * STRETCH, (i + 1) * STRETCH)
            kernel(w[part], d[part], i * STRETCH, *plans, counts[i], sums[i])

    in_threads(stretches, work, 1)
    whole, added = counts.sum(axis=0), _in_order(sums)
    return Outcome(int(whole[0]), float(added[0]), whole[1:], added[1:4], added[4:])


def _in_order(sums: Array) -> Array:
    return np.array(sums.cumsum(axis=0)[-1] if len(sums) else np.zeros(sums.shape[1]))


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.

#: What a loop calls; compiled() puts it in place.
one: Any = None


@cache
def _kernel(at: Carrier, nearest: Shape, by_chance: Carrier, chance: Shape) -> Any:
    """``(weights, updates, index of the first, two flat plans, counts, sums)``."""
    name = f"outcomes_{named(at, nearest)}_{named(by_chance, chance)}"
    return compiled(_loop, name, _leaf(cast_one(at, nearest), cast_one(by_chance, chance)))


def _loop(weights, updates, first, near, by_chance, counts, sums):
    wide_vectors()
    mine, totals = np.empty((6, LEAF)), np.zeros((7, LANES))
    scratch, added = borrowed(mine), borrowed(totals)
    weights, updates = borrowed(weights), borrowed(updates)
    for start in range(0, weights.size, LEAF):
        end = min(start + LEAF, weights.size)
        one(
            weights[start:end], updates[start:end], first + start, near, by_chance, scratch,
            counts, added,
        )  # fmt: skip
    for row in range(len(sums)):
        sums[row] = totals[row].sum()
    keep(mine)
    keep(totals)


def _leaf(near_of: Any, chance_of: Any) -> Any:
    @jitable
    def leaf(weights, updates, first, near, by_chance, scratch, counts, added):
        wide_vectors()
        plan, chance_plan = unflattened(near), unflattened(by_chance)
        size, high = weights.size, first >> 32  # a stretch crosses no multiple of 2**32
        kept, moved, drawn, rest, late, left = (
            scratch[0, :size], scratch[1, :size], scratch[2, :size],
            scratch[3, :size], scratch[4, :size], scratch[5, :size],
        )  # fmt: skip
        for i in range(size):
            kept[i] = from_pattern(near_of(pattern(weights[i]), 0, 0, plan))
        for i in range(size):
            bits = pattern(odd_sum(kept[i], updates[i]))
            moved[i] = from_pattern(near_of(bits, 0, 0, plan))
            drawn[i] = from_pattern(chance_of(bits, first + i, high, chance_plan))
        for i in range(size):
            lacking = weights[i] - kept[i]
            rest[i] = from_pattern(near_of(pattern(lacking), 0, 0, plan))
        for i in range(size):
            value = np.float64(np.float32(odd_sum(kept[i] + rest[i], updates[i])))
            late[i] = from_pattern(near_of(pattern(value), 0, 0, plan))
            left[i] = from_pattern(near_of(pattern(value - late[i]), 0, 0, plan))
        tallied(weights, updates, scratch, counts, added)

    return leaf


@jitable
def tallied(weights, updates, scratch, counts, added):
    """Count and add up what a leaf computed."""
    nonzero = lost_near = lost_chance = lost_kahan = 0
    for i in range(weights.size):
        old, compensation = scratch[0, i], scratch[3, i]
        d = updates[i]
        meant = (d != 0) & (np.abs(d) < np.inf) & (np.abs(weights[i]) < np.inf)
        held = meant & (np.abs(old) < np.inf)  # beyond the format, nothing is left to lose
        nonzero += meant
        lost_near += held & (scratch[1, i] == old)
        lost_chance += held & (scratch[2, i] == old)
        lost_kahan += held & (scratch[4, i] == old) & (scratch[5, i] == compensation)
    counts[0] += nonzero
    counts[1] += lost_near
    counts[2] += lost_chance
    counts[3] += lost_kahan
    for start in range(0, weights.size, LANES):
        for lane in range(min(LANES, weights.size - start)):
            i = start + lane
            old, d, w = scratch[0, i], updates[i], weights[i]
            meant = (d != 0) & (np.abs(d) < np.inf) & (np.abs(w) < np.inf)
            intended = d if meant else 0.0
            before = old + scratch[3, i]
            near, chance = scratch[1, i] - old, scratch[2, i] - old
            kahan = (scratch[4, i] + scratch[5, i]) - before
            near = near if meant & (np.abs(near) < np.inf) else 0.0
            chance = chance if meant & (np.abs(chance) < np.inf) else 0.0
            kahan = kahan if meant & (np.abs(kahan) < np.inf) else 0.0
            added[0, lane] += intended * intended
            added[1, lane] += near * near
            added[2, lane] += chance * chance
            added[3, lane] += kahan * kahan
            added[4, lane] += near * intended
            added[5, lane] += chance * intended
            added[6, lane] += kahan * intended
