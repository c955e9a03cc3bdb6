"""L2: the recurrence walked step by step in exact numbers, under each strategy.

It takes any format and any gradient, and is slow; ``backends/walks.py`` is its compiled twin for
what float64 holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import repeat
from typing import NamedTuple

from halfulp.casting import cast_to
from halfulp.catalogue import Format
from halfulp.errors import too_many_steps
from halfulp.exact import Number, finite
from halfulp.noise import key_of, random_word
from halfulp.units import Endless, Units, Value

# What this loop does in a few seconds.
MOST_STEPS = 100_000
RECORDED = 200
MINUS_ZERO = finite(Fraction(0), negative_zero=True)

State = tuple[Value, Value]  # the weight, and what Kahan's strategy carries over
Step = Callable[[State, Value | Endless, int], State]  # (state, what is added, number of the step)


def _same(a: State, b: State) -> bool:
    """Whether two states are the same numbers, NaN and both zeros included."""
    return all(
        x == y if isinstance(x, int) and isinstance(y, int) else _alike(x, y)
        for x, y in zip(a, b, strict=True)
    )


def _alike(a: Value, b: Value) -> bool:
    if isinstance(a, int) or isinstance(b, int):
        return all(x == 0 if isinstance(x, int) else x == MINUS_ZERO for x in (a, b))
    both = (a.value, a.special) == (b.value, b.special)
    return both and (a.special != "inf" or a.negative == b.negative)


def _plain_step(units: Units, seed: int) -> Step:
    def step(state: State, added: Value | Endless, n: int) -> State:
        return units.sum(state[0], added), state[1]

    return step


def _stochastic_step(units: Units, seed: int) -> Step:
    key = key_of(seed)

    def step(state: State, added: Value | Endless, n: int) -> State:
        return units.sum(state[0], added, random_word(key, 0, n)), state[1]

    return step


def _kahan_step(units: Units, seed: int) -> Step:
    def step(state: State, added: Value | Endless, n: int) -> State:
        weight, carried = state
        carried = units.sum(carried, added)
        after = units.sum(weight, carried)
        taken = units.difference(weight, after)
        return after, units.sum(carried, taken)

    return step


#: The step of each strategy that simulates, made for how it adds and a seed.
STEPS: dict[str, Callable[[Units, int], Step]] = {
    "nearest": _plain_step, "master": _plain_step, "kahan": _kahan_step,
    "stochastic": _stochastic_step,
}  # fmt: skip


class Simulation(NamedTuple):
    """Where a walk ended, and what it lost on the way."""

    final: Number
    lost: int
    stall_step: int | None
    trajectory: tuple[tuple[int, Number], ...]


def simulate(
    start: Number, added: Number | Sequence[Number], steps: int, strategy: str, target: Format,
    seed: int,
) -> Simulation:  # fmt: skip
    """Walk from ``start`` (a number of ``target``), adding the same number or one a step.

    A state that repeats itself ends it early. Raises HalfulpError where too many steps remain.
    """
    cast = cast_to(target, "stochastic" if strategy == "stochastic" else "nearest_even")
    constant = isinstance(added, Number)
    given = [added] if isinstance(added, Number) else added
    units = Units(cast, start, *given)
    values = [units.added(update) for update in given]
    state: State = (units.value(start), 0)
    wanted = recorded_steps(steps)
    path, lost, stall, recorded = [(0, start)], 0, None, set(wanted)
    step = STEPS[strategy](units, seed)
    for n, update in enumerate(repeat(values[0], steps) if constant else values, start=1):
        after = step(state, update, n - 1)
        unmoved, zero = _same(after, state), update in (0, MINUS_ZERO)
        is_lost = unmoved and not zero and units.number(after[0]).is_finite
        lost += is_lost
        state = after
        if n in recorded:
            path.append((n, units.number(state[0])))
        if unmoved and constant and (zero or strategy != "stochastic"):
            stall, lost = (n - 1, lost + steps - n) if is_lost else (None, lost)
            path += [(m, units.number(state[0])) for m in wanted if m > n]
            break
        if n == MOST_STEPS and n < steps:
            raise too_many_steps(steps, strategy, MOST_STEPS)
    return Simulation(units.number(state[0]), lost, stall, tuple(path))


def recorded_steps(steps: int) -> list[int]:
    """Up to about 200 evenly spaced steps, the first and the last among them."""
    stride = max(1, -(-steps // RECORDED))
    return sorted({*range(0, steps + 1, stride), steps})
