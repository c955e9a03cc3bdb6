"""Verdicts on the loss scale: whether one fits, whether the running one does, and what skips mean.

A dynamic scale grows until it is too large, skips that step, halves, and goes on: such a skip is
normal. It is a fault where skips repeat, where the scale falls below what the gradients need, and
where it skips at scales at which no gradient overflows, for then something else is not finite.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

from halfulp.catalogue import binade
from halfulp.language import N_, Told, told, told_many
from halfulp.runs.finding import (
    ERROR,
    NOTE,
    SEVERITIES,
    WARNING,
    Evidence,
    Finding,
    evidence,
    magnitude,
    percent,
    quoted,
    tensors,
)
from halfulp.runs.samples import Event
from halfulp.runs.scale_window import Window, Windows, is_narrow, range_text
from halfulp.runs.survey import GRADIENTS, Survey

FORCED = 8.0  # times the next tensor's largest gradient
OFTEN = 0.5  # of the steps that were looked at
PROBING = 0.05  # of them, above the window: a dynamic scale probes
COLLAPSE = 4  # times down without once up
REPEATED, MANY = 3, 8  # skips in a row
FOUND = 25  # steps in which a scale may come down to where it fits
MARGIN = 4  # times below the largest scale: a skip there is not the scale's


def loss_scale(survey: Survey) -> Iterator[Finding]:
    """The window of scales against what the training did."""
    found = survey.windows
    rows = [row for row in found.rows if row.largest is not None]
    if rows:
        used = any(row.loss_scale is not None for row in rows)
        yield from _no_scale(found, rows, used)
        yield from _outside(rows)
        yield from _forced(found, rows)
        yield from _hidden(survey, rows, used)


def _no_scale(found: Windows, rows: list[Window], used: bool) -> Iterator[Finding]:
    """Steps that no scale fits; or, where each has one, no single scale that fits all."""
    empty = [row for row in rows if row.is_empty]
    kept = f"{float(found.share):.4%}".rstrip("0%").rstrip(".") + " %"
    if empty:
        first = max(empty, key=lambda row: row.zeroed_at_largest)
        bad = used and _is_much(first.zeroed_at_largest, first)
        yield Finding(
            WARNING if bad else NOTE, "loss scale", first.bound_below, first.step,
            told(
                "No loss scale keeps {kept} of the nonzero gradient elements of every tensor in "
                "{format} without overflow at {part} of the sampled steps: at step {step:,} "
                "{below} needs {least} or more and {above} bears {largest} at most, where of all "
                "gradients {zeroed} become zero.",
                kept=kept, format=found.format.name, part=percent(len(empty), len(rows)),
                step=first.step, below=first.bound_below, least=power(first.least),
                above=first.bound_above, largest=power(first.largest),
                zeroed=percent(first.zeroed_at_largest, first.nonzero),
            ),
            _bounds(first) + evidence(steps=len(empty), of_steps=len(rows)),
        )  # fmt: skip
    elif found.is_empty:
        yield Finding(
            NOTE, "loss scale", found.bound_below, found.below_step,
            told(
                "No one loss scale fits {format} at all sampled steps, though each has one that "
                "does: {below} needs {least} or more at step {below_step:,} and {above} bears "
                "{largest} at most at step {above_step:,}; a dynamic scale can follow.",
                format=found.format.name, below=found.bound_below, least=power(found.least),
                below_step=found.below_step, above=found.bound_above,
                largest=power(found.largest), above_step=found.above_step,
            ),
            evidence(steps=len(rows), share=float(found.share)),
        )  # fmt: skip


def _outside(rows: list[Window]) -> Iterator[Finding]:
    """Steps at which the running scale lost gradients at one end or the other."""
    scaled = [row for row in rows if row.loss_scale is not None and not row.is_empty]
    above = [row for row in scaled if row.is_above]
    below = [row for row in scaled if row.is_below]
    if above:
        yield _out(above, scaled, "above", NOTE if len(above) <= PROBING * len(scaled) else WARNING)
    if below:
        bad = len(below) >= OFTEN * len(scaled) and any(_is_much(r.zeroed or 0, r) for r in below)
        yield _out(below, scaled, "below", WARNING if bad else NOTE)


def _is_much(zeroed: int, row: Window) -> bool:
    """Whether it is more than the share that may be lost, of all gradients together."""
    return zeroed > (1 - row.share) * row.nonzero


def _out(outside: list[Window], scaled: list[Window], where: str, severity: str) -> Finding:
    worst = outside[0]
    tensor, text = worst.bound_above, N_(
        "The loss scale was above the window of {format} at {part} of the sampled steps, such as "
        "step {step:,}: it was {scale}, {range} fits, and {tensor} overflows."
    )  # fmt: skip
    if where == "below":
        worst = max(outside, key=lambda row: row.zeroed or 0)
        tensor, text = worst.bound_below, N_(
            "The loss scale was below the window of {format} at {part} of the sampled steps, such "
            "as step {step:,}: it was {scale}, {range} fits, and {tensor} loses more than its "
            "share to zero; of all gradients {zeroed}."
        )  # fmt: skip
    sentence = told(
        text, format=worst.format.name, part=percent(len(outside), len(scaled)), step=worst.step,
        scale=magnitude(worst.loss_scale or 0.0), range=range_text(worst.least, worst.largest),
        tensor=tensor, zeroed=percent(worst.zeroed or 0, worst.nonzero),
    )  # fmt: skip
    return Finding(
        severity, f"loss scale {where}", tensor, worst.step, sentence,
        _bounds(worst) + evidence(
            loss_scale=worst.loss_scale, steps=len(outside), of_steps=len(scaled)
        ),
    )  # fmt: skip


def _forced(found: Windows, rows: list[Window]) -> Iterator[Finding]:
    """One module whose largest gradient is many times any other's at most steps."""
    forcing = [row for row in rows if (row.above_next or 0.0) >= FORCED and row.tensors > 1]
    if not forcing:
        return
    (name, times), *_others = Counter(row.bound_above for row in forcing).most_common(1)
    if times < OFTEN * len(rows):
        return
    first = next(row for row in forcing if row.bound_above == name)
    yield Finding(
        NOTE, "loss scale forced", name, first.step,
        told(
            "{name} alone forces the loss scale down: its largest gradient is {forced:g} or more "
            "times that of every other module at {part} of the sampled steps, {times} times at "
            "step {step:,}, where all bear {largest}.",
            name=name, forced=FORCED, part=percent(times, len(rows)),
            times=magnitude(first.above_next or 0.0), step=first.step,
            largest=power(first.largest),
        ),
        _bounds(first) + evidence(times_the_next=first.above_next, steps=times, of_steps=len(rows)),
    )  # fmt: skip


