"""A run at a glance: where it stands at its last sampled step, for who looks while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.records import Record
from halfulp.runs.reading import Run
from halfulp.runs.samples import Event, Head, UpdateRows
from halfulp.runs.scale_window import Window, window_at
from halfulp.runs.survey import NEVER, UpdateSums, WayCounts

Array = npt.NDArray[Any]

NEWEST, WORST = 4, 5


@dataclass(frozen=True)
class TensorLost(Record):
    """What one weight lost of its nonzero updates at one step, as it runs."""

    name: str
    lost: int
    updates: int


@dataclass(frozen=True)
class Glance(Record):
    """A run as it stands."""

    renderer = "halfulp.runs.glance_text:glance_page"

    path: str
    model: str
    optimizer: str
    every: int
    sampled: int  # steps
    last: Head | None
    window: Window | None  # of the last sampled step, for float16; None without gradients
    running: WayCounts | None  # at the last sampled step with updates
    running_ways: tuple[str, ...]
    ways: tuple[WayCounts, ...]
    updates_step: int | None  # which step that is
    worst: tuple[TensorLost, ...]
    events: tuple[Event, ...]  # the newest, the last one first
    event_count: int

    @property
    def key(self) -> tuple[int, int, int | None]:
        """What changes when there is something new."""
        return self.sampled, self.event_count, None if self.last is None else self.last.step


def glance(run: Run) -> Glance:
    """A run as it stands now; of one without samples what is known.

    Raises HalfulpError where the log is damaged.
    """
    about, heads, events = run.about, run.heads, run.events
    last = heads[-1] if heads else None
    window = window_at(run, last.step) if last else None
    step, rows = _updates(run)
    sums = UpdateSums(len(run.series), about.ways)
    if rows is not None and step is not None:
        sums.add(step, rows)
    ran = sorted({int(way) for way in sums.running if way != NEVER})
    ways = tuple(sums.counts(way) for way in range(len(about.ways))) if ran else ()
    return Glance(
        path=run.path,
        model=about.name,
        optimizer=about.optimizer,
        every=about.every,
        sampled=len(heads),
        last=last,
        window=None if window is None or window.largest is None else window,
        running=sums.running_counts() if ran else None,
        running_ways=tuple(ways[way].name for way in ran),
        ways=ways,
        updates_step=step,
        worst=_worst(run, sums),
        events=tuple(reversed(events[-NEWEST:])),
        event_count=len(events),
    )


def _updates(run: Run) -> tuple[int | None, UpdateRows | None]:
    """The updates of the last sampled step that was taken, among the newest."""
    for head in reversed(run.heads[-100:]):
        rows = run.updates(head.step)
        if rows is not None:
            return head.step, rows
    return None, None


def _worst(run: Run, sums: UpdateSums) -> tuple[TensorLost, ...]:
    mine = np.flatnonzero((sums.running != NEVER) & (sums.updates > 0))
    lost = sums.lost[mine, sums.running[mine]]
    order = np.lexsort((-sums.updates[mine], -lost / sums.updates[mine]))[:WORST]
    return tuple(
        TensorLost(run.series[mine[i]].name, int(lost[i]), int(sums.updates[mine[i]]))
        for i in order
        if lost[i]
    )
