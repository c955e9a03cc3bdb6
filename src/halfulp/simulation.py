"""L2: the recurrence walked step by step in exact numbers, under each strategy.

It takes any format and any gradient, and is slow; ``backends/walks.py`` is its compiled twin for
what float64 holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import repeat
from typing import NamedTuple

from halfulp.arithmetic import exact_sum
from halfulp.casting import cast_to
from halfulp.catalogue import Format
from halfulp.errors import too_many_steps
from halfulp.exact import Number, finite
from halfulp.noise import key_of, random_word

# What this loop does in a few seconds.
MOST_STEPS = 100_000
RECORDED = 200

State = tuple[Number, Number]  # the weight, and what Kahan's strategy carries over
Step = Callable[[State, Number, int], State]  # (state, what is added, number of the step)


def _same(a: State, b: State) -> bool:
    """Whether two states are the same numbers, NaN and both zeros included."""
    return all(
        (x.value, x.special) == (y.value, y.special)
        and (x.special != "inf" or x.negative == y.negative)
        for x, y in zip(a, b, strict=True)
    )


def _plain_step(target: Format, seed: int) -> Step:
    cast = cast_to(target)

    def step(state: State, added: Number, n: int) -> State:
        return cast.number(exact_sum(state[0], added)), state[1]

    return step


def _stochastic_step(target: Format, seed: int) -> Step:
    cast = cast_to(target, "stochastic")
    key = key_of(seed)

    def step(state: State, added: Number, n: int) -> State:
        word = random_word(key, 0, n)
        return cast.number(exact_sum(state[0], added), word=word), state[1]

    return step


def _kahan_step(target: Format, seed: int) -> Step:
    cast = cast_to(target)

    def step(state: State, added: Number, n: int) -> State:
        weight, carried = state
        carried = cast.number(exact_sum(carried, added))
        after = cast.number(exact_sum(weight, carried))
        taken = cast.number(exact_sum(weight, -after))
        return after, cast.number(exact_sum(carried, taken))

    return step


#: The step of each strategy that simulates, made for a format and a seed.
STEPS: dict[str, Callable[[Format, int], Step]] = {
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
    state = (start, finite(Fraction(0)))
    constant = isinstance(added, Number)
    wanted = recorded_steps(steps)
    path, lost, stall, recorded = [(0, start)], 0, None, set(wanted)
    step = STEPS[strategy](target, seed)
    each = repeat(added, steps) if isinstance(added, Number) else added
    for n, update in enumerate(each, start=1):
        after = step(state, update, n - 1)
        unmoved, zero = _same(after, state), not update.value
        is_lost = unmoved and not zero and after[0].is_finite
        lost += is_lost
        state = after
        if n in recorded:
            path.append((n, state[0]))
        if unmoved and constant and (zero or strategy != "stochastic"):
            stall, lost = (n - 1, lost + steps - n) if is_lost else (None, lost)
            path += [(m, state[0]) for m in wanted if m > n]
            break
        if n == MOST_STEPS and n < steps:
            raise too_many_steps(steps, strategy, MOST_STEPS)
    return Simulation(state[0], lost, stall, tuple(path))


def recorded_steps(steps: int) -> list[int]:
    """Up to about 200 evenly spaced steps, the first and the last among them."""
    stride = max(1, -(-steps // RECORDED))
    return sorted({*range(0, steps + 1, stride), steps})
