"""What a monitor keeps of a training: series of tensors, sampled steps, and events.

A series is one tensor in one role, step after step. Of each sampled step there are columns with a
row a series: counts are exact integers, so that those of several ranks add up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.records import Record

Array = npt.NDArray[Any]

#: What a tensor is in a training. A state of the optimizer is "state " and its name.
WEIGHT, GRADIENT, CLIPPED = "weight", "gradient", "clipped gradient"
ACTIVATION, ACTIVATION_GRADIENT = "activation", "activation gradient"
STATE = "state "


@dataclass(frozen=True)
class Series(Record):
    """One tensor in one role. Activations are named by the module that made them."""

    name: str
    role: str
    dtype: str  # as the training has it


@dataclass(frozen=True)
class Way(Record):
    """A way to keep weights, and to update them: a format and a strategy."""

    format: str
    strategy: str  # "nearest", "master", "kahan", "stochastic" or "split"


@dataclass(frozen=True)
class About(Record):
    """What was watched, and how: the same for all of a run."""

    name: str  # of the model's class
    optimizer: str
    formats: tuple[str, ...]  # the candidates that tensors are tallied for
    ways: tuple[Way, ...]  # the candidates that updates are counted for
    every: int  # steps from sample to sample
    parameters: int
    ranks: int = 1
    started: float = 0.0  # seconds since 1970
    versions: tuple[tuple[str, str], ...] = ()


#: The columns of ``Observed.counts``, per format.
EXACT, UNDERFLOW, SUBNORMAL, OVERFLOW = range(4)
KINDS = ("exact", "underflow", "subnormal", "overflow")


class Observed(NamedTuple):
    """What tensors held at one step: a row a series."""

    series: Array  # which, as indices
    elements: Array
    zero: Array
    infinite: Array
    nan: Array
    largest: Array  # finite magnitude; 0 where there is none
    least: Array  # nonzero magnitude; 0 where there is none
    counts: Array  # [row, format, kind]: what a cast to nearest even would do; kinds as in KINDS
    first_binade: Array  # e of the least one counted: 2**e <= |x| < 2**(e + 1)
    width: Array  # binades counted from there on
    binades: Array  # elements in each, row after row

    def histogram(self, row: int) -> dict[int, int]:
        """How many elements of a row each binade has."""
        begin = int(self.width[:row].sum())
        counted = self.binades[begin : begin + int(self.width[row])].tolist()
        first = int(self.first_binade[row])
        return {first + i: count for i, count in enumerate(counted) if count}

    def row_of(self, series: int) -> int | None:
        """The row of a series, or None where it was not seen."""
        found = np.flatnonzero(self.series == series)
        return int(found[0]) if found.size else None


class UpdateRows(NamedTuple):
    """What the optimizer meant at one step, and what became of it: a row a parameter.

    Sums are over the elements whose weight is finite and whose intended update is not zero.
    """

    series: Array  # of the weight
    running: Array  # which way the training itself takes, as an index into About.ways
    updates: Array  # nonzero ones that were intended
    lost: Array  # [row, way]: of them, those that leave all that is kept of the weight as it was
    intended: Array  # sum of squares of the updates meant
    effective: Array  # [row, way]: sum of squares of the updates that arrive
    product: Array  # [row, way]: sum of their products
    decays: Array  # nonzero weight decays; 0 where the optimizer applies none by itself
    decays_lost: Array  # [row, way]
    looked: Array  # elements compared with the samples before
    still: Array  # of them, those with the same bits for the last samples
    samples: Array  # how many samples these are


@dataclass(frozen=True)
class Head(Record):
    """One sampled step, without its columns."""

    step: int  # optimizer steps before it
    time: float  # seconds since 1970
    loss_scale: float | None  # that its gradients had; None where the loss is not scaled
    taken: bool | None  # whether the optimizer's step was taken; None where that is not known
    settings: tuple[tuple[str, float], ...] = ()  # "lr" of the first group, and the like
    nonfinite: int = 0  # elements in all series


class Sample(NamedTuple):
    """One sampled step."""

    head: Head
    observed: Observed
    updates: UpdateRows | None  # None where the step was not taken


@dataclass(frozen=True)
class Event(Record):
    """Something that happened at one step."""

    step: int
    kind: str  # "skip", "nonfinite", "scale", "note"
    sentence: str
    loss_scale: float | None = None
    scale_after: float | None = None
    parameter: str | None = None  # the first whose gradient was not finite
    details: dict[str, Any] = field(default_factory=dict)  # plain JSON


class Recorded(NamedTuple):
    """Some elements of a weight and the updates meant for them, at the last sample."""

    series: int
    step: int
    where: Array  # indices of the elements, in C order
    weights: Array  # float64
    updates: Array  # float64


def no_updates() -> UpdateRows:
    """No rows."""
    return UpdateRows(*(np.zeros(0, np.int64) for _ in UpdateRows._fields))
