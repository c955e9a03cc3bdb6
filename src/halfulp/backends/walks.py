"""L1: the whole time loop of a walk in one kernel, over any number of weights.

The state is held in float64, which holds every number of the formats it is used for. Sums are
formed in float64, rounded to odd where they are not exact (their error is known exactly), and then
rounded once to the format by the rule: that is the exact sum rounded once for every precision up to
51 bits (Boldo and Melquiond 2008, theorem 3). Formats that do not fit take the exact Python loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.backends.kernels import FLOAT64, cast_one, compiled, flat_plan, named, unflattened
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import FLOAT_DTYPES, cast_array, in_threads
from halfulp.backends.odd import odd_sum
from halfulp.backends.symbols import jitable
from halfulp.casting import cast_to
from halfulp.catalogue import Format
from halfulp.errors import HalfulpError, too_many_steps
from halfulp.exact import Number, number
from halfulp.patterns import Shape, shape_of

Array = npt.NDArray[Any]

# Weights that go through all steps together: their state stays in the first-level cache.
BLOCK = 512
# What one weight takes in about a second; beyond, only what has settled by then is answered.
MOST_STEPS = 20_000_000

#: What the loop calls for each element; compiled() puts it in place.
one: Any = None


def fits(target: Format) -> bool:
    """Whether sums in the format are exact in float64, once rounded to odd."""
    return target.precision <= 51 and target.emin >= -1000 and target.emax <= 1000


def walk_number(
    start: Number, added: Number | Sequence[Number], steps: int, strategy: str, target: Format,
    seed: int, record: Sequence[int],
) -> tuple[Number, int, int | None, tuple[tuple[int, Number], ...]] | None:  # fmt: skip
    """What halfulp.simulation.simulate gives, or None where float64 cannot hold the numbers."""
    constant = isinstance(added, Number)
    each = [added] if isinstance(added, Number) else added
    floats = [g.to_float() for g in each]
    inexact = any(f != g.value or abs(f) > 1e300 for f, g in zip(floats, each, strict=True))
    if inexact or not fits(target):
        return None
    marks = np.array(record[1:], dtype=np.int64)
    w, lost, stall, path = _run(
        np.array([start.to_float()]), np.array(floats).reshape(-1, 1), steps, target, strategy,
        seed, marks,
    )  # fmt: skip
    stalls = strategy != "stochastic" and constant and stall[0] >= 0
    values = [start, *(number(v) for v in path[:, 0])]
    return (
        number(w[0]), int(lost[0]), int(stall[0]) if stalls else None,
        tuple(zip(record, values, strict=True)),
    )  # fmt: skip


def walk_array(
    weight: Array, gradient: Any, steps: int | None, target: Format, state_format: Format,
    strategy: str, learning_rate: Any, gradient_format: Format | None, seed: int,
) -> Any:  # fmt: skip
    """The fields of :class:`halfulp.updates.ArrayWalk` after its format; see there."""
    if not fits(state_format):
        raise HalfulpError(
            f"arrays cannot walk in {state_format}: its sums do not fit float64; walk one weight"
        )
    given = _floats(weight, "weights")
    w = _in_format(given, state_format)
    held = None if strategy == "exact" else gradient_format
    g, steps, constant = _gradients(gradient, w.shape, steps, learning_rate, held)
    if strategy == "exact":
        total = steps * g[0] if constant else g.sum(axis=0)
        final = given + total.reshape(_each(total, w.shape))
        none = np.zeros(w.shape, np.int64)
        return steps, final, None, none, none, None
    final, lost, stall, _ = _run(
        w.reshape(-1), g, steps, state_format, strategy, seed, np.empty(0, np.int64)
    )
    moved = (g != 0).sum(axis=0) * (steps if constant else 1)
    updates = np.broadcast_to(moved, w.size).reshape(w.shape).astype(np.int64)
    final = final.reshape(w.shape)
    stored = cast_array(final, cast_to(target)) if strategy == "master" else None
    stalls = stall.reshape(w.shape) if constant and strategy != "stochastic" else None
    return steps, final, stored, updates, lost.reshape(w.shape), stalls


def _each(total: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape if total.size == int(np.prod(shape)) else (1,) * len(shape)


def _in_format(values: Array, target: Format | None) -> Array:
    """Float64 copies of values rounded once from what they were."""
    wide = np.ascontiguousarray(values, dtype=np.float64)
    wide = wide.copy() if wide is values else wide
    return wide if target is None else cast_array(wide, cast_to(target))


def _gradients(
    gradient: Any, shape: tuple[int, ...], steps: int | None, learning_rate: Any,
    gradient_format: Format | None,
) -> tuple[Array, int, bool]:  # fmt: skip
    """Updates as (steps or 1, weights or 1), how many steps, and whether they are all the same."""
    g = _floats(gradient, "gradients")
    constant = g.ndim == 0 or g.shape == shape
    if not constant and (g.ndim != len(shape) + 1 or not _broadcasts(g.shape[1:], shape)):
        raise HalfulpError(
            f"gradients of shape {g.shape} do not fit weights of shape {shape}: give that shape, "
            "or one axis of steps before it"
        )
    if steps is None and constant:
        raise HalfulpError("steps is missing: say how many, or give one gradient a step")
    if not constant and steps not in (None, g.shape[0]):
        raise HalfulpError(f"{g.shape[0]} gradients were given for {steps} steps: one a step")
    if not np.isfinite(g).all():
        raise HalfulpError("the gradients hold inf or nan: a walk needs finite numbers")
    rows = 1 if constant else g.shape[0]
    if not constant and g.shape[1:] != shape and g[0].size != 1:
        g = np.broadcast_to(g, (rows, *shape))
    flat = _in_format(g.reshape(rows, -1), gradient_format)
    if learning_rate is not None:
        rate = number(learning_rate)
        rate = cast_to(gradient_format).number(rate) if gradient_format else rate
        if not rate.is_finite:
            raise HalfulpError(f"the learning rate is {rate}: a walk needs finite numbers")
        flat = _in_format(flat * rate.to_float(), gradient_format)
    if not np.isfinite(flat).all():
        raise HalfulpError(f"an update is beyond {gradient_format}: choose another gradient_format")
    return flat, rows if steps is None else steps, constant


def _floats(values: Any, name: str) -> Array:
    """Real numbers as float64, or an error."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "iuf" or array.dtype.name in FLOAT_DTYPES:
            return array.astype(np.float64)
    except ValueError:  # a ragged list
        pass
    raise HalfulpError(f"the {name} are no array of real numbers: give floats")


