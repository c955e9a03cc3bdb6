"""All verdicts on a run: what is wrong, what could be better, and what it was judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from halfulp.errors import unknown
from halfulp.language import translate as _
from halfulp.records import Record, data_frame
from halfulp.runs import advice, lost, ranges, scales
from halfulp.runs.advice import FormatAdvice
from halfulp.runs.finding import ERROR, SEVERITIES, WARNING, Finding, most_severe_first
from halfulp.runs.reading import Run
from halfulp.runs.scale_window import Windows
from halfulp.runs.survey import Survey, WayCounts

#: What is looked for, in the order of the page.
CHECKS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    ranges.nonfinite,
    lost.lost_updates,
    scales.skips,
    scales.collapse,
    scales.loss_scale,
    lost.decay_lost,
    lost.never_moved,
    ranges.states,
    advice.fix_for_lost_updates,
    advice.formats_by_role,
    ranges.would_overflow,
    ranges.would_underflow,
    lost.frozen,
)


@dataclass(frozen=True)
class Findings(Record):
    """What was found in a run, the most severe first, and the counts behind it."""

    renderer = "halfulp.runs.verdicts_text:findings_page"

    path: str
    model: str
    optimizer: str
    sampled: int  # steps
    first_step: int | None
    last_step: int | None
    findings: tuple[Finding, ...]
    running: WayCounts | None  # each weight in the way that it runs; None without updates
    running_ways: tuple[str, ...]  # these ways, by name
    ways: tuple[WayCounts, ...]  # all weights under each candidate
    updates_read: int  # steps whose updates are counted
    windows: Windows | None  # of loss scales for float16; None without gradients
    formats: tuple[FormatAdvice, ...]

    def of(self, severity: str) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(f for f in self.findings if f.severity == severity)

    def of_kind(self, kind: str) -> tuple[Finding, ...]:
        """The findings of one kind, such as "lost updates"."""
        return tuple(f for f in self.findings if f.kind == kind)

    def fails(self, severity: str) -> bool:
        """Whether anything is as severe as that, or more.

        Raises HalfulpError for what is no severity.
        """
        if severity not in SEVERITIES:
            raise unknown(_("severity"), severity, SEVERITIES)
        return any(self.of(s) for s in SEVERITIES[: SEVERITIES.index(severity) + 1])

    @property
    def is_healthy(self) -> bool:
        """Whether there is no error and no warning."""
        return not self.of(ERROR) and not self.of(WARNING)

    def to_pandas(self) -> Any:
        """One row a finding, without its evidence."""
        return data_frame(self.findings, leave_out=["evidence"])


def findings(run: Run) -> Findings:
    """What is wrong with a run, and what could be better, each with its evidence.

    Of more than 10,000 sampled steps as many are read, evenly spread, and of more than 400 as many
    for what casts would do. Tensors with the same fault make one finding.

    Raises HalfulpError where the log is damaged.

    >>> from halfulp.runs import log, samples
    >>> about = samples.About("Net", "AdamW", ("float16",), (), 100, 7)
    >>> writer = log.LogWriter(":memory:", about)
    >>> writer.tell(samples.Event(3, "nonfinite", "the loss is NaN"))
    >>> found = findings(Run(writer.connection, ":memory:"))
    >>> print(found.findings[0])
    error: “the loss is NaN”.
    """
    survey = Survey(run)
    found = most_severe_first(finding for check in CHECKS for finding in check(survey))
    sums, steps = survey.updates, [*survey.heads]
    ran = sorted({int(way) for way in sums.running if way >= 0})
    ways = [sums.counts(way) for way in range(len(sums.ways))] if ran else []
    windows = survey.windows
    return Findings(
        path=run.path,
        model=run.about.name,
        optimizer=run.about.optimizer,
        sampled=len(run),
        first_step=steps[0] if steps else None,
        last_step=steps[-1] if steps else None,
        findings=found,
        running=sums.running_counts() if ran else None,
        running_ways=tuple(ways[way].name for way in ran),
        ways=tuple(ways),
        updates_read=sums.steps,
        windows=windows if any(row.largest is not None for row in windows.rows) else None,
        formats=advice.format_advice(survey),
    )
