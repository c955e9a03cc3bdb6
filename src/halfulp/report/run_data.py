"""What the figures of a run show: some of its sampled steps, each read once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.runs.reading import Run
from halfulp.runs.samples import KINDS, OVERFLOW, UNDERFLOW, Observed

Array = npt.NDArray[Any]

#: Sampled steps that are drawn at most: with all tensors, and summed over them.
MOST_STEPS, MOST_POINTS = 200, 1000
#: Binades that float64 has.
LOWEST, HIGHEST = -1074, 1023


class Casts(NamedTuple):
    """What casts would do, by series and step."""

    nonzero: Array  # [series, step], finite ones; 0 where the series was not seen
    largest: Array  # [series, step]
    counts: Array  # [series, step, format, kind], of underflow and overflow alone
    histograms: Array  # [series, binade], over all steps; from LOWEST on


class Lost(NamedTuple):
    """Updates by series and step, in the way that each weight runs."""

    updates: Array  # [series, step]; 0 where there were none
    lost: Array


class Curve(NamedTuple):
    """Updates of all weights, step by step."""

    steps: Sequence[int]
    updates: Array
    lost: Array  # [step, way]
    running: Array  # lost, each weight in the way that it runs
    running_ways: tuple[int, ...]


class RunData:
    """A run as it is drawn; each part is read when a figure asks for it."""

    def __init__(self, run: Run) -> None:
        self.run, self.about = run, run.about
        self.steps = run.steps(MOST_STEPS)
        self.series = run.series
        self.roles = np.array([series.role for series in self.series], dtype=str)

    @cached_property
    def casts(self) -> Casts:
        """Counts and extremes at the steps."""
        shape = len(self.series), len(self.steps)
        found = Casts(
            np.zeros(shape, np.int64),
            np.zeros(shape),
            np.zeros((*shape, len(self.about.formats), 2), np.int64),
            np.zeros((len(self.series), HIGHEST - LOWEST + 1), np.int64),
        )
        for column, step in enumerate(self.steps):
            seen = self.run.observed(step)
            at = seen.series
            found.nonzero[at, column] = seen.elements - seen.zero - seen.infinite - seen.nan
            found.largest[at, column] = seen.largest
            found.counts[at, column] = seen.counts[:, :, [UNDERFLOW, OVERFLOW]]
            _add_binades(found.histograms, seen)
        return found

    @cached_property
    def lost(self) -> Lost:
        """Updates at the steps."""
        shape = len(self.series), len(self.steps)
        found = Lost(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
        for column, step in enumerate(self.steps):
            rows = self.run.updates(step)
            if rows is not None and rows.series.size:
                found.updates[rows.series, column] = rows.updates
                found.lost[rows.series, column] = _in_running(rows)
        return found

    @cached_property
    def curve(self) -> Curve:
        """Updates of all weights at more steps."""
        steps, updates, lost, running = [], [], [], []
        ways: set[int] = set()
        for step in self.run.steps(MOST_POINTS):
            rows = self.run.updates(step)
            if rows is not None and rows.series.size:
                steps.append(step)
                updates.append(int(rows.updates.sum()))
                lost.append(rows.lost.sum(0))
                running.append(int(_in_running(rows).sum()))
                ways.update(rows.running.tolist())
        return Curve(
            steps, np.array(updates, np.int64), np.array(lost, np.int64),
            np.array(running, np.int64), tuple(sorted(ways)),
        )  # fmt: skip

    def of_roles(self, *roles: str) -> Array:
        """The series of some roles, as numbers."""
        return np.flatnonzero(np.isin(self.roles, roles))

    def kind(self, name: str) -> int:
        """Where a kind is in ``Casts.counts``."""
        return (UNDERFLOW, OVERFLOW).index(KINDS.index(name))


def _in_running(rows: Any) -> Array:
    """Updates lost, row by row, in the way that the weight runs."""
    lost: Array = rows.lost[np.arange(rows.series.size), rows.running]
    return lost


def _add_binades(histograms: Array, seen: Observed) -> None:
    row = np.repeat(np.arange(seen.width.size), seen.width)
    begin = np.cumsum(seen.width) - seen.width
    binade = seen.first_binade[row] + np.arange(row.size) - begin[row]
    histograms[seen.series[row], binade - LOWEST] += seen.binades  # no pair of both comes twice