def _broadcasts(inner: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    return all(a in (1, b) for a, b in zip(inner, shape, strict=True))


def _run(
    w: Array, g: Array, steps: int, state_format: Format, strategy: str, seed: int, marks: Array
) -> tuple[Array, Array, Array, Array]:
    rounding_name = "stochastic" if strategy == "stochastic" else "nearest_even"
    cast = cast_to(state_format, rounding_name)
    w = np.ascontiguousarray(w, dtype=np.float64).copy()
    lost, stall = np.zeros(w.size, np.int64), np.full(w.size, -1, np.int64)
    path = np.empty((marks.size, w.size))
    shape = shape_of(cast, FLOAT64, codes=False)
    constant = g.shape[0] == 1
    settles = constant and (strategy != "stochastic" or not g.any())
    limit = min(steps, MOST_STEPS) if constant else steps
    job = flat_plan(cast, FLOAT64, seed, codes=False)
    kernel = _walk_kernel(strategy == "kahan", shape)
    leap_kernel = _leap_kernel(shape)
    leaps = constant and not marks.size and strategy not in ("kahan", "stochastic")

    def work(start: int, end: int) -> int:
        if leaps:
            leap_kernel(w, g, (start, end), steps, lost, stall, job)
            return 0
        span = (start, end)
        return int(kernel(w, g, span, steps, limit, settles, lost, stall, marks, path, job))

    if sum(in_threads(w.size, work, piece=BLOCK)) and limit < steps:
        raise too_many_steps(steps, strategy, limit)
    return w, lost, stall, path


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.


@jitable
def same(a, b):
    """The same number, NaN included."""
    return (a == b) | ((a != a) & (b != b))


@cache
def _walk_kernel(kahan: bool, shape: Shape) -> Any:
    strategy = "kahan" if kahan else "plain"
    return compiled(_walk_loop, f"walk_{strategy}_{named(FLOAT64, shape)}", _step(kahan, shape))


@cache
def _leap_kernel(shape: Shape) -> Any:
    return compiled(_leap_loop, f"leap_{named(FLOAT64, shape)}", _step(False, shape))


def _step(kahan: bool, shape: Shape) -> Any:
    cast_pattern = cast_one(FLOAT64, shape)

    @jitable
    def rounded(value, plan, element, step):
        """A float64 to the nearest number of the format, as the cast kernel does it."""
        pattern = cast_pattern(np.float64(value).view(np.int64), element, step, plan)
        return np.int64(pattern).view(np.float64)

    @jitable
    def step_once(before, had, update, plan, element, step):
        """The weight and what is carried after one update."""
        if not kahan:  # resolved when compiled
            return rounded(odd_sum(before, update), plan, element, step), had
        pending = rounded(odd_sum(had, update), plan, element, step)
        after = rounded(odd_sum(before, pending), plan, element, step)
        taken = rounded(odd_sum(before, -after), plan, element, step)
        return after, rounded(odd_sum(pending, taken), plan, element, step)

    return step_once


def _walk_loop(w, g, span, steps, limit, settles, lost, stall, marks, path, flat):
    plan = unflattened(flat)
    carried = np.zeros(BLOCK)
    unsettled = 0
    for start in range(span[0], span[1], BLOCK):
        end = min(start + BLOCK, span[1])
        carried[:] = 0.0
        mark, still = 0, 0
        for step in range(limit):
            row = step if g.shape[0] > 1 else 0
            still = 0
            for i in range(start, end):
                update = g[row, i if g.shape[1] > 1 else 0]
                before, had = w[i], carried[i - start]
                after, left = one(before, had, update, plan, i, step)
                unmoved = same(after, before) & same(left, had)
                is_lost = unmoved & (update != 0) & (np.abs(after) < np.inf)
                w[i], carried[i - start] = after, left
                lost[i] += is_lost
                still += unmoved
                stall[i] = step if is_lost & (stall[i] < 0) else stall[i]
            if mark < marks.size and marks[mark] == step + 1:
                path[mark, start:end] = w[start:end]
                mark += 1
            if settles and still == end - start:  # nothing in this block can ever move again
                for i in range(start, end):
                    nonzero = g[0, i if g.shape[1] > 1 else 0] != 0
                    lost[i] += (steps - step - 1) * (nonzero & (np.abs(w[i]) < np.inf))
                break
        unsettled += end - start - (still if settles else 0)
        for rest in range(mark, marks.size):
            path[rest, start:end] = w[start:end]
    return unsettled


def _leap_loop(w, g, span, steps, lost, stall, flat):
    """Weights under nearest-even and always the same update, by leaps.

    Within a binade the spacing is the same everywhere, so that rounding w + g depends only on where
    w lies between two even numbers, and where the sum is no tie not even on that: the next move is
    then the same, up to the last number before the binade's end. After a tie two equal moves in
    turn, which shift the weight by an even distance, say as much. All other moves are the rule's.
    """
    wide_vectors()
    plan = unflattened(flat)
    x, after, last, update = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    step, element = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    for start in range(span[0], span[1], BLOCK):
        moving = min(BLOCK, span[1] - start) if steps else 0
        for j in range(moving):
            x[j], last[j], step[j], element[j] = w[start + j], 0.0, 0, start + j
            update[j] = g[0, start + j if g.shape[1] > 1 else 0]
        while moving:
            for j in range(moving):
                after[j], _ = one(x[j], 0.0, update[j], plan, 0, 0)
            for j in range(moving):
                leap, move = _leap(x[j], after[j], update[j], last[j], plan)
                leap = min(leap, steps - step[j] - 1)
                last[j] = move
                after[j] += leap * move if leap > 0 else 0.0
                step[j] += leap + 1
            left = 0  # those that still move close up
            for j in range(moving):
                if same(after[j], x[j]):
                    finite_loss = (update[j] != 0) & (np.abs(x[j]) < np.inf)
                    lost[element[j]] = steps - step[j] + 1 if finite_loss else 0
                    stall[element[j]] = step[j] - 1 if finite_loss else -1
                if same(after[j], x[j]) | (step[j] >= steps):
                    w[element[j]] = after[j]
                else:
                    x[left], last[left], update[left] = after[j], last[j], update[j]
                    step[left], element[left] = step[j], element[j]
                    left += 1
            moving = left


@jitable
def _leap(before, after, update, last, plan):
    """How many more moves are the same as the last one, and that move (0 where binades changed)."""
    binade = _sign_and_exponent(after)
    stays = binade == _sign_and_exponent(before)
    move = after - before if stays else 0.0
    low = np.int64(binade << 52).view(np.float64)  # where the binade begins, in the weight's sign
    top = np.int64(plan.largest).view(np.float64)
    end = np.copysign(min(2 * np.abs(low), top), after) if (move > 0) == (after > 0) else low
    spacing = np.abs(low) * 2.0**-52 * np.float64(1 << plan.place.drop)
    # Below the least normal number the spacing is wider than that: every sum then looks like a tie.
    nearly_tie = np.abs((before - after) + update) > 0.499 * spacing
    sure = stays & (move != 0) & ((move == last) | (not nearly_tie))
    leap = np.ceil((end - after) / move) - 1 if sure else 0.0
    return np.int64(min(max(leap, 0.0), 2.0**62)), move


@jitable
def _sign_and_exponent(value):
    return np.float64(value).view(np.int64) >> 52
