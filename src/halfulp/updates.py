"""L2: the recurrence at the heart of training, w ← round(w + g), walked under every strategy.

| strategy | what is kept, and how an update arrives |
|---|---|
| ``nearest`` | the weight in the format, each sum rounded to nearest even |
| ``master`` | a float32 weight takes the updates; the format (if narrower) holds its copy |
| ``kahan`` | the weight and what it has not yet taken, both in the format |
| ``stochastic`` | the weight in the format, each sum rounded up or down by chance |
| ``exact`` | w + n·g of the numbers as given: what the others are measured against |

Sources: Micikevicius et al., "Mixed Precision Training" (arXiv 1710.03740) §3.1 (master weights);
Zamirai et al., "Revisiting BFloat16 Training" (arXiv 2010.06192) §4 (stochastic, Kahan).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError, unknown
from halfulp.exact import Number, finite
from halfulp.language import translate as _
from halfulp.prediction import Prediction, predict
from halfulp.records import Record, data_frame
from halfulp.recurrence import (
    Update,
    check_steps,
    gradient_format_of,
    state_format,
    update_of,
    walkable,
    within,
)
from halfulp.simulation import STEPS, Simulation, recorded_steps, simulate

STRATEGIES = (*STEPS, "exact")
# Beyond these many steps of one weight the compiled loop is worth its start.
FEW_STEPS = 20_000


@dataclass(frozen=True)
class ErrorBudget(Record):
    """The whole error of a walk, split: ``total = input_cast + rounding + accumulation``."""

    total: Fraction  # final - exact
    input_cast: Fraction  # from rounding the weight and the gradient before anything is added
    rounding: Fraction  # from rounding the sum once, had all updates been added at once
    accumulation: Fraction  # from rounding after every step instead


@dataclass(frozen=True)
class Walk(Record):
    """One weight under one strategy.

    ``lost`` counts nonzero updates that left no trace in a finite state; ``stall_step`` is how many
    updates were applied before none could change it any more (None: it still moves, it has left
    the range, or chance decides). For ``master`` the state is the float32 weight and ``stored`` its
    copy in the format.
    """

    renderer = "halfulp.explanations.walk_text:strategy_page"

    name: str
    format: Format
    update: Update
    steps: int
    final: Number
    stored: Number | None
    updates: int  # nonzero ones
    lost: int
    stall_step: int | None
    budget: ErrorBudget | None
    trajectory: tuple[tuple[int, Number], ...]  # (step, weight) at up to 200 steps

    def __str__(self) -> str:
        stored = "" if self.stored is None else f" (stored as {self.stored})"
        return (
            f"{self.name}: {self.final}{stored} after {self.steps} steps in {self.format}, "
            f"{self.lost} of {self.updates} nonzero updates lost"
        )


@dataclass(frozen=True, eq=False)  # arrays have no one truth to compare by
class ArrayWalk(Record):
    """Many weights under one strategy, as arrays of the weights' shape."""

    name: str
    format: Format
    steps: int
    final: Any  # float64, exactly the weights (of a master: the float32 ones)
    stored: Any  # the copies in the format; None but for ``master``
    updates: Any  # int64: nonzero ones of each weight
    lost: Any  # int64
    stall_step: Any  # int64, -1 where it still moves; None with one gradient a step, and by chance

    def __str__(self) -> str:
        return (
            f"ArrayWalk({self.name}: {self.final.size} weights, {self.steps} steps in "
            f"{self.format}, {int(self.lost.sum())} of {int(self.updates.sum())} nonzero updates "
            "lost)"
        )


def walk(
    weight: Any,
    gradient: Any,
    steps: int | None = None,
    target: str | Format = "float16",
    strategy: str = "nearest",
    *,
    learning_rate: Any = None,
    gradient_format: str | Format | None = None,
    seed: int | None = None,
) -> Any:
    """Walk w ← round(w + g) for ``steps`` steps: a :class:`Walk`; an :class:`ArrayWalk` of arrays.

    ``weight`` is a number of any kind or a float array. ``gradient`` is a number (or an array of
    the weights' shape) added at every step, or one a step: a sequence of numbers, or an array with
    the steps as its first axis; then ``steps`` may be left out. It is *added*: negate it, or the
    learning rate, to descend. ``strategy`` is one of :data:`STRATEGIES`; ``stochastic`` takes a
    ``seed``. Learning rate and gradient format as in :func:`update_of`.

    Raises HalfulpError for unknown names, no finite numbers, negative steps, shapes that do not
    fit.

    >>> walk("1.125", "0.00041999", 100, "float16").lost
    100
    >>> str(walk("1.125", "0.00041999", 100, "float16", "master").final)
    '1.1670093536376953125'
    """
    check_steps(steps)
    if strategy not in STRATEGIES:
        raise unknown(_("strategy"), str(strategy), STRATEGIES)
    if strategy == "stochastic" and not isinstance(seed, int):
        raise HalfulpError(_("the strategy stochastic draws random bits: pass seed=, any integer"))
    if _is_array(weight):
        from halfulp.backends.walks import walk_array

        found = format(target)
        return ArrayWalk(strategy, found, *walk_array(
            weight, gradient, steps, walkable(found), state_format(found, strategy), strategy,
            learning_rate, gradient_format_of(found, gradient_format), seed or 0,
        ))  # fmt: skip
    if _is_array(gradient) or isinstance(gradient, (list, tuple)):
        updates = [update_of(weight, g, target, learning_rate, gradient_format) for g in gradient]
        if not updates or (steps is not None and steps != len(updates)):
            raise HalfulpError(
                _("{found} gradients were given for {steps} steps: one a step").format(
                    found=len(updates), steps=steps or 0
                )
            )
        return _Walker(updates[0], len(updates), strategy, seed or 0, updates).walk()
    if steps is None:
        raise HalfulpError(_("steps is missing: say how many, or give one gradient a step"))
    update = update_of(weight, gradient, target, learning_rate, gradient_format)
    return _Walker(update, steps, strategy, seed or 0, None).walk()


