"""What the proof is made of: claims, cut into pieces, and what is found in each piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.records import Record
from halfulp.rounding import DECISIONS

Array = npt.NDArray[Any]
#: Marks the elements of differing inputs, ours and theirs that a known difference explains.
Predicate = Callable[[Sequence[Array], Array, Array], Array]

#: Every rounding that draws nothing.
MODES = tuple(mode for mode in DECISIONS if mode != "stochastic")
#: Those of IEEE 754-2019 §4.3.
IEEE_754 = ("nearest_even", "nearest_away", "toward_zero", "up", "down")
NAMED = 3  # mismatches that a piece names; it counts them all
CHUNK = 1 << 20  # inputs compared at a time


@dataclass(frozen=True)
class Mismatch(Record):
    """An input on which ours and the reference differ, all as bits."""

    what: str
    inputs: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Found(Record):
    """What comparing came to, of a piece or of several."""

    inputs: int = 0
    comparisons: int = 0  # more than inputs where each is rounded in several ways
    mismatches: int = 0
    examples: tuple[Mismatch, ...] = ()
    known: tuple[tuple[str, int], ...] = ()  # differences that have an explanation, and how many

    def __add__(self, other: Found) -> Found:
        known = dict(self.known)
        for name, count in other.known:
            known[name] = known.get(name, 0) + count
        return Found(
            self.inputs + other.inputs,
            self.comparisons + other.comparisons,
            self.mismatches + other.mismatches,
            (*self.examples, *other.examples)[:NAMED],
            tuple(known.items()),
        )

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Found:
        """What :meth:`to_dict` made."""
        examples = tuple(Mismatch(**each) for each in value["examples"])
        known = tuple((name, count) for name, count in value["known"])
        return cls(**value | {"examples": examples, "known": known})


def total(found: Iterable[Found]) -> Found:
    """All that was found, added up."""
    return sum(found, Found())


class Known(NamedTuple):
    """A difference that has an explanation, and the elements that it explains."""

    explanation: str
    explains: Predicate


class Piece(NamedTuple):
    """A part of a claim that is done at a stretch: which of its inputs, by their numbers."""

    name: str
    span: range


@dataclass(frozen=True)
class Claim:
    """Ours held to a reference on some of a population of inputs."""

    area: str
    subject: str  # what is compared, but for ``item``
    item: str  # one format, width, … of those that the same is claimed of
    roundings: tuple[str, ...]
    backend: str
    reference: str  # with its version
    population: int  # of the inputs that there are
    check: Callable[[Piece], Found]
    pieces: tuple[Piece, ...]
    seconds: float  # that a piece takes, about
    sources: tuple[str, ...]  # modules whose code it depends on, with what they import
    packages: tuple[str, ...]  # and packages, by their versions
    absent: str = ""  # why it cannot be checked here

    @property
    def name(self) -> str:
        """What tells the claim from all others."""
        said = (self.subject, self.item, said_roundings(self.roundings), self.backend)
        return f"{self.area}: {', '.join(filter(None, said))}, {self.reference}"


def said_roundings(roundings: Sequence[str]) -> str:
    """Roundings as a table says them."""
    sets = {MODES: f"all {len(MODES)} but stochastic", IEEE_754: f"the {len(IEEE_754)} of IEEE 754"}
    return sets.get(tuple(roundings)) or ", ".join(roundings)


def pieces_of(population: int, size: int) -> tuple[Piece, ...]:
    """The numbers up to ``population``, ``size`` at a time."""
    spans = [range(n, min(n + size, population)) for n in range(0, population, size)]
    return tuple(Piece(f"{i + 1:03} of {len(spans):03}", span) for i, span in enumerate(spans))


def compare(
    inputs: Sequence[Array], ours: Array, theirs: Array, what: str,
    is_nan: Callable[[Array], Array] | None = None, known: Sequence[Known] = (),
) -> Found:  # fmt: skip
    """Patterns held to patterns, one by one; where both are NaN, any will do if ``is_nan`` is told.

    The answer counts no inputs: the same ones may be compared in several ways.
    """
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        raise ValueError(f"{what}: {ours.dtype} {ours.shape} held to {theirs.dtype} {theirs.shape}")
    wrong = np.flatnonzero(ours != theirs)
    if wrong.size and is_nan is not None:
        wrong = wrong[~(is_nan(ours[wrong]) & is_nan(theirs[wrong]))]
    counts = []
    for each in known:
        explained = each.explains([x[wrong] for x in inputs], ours[wrong], theirs[wrong])
        counts.append((each.explanation, int(np.count_nonzero(explained))))
        wrong = wrong[~explained]
    examples = tuple(
        Mismatch(what, ", ".join(_hex(x[i]) for x in inputs), _hex(ours[i]), _hex(theirs[i]))
        for i in wrong[:NAMED]
    )
    return Found(0, ours.size, wrong.size, examples, tuple(counts))


def _hex(pattern: Any) -> str:
    return f"0x{int(pattern):0{2 * pattern.dtype.itemsize}x}"
