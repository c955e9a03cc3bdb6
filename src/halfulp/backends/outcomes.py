"""L1: what would become of updates if weights were kept in a format: counted, for each strategy.

A weight w (any float64) is first put in the format, then the update d, any float64, is added
exactly and rounded once, as the strategy says. Its strategies: nearest; stochastic; Kahan, whose
compensation begins with what the format lost of w and whose sums pass through float32, as
:mod:`halfulp.training.storage` keeps it. float32 itself stands for a master copy, and for split.
"""

from __future__ import annotations

from functools import cache, lru_cache
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
from halfulp.casting import Cast, cast_to
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


def outcome(
    weights: Array, updates: Array, format: str, *, seed: int = 0,
    strategies: tuple[str, ...] = STRATEGIES,
) -> Outcome:  # fmt: skip
    """What becomes of updates (float64) of weights (float64, of one size) kept in a format.

    ``seed`` is for stochastic rounding, which takes 32 random bits an element. Of ``strategies``
    that are left out nothing is counted, and nearest is always.
    Raises HalfulpError for a format that float64 kernels cannot round to.

    >>> half = 2.0**-11  # of float16's ulp at 1; downwards the gap is half as wide
    >>> found = outcome(np.ones(3), np.array([half, -half, 0.0]), "float16")
    >>> found.updates, int(found.lost[0])
    (2, 1)
    """
    w, d = (np.ascontiguousarray(x, np.float64).reshape(-1) for x in (weights, updates))
    cast, chance, carriers = _casts(format)
    kernel = _kernel(*_shapes(format), *(name in strategies for name in STRATEGIES[1:]))
    near = flat_plan(cast, carriers[0], 0, codes=False)
    by_chance = flat_plan(chance, carriers[1], seed, codes=False)
    stretches = -(-w.size // STRETCH)
    counts, sums = np.zeros((stretches, 4), np.int64), np.zeros((stretches, 7))

    def work(start: int, end: int) -> None:
        for i in range(start, end):
            part = slice(i * STRETCH, (i + 1) * STRETCH)
            kernel(w[part], d[part], i * STRETCH, near, by_chance, counts[i], sums[i])

    in_threads(stretches, work, 1)
    whole, added = counts.sum(axis=0), _in_order(sums)
    return Outcome(int(whole[0]), float(added[0]), whole[1:], added[1:4], added[4:])


@lru_cache(maxsize=256)
def _casts(format: str) -> tuple[Cast, Cast, tuple[Carrier, Carrier]]:
    """Casts to nearest and by chance, and what carries each."""
    cast, chance = cast_to(format), cast_to(format, "stochastic", random_bits=32)
    at, by_chance = (carrier_of(patterns.FLOAT64, c) for c in (cast, chance))
    if at is None or by_chance is None or not cast.target.signed:
        raise HalfulpError(f"updates in {format} cannot be counted: it is too wide, or has no sign")
    return cast, chance, (at, by_chance)


@lru_cache(maxsize=256)
def _shapes(format: str) -> tuple[Carrier, Shape, Carrier, Shape]:
    cast, chance, (at, by_chance) = _casts(format)
    near = shape_of(cast, at, codes=False)
    return at, near, by_chance, shape_of(chance, by_chance, codes=False)


def _in_order(sums: Array) -> Array:
    return np.array(sums.cumsum(axis=0)[-1] if len(sums) else np.zeros(sums.shape[1]))


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.

#: What a loop calls; compiled() puts it in place.
one: Any = None


@cache
def _kernel(
    at: Carrier, nearest: Shape, by_chance: Carrier, chance: Shape, draws: bool, compensates: bool
) -> Any:  # fmt: skip
    """``(weights, updates, index of the first, two flat plans, counts, sums)``."""
    name = f"outcomes_{named(at, nearest)}_{named(by_chance, chance)}_{draws:d}{compensates:d}"
    leaf = _leaf(cast_one(at, nearest), cast_one(by_chance, chance), draws, compensates)
    return compiled(_loop, name, leaf)


def _loop(weights, updates, first, near, by_chance, counts, sums):
    wide_vectors()
    mine, totals = np.zeros((7, LEAF)), np.zeros((7, LANES))
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


def _leaf(near_of: Any, chance_of: Any, draws: bool, compensates: bool) -> Any:
    @jitable
    def leaf(weights, updates, first, near, by_chance, scratch, counts, added):
        wide_vectors()
        plan, chance_plan = unflattened(near), unflattened(by_chance)
        size, high = weights.size, first >> 32  # a stretch crosses no multiple of 2**32
        kept, moved, sums = scratch[0, :size], scratch[1, :size], scratch[2, :size]
        rest, left, meant, none = (
            scratch[3, :size], scratch[4, :size], scratch[5, :size], scratch[6, :size],
        )  # fmt: skip
        for i in range(size):
            d = updates[i]
            fits = (np.abs(d) < np.inf) & (np.abs(weights[i]) < np.inf)
            meant[i] = d if fits else 0.0
        for i in range(size):
            kept[i] = from_pattern(near_of(pattern(weights[i]), 0, 0, plan))
            sums[i] = odd_sum(kept[i], meant[i])
        for i in range(size):
            moved[i] = from_pattern(near_of(pattern(sums[i]), 0, 0, plan))
        count_meant(meant, counts, added)
        count_moved(meant, kept, none, moved, none, 0, counts, added)
        if draws:
            for i in range(size):
                drawn = chance_of(pattern(sums[i]), first + i, high, chance_plan)
                moved[i] = from_pattern(drawn)
            count_moved(meant, kept, none, moved, none, 1, counts, added)
        if compensates:
            for i in range(size):
                rest[i] = from_pattern(near_of(pattern(weights[i] - kept[i]), 0, 0, plan))
                value = np.float64(np.float32(odd_sum(kept[i] + rest[i], meant[i])))
                sums[i] = value
            for i in range(size):
                moved[i] = from_pattern(near_of(pattern(sums[i]), 0, 0, plan))
                left[i] = from_pattern(near_of(pattern(sums[i] - moved[i]), 0, 0, plan))
            count_moved(meant, kept, rest, moved, left, 2, counts, added)

    return leaf


@jitable
def count_meant(meant, counts, added):
    """Count and add up the updates that were intended."""
    nonzero = 0
    for i in range(meant.size):
        nonzero += meant[i] != 0
    counts[0] += nonzero
    whole = meant.size - meant.size % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            added[0, lane] += meant[start + lane] * meant[start + lane]
    for lane in range(meant.size - whole):
        added[0, lane] += meant[whole + lane] * meant[whole + lane]


@jitable
def count_moved(meant, kept, rest, moved, left, row, counts, added):
    """Count and add up what became of them: weights and what is kept beside, before and after.

    ``moved`` is lost: it is overwritten with what arrived.
    """
    lost = 0
    for i in range(meant.size):
        held = (meant[i] != 0) & (np.abs(kept[i]) < np.inf)  # beyond it nothing is left to lose
        lost += held & (moved[i] == kept[i]) & (left[i] == rest[i])
    counts[1 + row] += lost
    for i in range(meant.size):
        arrived = (moved[i] + left[i]) - (kept[i] + rest[i])
        moved[i] = arrived if (meant[i] != 0) & (np.abs(arrived) < np.inf) else 0.0
    whole = meant.size - meant.size % LANES
    squares, products = added[1 + row], added[4 + row]
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            squares[lane] += moved[start + lane] * moved[start + lane]
            products[lane] += moved[start + lane] * meant[start + lane]
    for lane in range(meant.size - whole):
        squares[lane] += moved[whole + lane] * moved[whole + lane]
        products[lane] += moved[whole + lane] * meant[whole + lane]