def _hidden(survey: Survey, rows: list[Window], used: bool) -> Iterator[Finding]:
    """Gradients that were narrow already: the lower end cannot be told."""
    hidden = [row for row in rows if row.hidden is not None]
    if not hidden:
        return
    narrow = [s for s in survey.series if s.role in GRADIENTS and is_narrow(s.dtype)]
    unscaled = "" if used else told(", and their loss was not scaled")
    yield Finding(
        NOTE if used else WARNING, "loss scale hidden", hidden[0].hidden, hidden[0].step,
        told(
            "The least loss scale cannot be told: gradients were {dtype} already in {tensors} such "
            "as {name}, so that what became zero in them is not seen{unscaled}.",
            dtype=narrow[0].dtype, tensors=tensors(len(narrow)), name=hidden[0].hidden,
            unscaled=unscaled,
        ),
        evidence(dtype=narrow[0].dtype, tensors=len(narrow), steps=len(hidden)),
    )  # fmt: skip


def power(scale: Fraction | None) -> str:
    """A power of two as one."""
    return told("any") if scale is None else f"2^{binade(scale)}"


def _bounds(row: Window) -> Evidence:
    return evidence(
        least=None if row.least is None else power(row.least), largest=power(row.largest),
        bound_below=row.bound_below, bound_above=row.bound_above, share=float(row.share),
        tensors=row.tensors,
    )  # fmt: skip


class Move(NamedTuple):
    """A change of the loss scale."""

    step: int
    before: float
    after: float


def moves_of(events: Sequence[Event]) -> list[Move]:
    """The changes of the scale that events tell, each once."""
    seen: dict[tuple[int, float, float], Move] = {}
    for event in events:
        before, after = event.loss_scale, event.scale_after
        if before is not None and after is not None and before != after:
            seen.setdefault((event.step, before, after), Move(event.step, before, after))
    return sorted(seen.values(), key=lambda move: move.step)


def collapse(survey: Survey) -> Iterator[Finding]:
    """A scale that went down many times without once going up."""
    worst: list[Move] = []
    falling: list[Move] = []
    for move in moves_of(survey.run.events):
        falling = [*falling, move] if move.after < move.before else []
        worst = max(worst, falling, key=len)
    # From where it starts a scale may come down to where it fits.
    if len(worst) < COLLAPSE or _finds_its_place(survey, worst):
        return
    first, last = worst[0], worst[-1]
    row = _row_at(survey, last.step)
    low = last.after < 1 or (row is not None and row.least is not None and last.after < row.least)
    yield Finding(
        ERROR if low else WARNING, "scale collapse", None, first.step,
        told_many(
            "The loss scale collapsed: {n:,} time down and never up from step {first:,} to "
            "{last:,}, from {before} to {after}{low}.",
            "The loss scale collapsed: {n:,} times down and never up from step {first:,} to "
            "{last:,}, from {before} to {after}{low}.",
            len(worst), first=first.step, last=last.step, before=magnitude(first.before),
            after=magnitude(last.after),
            low=told(", where small gradients become zero") if low else "",
        ),
        evidence(
            times=len(worst), from_scale=first.before, to_scale=last.after,
            first_step=first.step, last_step=last.step,
        ),
    )  # fmt: skip


def _finds_its_place(survey: Survey, falling: list[Move]) -> bool:
    """Whether a fall is that of the first steps, to a scale that then fits."""
    begin = survey.run.heads[0].step if survey.run.heads else 0
    last, row = falling[-1], _row_at(survey, falling[-1].step + 1)
    fits = row is None or row.least is None or last.after >= row.least
    return falling[0].step <= begin + 1 and last.step <= begin + FOUND and last.after >= 1 and fits


