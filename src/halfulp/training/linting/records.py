"""What a lint says: findings with their evidence, and the shares of updates that would be lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halfulp.language import Told
from halfulp.records import Record, data_frame
from halfulp.runs.finding import SEVERITIES, listed


@dataclass(frozen=True)
class Evidence(Record):
    """A number that a finding rests on."""

    name: str
    value: float


@dataclass(frozen=True)
class Finding(Record):
    """One thing that low precision does to a training, or would do."""

    name: str  # of the rule
    severity: str  # error, warning or note
    where: str  # a group of the optimizer, a parameter, a format or an argument; told
    sentence: str  # told: English here and in JSON, spoken where it is drawn
    evidence: tuple[Evidence, ...] = ()
    command: str | None = None  # of halfulp, that explains it


@dataclass(frozen=True)
class ParameterShare(Record):
    """Updates of one parameter that would be lost, as counted on a sample of its elements."""

    name: str
    format: str
    elements: int
    sampled: int
    updates: int  # nonzero ones of the sample, over all steps
    lost: int  # of them, those that round away


@dataclass(frozen=True)
class FormatShare(Record):
    """Updates that would be lost were the weights kept in a format, rounded to nearest."""

    name: str
    running: bool  # whether the weights are kept in it now
    updates: int  # nonzero ones of all elements: counts of samples, each by what it stands for
    lost: int
    first_updates: int  # the same of the first step alone
    first_lost: int
    parameters: tuple[ParameterShare, ...]

    @property
    def share(self) -> float:
        """The lost part of all updates, from 0 to 1; 0 where there are none."""
        return self.lost / self.updates if self.updates else 0.0

    @property
    def first_share(self) -> float:
        """The lost part of the first step's updates, from 0 to 1."""
        return self.first_lost / self.first_updates if self.first_updates else 0.0

    def to_pandas(self) -> Any:
        """One row a parameter."""
        return data_frame(self.parameters)


@dataclass(frozen=True)
class Lint(Record):
    """What low precision will do to a training, said before its first step."""

    renderer = "halfulp.training.linting.text:lint_page"

    target: str
    optimizer: str
    parameters: int  # elements that the optimizer updates
    running: str  # the format they are kept in, or several
    gradients: str  # that updates were predicted from: batches, given, present, noise or none
    steps: int  # that were predicted
    sample: int  # elements of a parameter that were followed at most
    findings: tuple[Finding, ...]  # the gravest first
    shares: tuple[FormatShare, ...]

    def of(self, severity: str) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(f for f in self.findings if f.severity == severity)

    def named(self, name: str) -> tuple[Finding, ...]:
        """The findings of one rule."""
        return tuple(f for f in self.findings if f.name == name)

    def share_of(self, name: str) -> FormatShare:
        """The prediction for one format.

        Raises KeyError where there is none.
        """
        return {share.name: share for share in self.shares}[name]

    def fails(self, least: str) -> bool:
        """Whether anything is at least so grave."""
        return any(f.severity in SEVERITIES[: SEVERITIES.index(least) + 1] for f in self.findings)

    def to_pandas(self) -> Any:
        """One row a finding."""
        none = Finding("", "", "", "")
        frame = data_frame(self.findings or [none], leave_out=["evidence"])
        return frame if self.findings else frame.iloc[:0]


def evidence(**numbers: float) -> tuple[Evidence, ...]:
    """Numbers by their names.

    >>> evidence(eps=1e-8)[0].value
    1e-08
    """
    return tuple(Evidence(name, float(value)) for name, value in numbers.items())


def gravest_first(findings: list[Finding]) -> tuple[Finding, ...]:
    """Findings in the order of their severity; what is said of several places is said once."""
    places: dict[Finding, list[str]] = {}
    for f in findings:
        same = Finding(f.name, f.severity, "", f.sentence, f.evidence, f.command)
        places.setdefault(same, []).append(f.where)
    merged = [
        Finding(f.name, f.severity, few(where), f.sentence, f.evidence, f.command)
        for f, where in places.items()
    ]
    return tuple(sorted(merged, key=lambda f: SEVERITIES.index(f.severity)))


def few(names: Sequence[str], most: int = 3) -> Told:
    """The first of some names, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    return listed(list(dict.fromkeys(names)), most)
