"""What becomes of the updates that an optimizer means: for the training's own way, and for others.

A way is a format and a strategy. Master copies and split weights are float32 to the update, so
both are what float32 loses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.optim import AdamW, Optimizer

from halfulp.backends.outcomes import STRATEGIES, Outcome, outcome
from halfulp.runs.samples import Recorded, UpdateRows, Way
from halfulp.training.places import places
from halfulp.training.prepared import Prepared
from halfulp.training.recipes import FLOAT32
from halfulp.training.watching.intended import intended
from halfulp.training.watching.names import Tracked
from halfulp.training.watching.tensors import flattened
from halfulp.training.weights import dtype_name, kept_names

Array = npt.NDArray[Any]

#: Elements of a weight that are compared from sample to sample, and those that are recorded.
LOOKED, RECORDED = 1024, 32
#: A weight whose bits were the same for so many samples has not moved.
SAMPLES = 5


@dataclass(frozen=True)
class Arrival:
    """What became of one parameter's updates at one step."""

    running: int
    by_format: dict[str, Outcome]
    decays: dict[str, Outcome]
    looked: int
    still: int
    samples: int

    def merged(self, other: Arrival) -> Arrival:
        """Those of two parts of a parameter."""
        return Arrival(
            self.running,
            _merged(self.by_format, other.by_format),
            _merged(self.decays, other.decays),
            self.looked + other.looked,
            self.still + other.still,
            min(self.samples, other.samples),
        )


def _merged(a: dict[str, Outcome], b: dict[str, Outcome]) -> dict[str, Outcome]:
    return {name: a[name].merged(b[name]) if name in a else b[name] for name in b} or a


def rule_of(way: Way) -> tuple[str, int]:
    """The format an update is added in, and the row of its outcomes."""
    if way.strategy in ("master", "split"):
        return FLOAT32, 0
    return way.format, STRATEGIES.index(way.strategy)


def running_way(tracked: Tracked, prepared: Prepared | None) -> Way:
    """How the training itself keeps a parameter."""
    if prepared is None or prepared.recipe.weights == FLOAT32:
        return Way(dtype_name(tracked.value), "nearest")
    by = prepared.recipe
    if tracked.weight is not None:
        return Way(by.weights, "master" if tracked.weight.is_whole else by.update)
    kept = tracked.name in kept_names(prepared.module, by)
    return Way(FLOAT32 if kept else by.weights, "nearest")


class Meter:
    """Counts the updates of one parameter, and remembers some of its elements."""

    def __init__(self, tracked: Tracked, running: int, ways: Sequence[Way]) -> None:
        self.tracked, self.running = tracked, running
        rules = [rule_of(way) for way in ways]
        self.formats = {
            name: tuple(STRATEGIES[row] for other, row in rules if other == name)
            for name, _ in rules
        }
        self._before: Array | None = None
        self._same = np.zeros(0, np.int64)

    def count(self, optimizer: Optimizer, step: int) -> tuple[Arrival, Recorded] | None:
        """What a step would do to the parameter; None where it has no gradient.

        Raises HalfulpError for an optimizer whose step cannot be foreseen.
        """
        group = optimizer.param_groups[self.tracked.group]
        total = flattened(self.tracked.value).numel()
        wheres = {n: places(total, n) for n in (LOOKED, RECORDED)}
        found: dict[str, Outcome] = {}
        picked: dict[int, list[tuple[Array, Array]]] = {n: [] for n in wheres}
        for meant in intended(optimizer, self.tracked.value, group):
            seed = step * 65_537 + meant.start
            for name, which in self.formats.items():
                here = outcome(meant.weights, meant.updates, name, seed=seed, strategies=which)
                found[name] = found[name].merged(here) if name in found else here
            for n, where in wheres.items():
                inside = where[(where >= meant.start) & (where < meant.start + meant.weights.size)]
                picked[n].append((meant.weights[inside - meant.start],
                                  meant.updates[inside - meant.start]))  # fmt: skip
        if not found:
            return None
        looked = np.concatenate([w for w, _ in picked[LOOKED]])
        some = [np.concatenate(pair) for pair in zip(*picked[RECORDED], strict=True)]
        self._compare(looked)
        samples = int(self._same.max(initial=0))
        arrival = Arrival(
            self.running, found, self._decays(optimizer, group, looked), looked.size,
            int((self._same >= SAMPLES).sum()), min(samples, SAMPLES),
        )  # fmt: skip
        return arrival, Recorded(-1, step, wheres[RECORDED], *some)

    def _compare(self, weights: Array) -> None:
        """Count for how many samples each element has had the same bits."""
        bits = weights.view(np.int64)
        if self._before is None or self._before.size != bits.size:
            self._same = np.zeros(bits.size, np.int64)
        else:
            self._same = np.where(bits == self._before, self._same + 1, 0)
        self._before = bits.copy()

    def _decays(
        self, optimizer: Optimizer, group: dict[str, Any], weights: Array
    ) -> dict[str, Outcome]:
        """What becomes of the weight decay, where the optimizer applies it by itself."""
        decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, AdamW))
        rate = float(group.get("lr", 0.0)) * float(group.get("weight_decay") or 0.0)
        if not decoupled or not rate:
            return {}
        return {
            name: outcome(weights, -rate * weights, name, strategies=which)
            for name, which in self.formats.items()
        }


def update_rows(arrivals: Sequence[tuple[int, Arrival]], ways: Sequence[Way]) -> UpdateRows:
    """The columns of parameters, given with the numbers of their weights' series."""
    ordered = sorted(arrivals, key=lambda pair: pair[0])
    rules = [rule_of(way) for way in ways]
    counts = np.int64

    def by_way(part: str, of: str, kind: Any) -> Array:
        rows = [list(_cells(getattr(a, of), rules, part)) for _, a in ordered]
        return np.array(rows, kind).reshape(len(ordered), len(rules))

    def column(values: Any) -> Array:
        return np.array(list(values), counts)

    first = [next(iter(a.by_format.values())) for _, a in ordered]
    return UpdateRows(
        series=column(series for series, _ in ordered),
        running=column(a.running for _, a in ordered),
        updates=column(o.updates for o in first),
        lost=by_way("lost", "by_format", counts),
        intended=np.array([o.intended for o in first], np.float64),
        effective=by_way("effective", "by_format", np.float64),
        product=by_way("product", "by_format", np.float64),
        decays=column(max((o.updates for o in a.decays.values()), default=0) for _, a in ordered),
        decays_lost=by_way("lost", "decays", counts),
        looked=column(a.looked for _, a in ordered),
        still=column(a.still for _, a in ordered),
        samples=column(a.samples for _, a in ordered),
    )


def _cells(
    found: dict[str, Outcome], rules: Sequence[tuple[str, int]], part: str
) -> Iterator[float]:
    for name, row in rules:
        yield getattr(found[name], part)[row] if name in found else 0