class Fault(NamedTuple):
    """Why skips are no probing."""

    severity: str
    why: Told


NOT_ITS_SIZE = Fault(
    WARNING, told("the scale had room for the gradients that are seen: it is not for its size")
)


def skips(survey: Survey) -> Iterator[Finding]:
    """Skipped steps, those that are normal apart from those that are a fault."""
    groups = _groups([event for event in survey.run.events if event.kind == "skip"])
    judged = [(group, _fault(survey, group)) for group in groups]
    room = [g for g, fault in judged if fault is None and _is_not_the_scale(survey, g)]
    odd = room if len(room) > 1 else []  # once may be one odd batch
    faults = [(group, fault) for group, fault in judged if fault is not None]
    faults += [(group, NOT_ITS_SIZE) for group in odd]
    normal = [group for group, fault in judged if fault is None and group not in odd]
    if faults:
        yield _faulty(faults)
    if normal:
        yield _normal(normal)


def _groups(events: list[Event]) -> list[list[Event]]:
    """Skips of steps in a row together."""
    groups: list[list[Event]] = []
    for event in sorted(events, key=lambda e: e.step):
        if groups and event.step <= groups[-1][-1].step + 1:
            groups[-1].append(event)
        else:
            groups.append([event])
    return groups


def _fault(survey: Survey, group: list[Event]) -> Fault | None:
    """Why a group of skips is a fault, or nothing."""
    if any(is_forward(event) for event in group):
        return Fault(ERROR, told("the model's output was not finite already, which no scale cures"))
    after, row = group[-1].scale_after, _row_at(survey, group[-1].step)
    if after is not None and after < 1:
        fell = N_("the scale fell to {scale}: no scale cures what is not finite")
        return Fault(ERROR, told(fell, scale=magnitude(after)))
    if after is not None and row is not None and row.least is not None and after < row.least:
        fell = N_("the scale fell to {scale}, and {least} or more is needed")
        return Fault(ERROR, told(fell, scale=magnitude(after), least=power(row.least)))
    begin = survey.run.heads[0].step if survey.run.heads else 0
    is_start = group[0].step <= begin + 1 and group[-1].step <= begin + FOUND
    if len(group) >= REPEATED and not is_start:
        return Fault(ERROR if len(group) >= MANY else WARNING, told("{n} in a row", n=len(group)))
    return None


def is_forward(event: Event) -> bool:
    """Whether a step was skipped for what was not finite before any gradient was."""
    return event.details.get("output_finite") is False


def _is_not_the_scale(survey: Survey, group: list[Event]) -> bool:
    """Whether the scale had room at the last sampled step before that was finite."""
    rows = [r for r in survey.windows.rows if r.largest is not None and not r.nonfinite]
    at = bisect_left([row.step for row in rows], group[0].step) - 1
    scale = group[0].loss_scale
    if at < 0 or scale is None:
        return False
    return Fraction(scale) * MARGIN <= (rows[at].largest or 0)


def _row_at(survey: Survey, step: int) -> Window | None:
    """The window of the sampled step nearest before a step, or of the first one."""
    rows = [row for row in survey.windows.rows if not row.nonfinite]
    at = bisect_left([row.step for row in rows], step + 1) - 1
    return rows[max(at, 0)] if rows else None


def _faulty(faults: list[tuple[list[Event], Fault]]) -> Finding:
    """One finding for all, with the worst and then the longest told."""
    worst = min(faults, key=lambda each: (SEVERITIES.index(each[1].severity), -len(each[0])))
    group, fault = worst
    first, count = group[0], sum(len(each) for each, _fault in faults)
    often = told(" in {n:,} places", n=len(faults)) if len(faults) > 1 else ""
    return Finding(
        fault.severity, "skip", first.parameter, first.step,
        told_many(
            "{n:,} step was skipped{often} by a fault ({why}); such as at step {step:,}: {event}.",
            "{n:,} steps were skipped{often} by a fault ({why}); such as at step {step:,}: "
            "{event}.", count, often=often, why=fault.why, step=first.step,
            event=quoted(first.sentence),
        ),
        evidence(
            skipped=count, groups=len(faults), of_this=len(group), loss_scale=first.loss_scale,
            scale_after=group[-1].scale_after, parameter=first.parameter,
        ),
    )  # fmt: skip


def _normal(groups: list[list[Event]]) -> Finding:
    count, last = sum(map(len, groups)), groups[-1][-1]
    return Finding(
        NOTE, "skip", last.parameter, last.step,
        told_many(
            "{n:,} step was skipped while the loss scale was probed, which is normal; at step "
            "{step:,}: {event}.",
            "{n:,} steps were skipped while the loss scale was probed, which is normal; last at "
            "step {step:,}: {event}.", count, step=last.step, event=quoted(last.sentence),
        ),
        evidence(skipped=count, loss_scale=last.loss_scale, scale_after=last.scale_after),
    )  # fmt: skip
