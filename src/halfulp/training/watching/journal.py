"""Where a watched training is written: its log, by the rank that writes; and callbacks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from halfulp.errors import HalfulpError
from halfulp.runs.log import MEMORY, LogWriter
from halfulp.runs.reading import Run, read_run
from halfulp.runs.samples import About, Event, Head, Sample, Series, UpdateRows
from halfulp.training.watching.arrivals import update_rows
from halfulp.training.watching.columns import observed
from halfulp.training.watching.merging import Gathered, Ranks


class Journal:
    """Writes the samples and the events of a training.

    A log that cannot be begun is said in a warning, and the run is kept in memory.
    """

    def __init__(
        self, log: str | Path | None, about: About, ranks: Ranks,
        callback: Callable[[int, dict[str, float]], None] | None,
    ) -> None:  # fmt: skip
        self._about, self._ranks, self._callback = about, ranks, callback
        self._writer = self._begun(log) if ranks.writes else None
        self.is_broken = False  # and tells no more

    def _begun(self, log: str | Path | None) -> LogWriter:
        if log is None:
            return LogWriter(MEMORY, self._about)
        try:
            return LogWriter(log, self._about)
        except HalfulpError as error:
            warnings.warn(f"{error}; the run is kept in memory", stacklevel=6)
            return LogWriter(MEMORY, self._about)

    def index(self, series: Series) -> int:
        """The number of a series."""
        return 0 if self._writer is None else self._writer.index(series)

    def run(self) -> Run:
        """What was written so far."""
        if self._writer is None:
            raise HalfulpError(f"rank {self._ranks.rank} has no run: rank 0 writes it")
        if self._writer.path == MEMORY:
            return Run(self._writer.connection, MEMORY)
        return read_run(self._writer.path)

    def tell(self, events: Iterable[Event]) -> None:
        """Write what happened."""
        told = tuple(events)
        if told and self._writer is not None and not self.is_broken:
            self._writer.tell(*told)

    def write(self, head: Head, gathered: Gathered) -> None:
        """Write a sampled step; all ranks are to call it."""
        whole = self._ranks.merged(gathered)
        if self._writer is None:
            return
        index = self._writer.index
        rows = [(index(series), seen) for series, seen in whole.seen.items()]
        arrivals = [(index(series), a) for series, a in whole.arrivals.items()]
        updates = update_rows(arrivals, self._about.ways) if head.taken else None
        sample = Sample(head, observed(rows, len(self._about.formats)), updates)
        recorded = [r._replace(series=index(s)) for s, r in whole.recorded.items()]
        self._writer.add(sample, recorded=recorded)
        if self._callback is not None:
            self._callback(head.step, self._numbers(head, updates))

    def close(self) -> None:
        """Write no more; a run in memory stays."""
        if self._writer is not None and self._writer.path != MEMORY:
            with suppress(HalfulpError):  # what was written stays
                self._writer.close()

    def _numbers(self, head: Head, updates: UpdateRows | None) -> dict[str, float]:
        """A sample as a logger takes it."""
        numbers = {"nonfinite": float(head.nonfinite)}
        if head.loss_scale is not None:
            numbers["loss_scale"] = head.loss_scale
        if updates is None or not int(updates.updates.sum()):
            return numbers
        total = int(updates.updates.sum())
        running = sum(int(row[way]) for row, way in zip(updates.lost, updates.running, strict=True))
        numbers |= {"updates": float(total), "lost": float(running), "lost_share": running / total}
        for i, way in enumerate(self._about.ways):
            share = float(updates.lost[:, i].sum()) / total
            numbers[f"lost_share/{way.format}-{way.strategy}"] = share
        return numbers
