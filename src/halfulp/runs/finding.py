"""A finding: what is wrong with a run, or could be better, in one sentence with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from halfulp.language import Told, in_context, joined, spoken, told, told_many
from halfulp.language import translate as _
from halfulp.records import Record

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")
FEW = 3  # names that a sentence lists

Evidence = tuple[tuple[str, int | float | str], ...]


@dataclass(frozen=True)
class Finding(Record):
    """One finding. Those of many tensors are merged: the sentence says how many, and the worst."""

    severity: str  # one of SEVERITIES
    kind: str
    tensor: str | None  # the worst one
    step: int | None  # where it was first seen
    sentence: str  # told, so that it is English here and in JSON, and spoken where it is drawn
    evidence: Evidence
    command: str | None = None  # explains the very element that the evidence names

    @property
    def name(self) -> str:
        """Its kind."""
        return self.kind

    def __str__(self) -> str:
        said = _("{severity}: {sentence}")
        return said.format(severity=severity(self.severity), sentence=spoken(self.sentence))


def severity(name: str) -> str:
    """One of SEVERITIES in the language in use."""
    words = {
        ERROR: in_context("severity", "error"), WARNING: in_context("severity", "warning"),
        NOTE: in_context("severity", "note"),
    }  # fmt: skip
    return words[name]


def percent(part: int, whole: int) -> Told:
    """A share with its numerator and denominator; only all of them are 100 %, only none 0 %.

    >>> percent(9941, 10000), percent(99999, 10**5), percent(1, 10**6)
    ('99.41 % (9,941 of 10,000)', '99.99 % (99,999 of 100,000)', '<0.01 % (1 of 1,000,000)')
    """
    return told("{share} ({part:,} of {whole:,})", share=share(part, whole), part=part, whole=whole)


def share(part: int, whole: int) -> str:
    """The percentage alone, for where both numbers stand beside it."""
    text = f"{100 * part / whole:.2f}" if whole else "0.00"
    if text == "100.00" and part < whole:
        text = "99.99"
    return "<0.01 %" if text == "0.00" and part else f"{text} %"


def listed(names: Sequence[str], few: int = FEW) -> Told:
    """Some names, and how many more there are.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c", "d", "e"])
    ('a, b, c', 'a, b, c and 2 more')
    """
    shown = joined(names[:few], ", ")
    if len(names) <= few:
        return shown
    return told("{names} and {more} more", names=shown, more=len(names) - few)


def tensors(count: int) -> Told:
    """So many tensors."""
    return told_many("{n:,} tensor", "{n:,} tensors", count)


def quoted(sentence: str) -> str:
    """What somebody else said, in quotes.

    >>> quoted("step 3 was skipped.")
    '“step 3 was skipped”'
    """
    return f"“{sentence.rstrip('.')}”"


def magnitude(x: float) -> str:
    """A number to three digits; the whole part in full where it is short.

    >>> magnitude(65504.0), magnitude(1.5e-7), magnitude(2.0), magnitude(1840.3)
    ('65,504', '1.5e-07', '2', '1,840')
    """
    return f"{x:,.0f}" if 1000 <= abs(x) < 10**9 else f"{x:.3g}"


def evidence(**parts: Any) -> Evidence:
    """Evidence by name; underscores stand for spaces, and what is None is left out.

    >>> evidence(lost=3, first_step=0, element=None)
    (('lost', 3), ('first step', 0))
    """
    return tuple((k.replace("_", " "), v) for k, v in parts.items() if v is not None)


def most_severe_first(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors, then warnings, then notes; within these as they were found."""
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))
