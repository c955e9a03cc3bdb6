"""One pass over a run: sums and extremes of every series, which all verdicts are judged by.

Updates and extremes are read of as many steps as can be in a few seconds, casts of fewer; each part
says of how many. Sums of counts are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.records import Record
from halfulp.runs.reading import Run
from halfulp.runs.samples import (
    ACTIVATION_GRADIENT,
    CLIPPED,
    GRADIENT,
    OVERFLOW,
    UNDERFLOW,
    Recorded,
    Series,
    UpdateRows,
    Way,
)
from halfulp.runs.scale_window import Windows, windows

Array = npt.NDArray[Any]

#: Sampled steps that are read at most, evenly spread: of extremes and updates, and of casts.
MOST_STEPS, MOST_CASTS = 10_000, 400
NEVER = -1
GRADIENTS = (GRADIENT, CLIPPED, ACTIVATION_GRADIENT)


@dataclass(frozen=True)
class WayCounts(Record):
    """What became of updates under one way to keep the weights, summed over tensors and steps."""

    format: str
    strategy: str
    updates: int  # nonzero ones
    lost: int
    intended: float  # sum of squares
    effective: float
    product: float
    decays: int
    decays_lost: int

    @property
    def name(self) -> str:
        """The way in two words."""
        return f"{self.format}, {self.strategy}"

    @property
    def share(self) -> float:
        """Of the nonzero updates, those lost; 0 of none."""
        return self.lost / self.updates if self.updates else 0.0

    @property
    def norm_ratio(self) -> float:
        """The norm of what arrived over that of what was meant; 1 where nothing was meant."""
        return sqrt(self.effective / self.intended) if self.intended else 1.0

    @property
    def cosine(self) -> float:
        """Of the angle between what arrived and what was meant; 1 where either is zero."""
        lengths = sqrt(self.effective) * sqrt(self.intended)
        return self.product / lengths if lengths else 1.0


class UpdateSums:
    """Updates by series and way, summed over the steps that are added; steps in any order."""

    def __init__(self, series: int, ways: tuple[Way, ...]) -> None:
        self.ways, self.steps = ways, 0
        shape = series, len(ways)
        self.lost, self.decays_lost = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.effective, self.product = np.zeros(shape), np.zeros(shape)
        self.updates, self.decays = np.zeros(series, np.int64), np.zeros(series, np.int64)
        self.intended = np.zeros(series)
        self.running = np.full(series, NEVER)
        self.first_lost = np.full(series, NEVER)  # the first step that lost an update, as it runs
        self.looked, self.still = np.zeros(series, np.int64), np.zeros(series, np.int64)
        self.samples = np.zeros(series, np.int64)  # of the last step added, as the two above

    def add(self, step: int, rows: UpdateRows) -> None:
        """Add a step that is later than all before."""
        at = rows.series
        self.steps += 1
        if not at.size:
            return
        self.updates[at] += rows.updates
        self.decays[at] += rows.decays
        self.intended[at] += rows.intended
        for name in ("lost", "decays_lost", "effective", "product"):
            getattr(self, name)[at] += getattr(rows, name)
        for name in ("running", "looked", "still", "samples"):
            getattr(self, name)[at] = getattr(rows, name)
        lost = rows.lost[np.arange(at.size), rows.running] > 0
        self.first_lost[at[lost & (self.first_lost[at] == NEVER)]] = step

    def counts(self, way: int, among: Array | None = None) -> WayCounts:
        """One way, over some series or all."""
        mine = np.flatnonzero(self.running != NEVER) if among is None else among
        return self._counted(way, mine, np.full(mine.size, way))

    def running_counts(self, among: Array | None = None) -> WayCounts:
        """Each series in the way that it runs; named by the first one's."""
        mine = np.flatnonzero(self.running != NEVER) if among is None else among
        return self._counted(int(self.running[mine][0]), mine, self.running[mine])

    def _counted(self, way: int, mine: Array, ways: Array) -> WayCounts:
        return WayCounts(
            format=self.ways[way].format,
            strategy=self.ways[way].strategy,
            updates=int(self.updates[mine].sum()),
            lost=int(self.lost[mine, ways].sum()),
            intended=float(self.intended[mine].sum()),
            effective=float(self.effective[mine, ways].sum()),
            product=float(self.product[mine, ways].sum()),
            decays=int(self.decays[mine].sum()),
            decays_lost=int(self.decays_lost[mine, ways].sum()),
        )


