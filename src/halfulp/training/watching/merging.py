"""Samples of several ranks become one, which rank 0 writes: counts are integers, and add up."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.distributed as dist
from torch.nn import Module

from halfulp.backends.observing import Seen
from halfulp.runs.samples import ACTIVATION, ACTIVATION_GRADIENT, Recorded, Series
from halfulp.training import ranks
from halfulp.training.watching.arrivals import Arrival


@dataclass
class Gathered:
    """What was seen of a step so far."""

    seen: dict[Series, Seen] = field(default_factory=dict)
    arrivals: dict[Series, Arrival] = field(default_factory=dict)
    recorded: dict[Series, Recorded] = field(default_factory=dict)

    def add(self, series: Series, seen: Seen) -> None:
        """Add what was seen of a series; the parts of a step are merged."""
        had = self.seen.get(series)
        self.seen[series] = seen if had is None else had.merged(seen)


class Ranks:
    """The processes that train one model together."""

    def __init__(self, model: Module) -> None:
        several = dist.is_available() and dist.is_initialized()
        self.count = dist.get_world_size() if several else 1
        self.rank = dist.get_rank() if several else 0
        self._sharded = bool(ranks.sharded_modules(model))

    @property
    def writes(self) -> bool:
        """Whether this rank writes the log."""
        return self.rank == 0

    def agree(self, fine: bool) -> bool:
        """Whether all ranks are fine: to be called by all."""
        if self.count == 1:
            return fine
        every: list[bool] = [fine] * self.count
        dist.all_gather_object(every, fine)
        return all(every)

    def merged(self, here: Gathered) -> Gathered:
        """What all ranks saw, on rank 0: to be called by all. Replicas of a tensor count once."""
        if self.count == 1:
            return here
        every: list[Gathered | None] | None = [None] * self.count if self.writes else None
        dist.gather_object(here, every, dst=0)
        for other in (every or [])[1:]:
            assert other is not None, "gathered"
            self._merge(here, other)
        return here

    def _merge(self, here: Gathered, other: Gathered) -> None:
        for series, seen in other.seen.items():
            if self._sharded or series.role in (ACTIVATION, ACTIVATION_GRADIENT):
                here.add(series, seen)
        if not self._sharded:
            return
        for series, arrival in other.arrivals.items():
            had = here.arrivals.get(series)
            here.arrivals[series] = arrival if had is None else had.merged(arrival)
            here.recorded.setdefault(series, other.recorded[series])