def _is_array(x: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(x, numpy.ndarray) and x.ndim > 0


@dataclass(frozen=True)
class _Walker:
    """One walk of one weight: by the exact loop, or the compiled one where that is exact."""

    update: Update
    steps: int
    strategy: str
    seed: int
    each: Sequence[Update] | None  # one update a step; None: the same at every step

    def walk(self) -> Walk:
        made = self._exact() if self.strategy == "exact" else self._simulated()
        target = self.update.format
        stored = within(made.final, target) if self.strategy == "master" else None
        return Walk(
            self.strategy, target, self.update, self.steps, made.final, stored, self._nonzero(),
            made.lost, made.stall_step, self._budget(made.final), made.trajectory,
        )  # fmt: skip

    @property
    def _state_format(self) -> Format:
        return state_format(self.update.format, self.strategy)

    def _total(self, of: Callable[[Update], Fraction | int]) -> Fraction:
        """The sum of something over all steps."""
        if self.each is None:
            return Fraction(self.steps * of(self.update))
        return sum((Fraction(of(u)) for u in self.each), Fraction(0))

    def _nonzero(self) -> int:
        return int(self._total(lambda u: int(u.added.value != 0)))

    def _exact_value(self) -> Fraction:
        return self.update.weight.value + self._total(lambda u: u.gradient.value)

    def _exact(self) -> Simulation:
        start, each = self.update.weight.value, self.update.gradient.value
        marks = recorded_steps(self.steps) if self.each is None else []
        path = tuple((n, finite(start + n * each)) for n in marks)
        return Simulation(finite(self._exact_value()), 0, None, path)

    def _simulated(self) -> Simulation:
        start = within(self.update.weight, self._state_format)
        added = self.update.added if self.each is None else [u.added for u in self.each]
        job = (start, added, self.steps, self.strategy, self._state_format, self.seed)
        if self.steps > FEW_STEPS:
            from halfulp.backends.walks import walk_number

            if compiled := walk_number(*job, recorded_steps(self.steps)):
                return Simulation(*compiled)
        return simulate(*job)

    def _budget(self, final: Number) -> ErrorBudget | None:
        if self.strategy == "exact" or not final.is_finite:
            return None
        start = within(self.update.weight, self._state_format)
        summed = start.value + self._total(lambda u: u.added.value)
        at_once = within(finite(summed), self._state_format)
        if not at_once.is_finite:
            return None
        return ErrorBudget(
            total=final.value - self._exact_value(),
            input_cast=summed - self._exact_value(),
            rounding=at_once.value - summed,
            accumulation=final.value - at_once.value,
        )


@dataclass(frozen=True)
class WalkComparison(Record):
    """One weight under every strategy, with the closed form of ``nearest`` beside it."""

    renderer = "halfulp.explanations.walk_text:walk_page"

    update: Update
    steps: int
    strategies: tuple[Walk, ...]
    prediction: Prediction

    def to_pandas(self) -> Any:
        """One row a strategy, without the trajectories."""
        return data_frame(self.strategies, leave_out=["update", "trajectory", "budget"])

    def to_dict(self) -> dict[str, Any]:
        """As JSON types; the operands stand once, not in every strategy."""
        plain = super().to_dict()
        for record in plain["strategies"]:
            del record["update"]
        return plain


def walk_all(
    weight: Any,
    gradient: Any,
    steps: int,
    target: str | Format,
    strategies: Sequence[str] = STRATEGIES,
    *,
    learning_rate: Any = None,
    gradient_format: str | Format | None = None,
    seed: int = 0,
) -> WalkComparison:
    """:func:`walk` under each strategy, and :func:`halfulp.predict`, on the same numbers."""
    options = {"learning_rate": learning_rate, "gradient_format": gradient_format}
    prediction = predict(weight, gradient, target, steps, **options)
    walks = tuple(
        walk(weight, gradient, steps, target, name, seed=seed, **options) for name in strategies
    )
    update = update_of(weight, gradient, target, learning_rate, gradient_format)
    return WalkComparison(update, steps, walks, prediction)