class Extremes:
    """What series held, over the steps that are added.

    Infinities and NaNs of those that are excused count only where the step was taken: gradients
    beyond the loss scale are what a skipped step is for.
    """

    def __init__(self, excused: Array) -> None:
        self.steps, self._excused, series = 0, excused, excused.size
        self.elements, self.zero = np.zeros(series, np.int64), np.zeros(series, np.int64)
        self.infinite, self.nan = np.zeros(series, np.int64), np.zeros(series, np.int64)
        self.largest, self.largest_step = np.zeros(series), np.full(series, NEVER)
        self.least = np.full(series, np.inf)
        self.first_infinite, self.first_nan = np.full(series, NEVER), np.full(series, NEVER)
        self.zero_least = np.full(series, np.iinfo(np.int64).max)  # of any step
        self.zero_last, self.elements_last = np.zeros(series, np.int64), np.zeros(series, np.int64)

    def add(self, step: int, columns: Any, taken: bool) -> None:
        """Add a step that is later than all before."""
        at, elements, zero, infinite, nan, largest, least = columns[:7]
        self.steps += 1
        self.elements[at] += elements
        self.zero[at] += zero
        above = at[largest > self.largest[at]]
        self.largest[at] = np.maximum(self.largest[at], largest)
        self.largest_step[above] = step
        self.least[at] = np.fmin(self.least[at], np.where(least > 0, least, np.inf))
        self.zero_least[at] = np.minimum(self.zero_least[at], zero)
        self.zero_last[at], self.elements_last[at] = zero, elements
        if infinite.any() or nan.any():
            counts = taken | ~self._excused[at]
            infinite, nan = infinite * counts, nan * counts
            self.infinite[at] += infinite
            self.nan[at] += nan
            for counted, first in ((infinite, self.first_infinite), (nan, self.first_nan)):
                first[at[(counted > 0) & (first[at] == NEVER)]] = step


@dataclass(frozen=True)
class Casts:
    """What casts to the candidates would have done, summed over some steps."""

    steps: int
    nonzero: Array  # finite elements, by series
    counts: Array  # [series, format, kind]

    @property
    def underflow(self) -> Array:
        """[series, format]."""
        return self.counts[:, :, UNDERFLOW]

    @property
    def overflow(self) -> Array:
        """[series, format]."""
        return self.counts[:, :, OVERFLOW]


class Survey:
    """A run, and what is known of it as a whole; each part is read when it is asked for."""

    def __init__(self, run: Run, most: int = MOST_STEPS) -> None:
        self.run, self.most = run, most
        self.series: tuple[Series, ...] = run.series if len(run) else ()
        self.heads = {head.step: head for head in run.heads}
        self.roles = np.array([series.role for series in self.series], dtype=object)

    def of_role(self, *roles: str) -> Array:
        """The series of some roles, as numbers."""
        return np.flatnonzero(np.isin(self.roles.astype(str), roles))

    @cached_property
    def updates(self) -> UpdateSums:
        """Sums of updates."""
        sums = UpdateSums(len(self.series), self.run.about.ways)
        for step in self.run.steps(self.most):
            rows = self.run.updates(step)
            if rows is not None:
                sums.add(step, rows)
        return sums

    @cached_property
    def extremes(self) -> Extremes:
        """Extremes of all series; no step with what is not finite is left out."""
        found = Extremes(np.isin(self.roles.astype(str), GRADIENTS))
        steps = {*self.run.steps(self.most), *self._nonfinite_steps()}
        for step in sorted(steps):
            found.add(step, self.run.seen(step), self.heads[step].taken is not False)
        return found

    def _nonfinite_steps(self) -> Iterable[int]:
        found = [head.step for head in self.run.heads if head.nonfinite]
        return found[: self.most]

    @cached_property
    def casts(self) -> Casts:
        """Casts of all series to the candidates."""
        steps = self.run.steps(MOST_CASTS)
        nonzero = np.zeros(len(self.series), np.int64)
        counts = np.zeros((len(self.series), len(self.run.about.formats), 4), np.int64)
        for step in steps:
            seen = self.run.observed(step)
            nonzero[seen.series] += seen.elements - seen.zero - seen.infinite - seen.nan
            counts[seen.series] += seen.counts
        return Casts(len(steps), nonzero, counts)

    @cached_property
    def windows(self) -> Windows:
        """The loss scales that fit float16."""
        return windows(self.run, most=MOST_CASTS)

    @cached_property
    def recorded(self) -> dict[int, Recorded]:
        """Recorded elements by the series of their weight."""
        return {recorded.series: recorded for recorded in self.run.recorded()}
