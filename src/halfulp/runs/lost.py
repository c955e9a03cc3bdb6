"""Verdicts on updates: lost, weights that never move, frozen ones, and weight decay never applied.

A weight that is given no update has none to lose: it is frozen, and no update of it counts here.
Under stochastic rounding most updates leave their weight as it was and the others move it by a
whole ulp, so that a count of lost ones says nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.language import N_, Told, told, told_many
from halfulp.runs.elements import Element, lost_element
from halfulp.runs.finding import (
    ERROR,
    NOTE,
    SEVERITIES,
    WARNING,
    Finding,
    evidence,
    listed,
    percent,
)
from halfulp.runs.samples import GRADIENT, WEIGHT
from halfulp.runs.survey import NEVER, Survey, WayCounts

Array = npt.NDArray[Any]

STOCHASTIC = "stochastic"
#: Shares of nonzero updates lost in all of a run, from which on it is an error, a warning, a note.
LOST = ((0.5, ERROR), (0.1, WARNING), (0.01, NOTE))
TENSOR_LOST = 0.5  # a share of one tensor's updates that is worth a warning by itself
ARRIVED = 1e-3  # norm ratio and cosine this near to 1: what was lost was small
STILL, FEWEST_SAMPLES = 0.5, 3
DECAY_LOST = 0.95
TRIED = 20  # weights among which an example is looked for


def lost_updates(survey: Survey) -> Iterator[Finding]:
    """Per way that weights are kept in: what share of the nonzero updates was lost."""
    sums = survey.updates
    for way in np.unique(sums.running[sums.running != NEVER]).tolist():
        mine = np.flatnonzero((sums.running == way) & (sums.updates > 0))
        if not mine.size or sums.ways[way].strategy == STOCHASTIC:
            continue
        counts = sums.counts(way, mine)
        shares = sums.lost[mine, way] / sums.updates[mine]
        order = np.lexsort((-sums.updates[mine], -shares))
        severity = _severity(counts, float(shares[order[0]]))
        if severity is not None:
            bad = [int(series) for series in mine[order] if _is_bad(sums, int(series), way)]
            worst = bad[0] if bad else int(mine[order[0]])
            yield _lost(survey, severity, counts, worst, bad)


def _severity(counts: WayCounts, worst: float) -> str | None:
    """How bad it is; a step less where nearly all of the norm arrived."""
    found = next((severity for least, severity in LOST if counts.share >= least), None)
    if found is None:
        return WARNING if worst >= TENSOR_LOST else None
    arrived = abs(counts.norm_ratio - 1) <= ARRIVED and counts.cosine >= 1 - ARRIVED
    return SEVERITIES[min(SEVERITIES.index(found) + 1, 2)] if arrived else found


def _is_bad(sums: Any, series: int, way: int) -> bool:
    return bool(sums.lost[series, way] >= LOST[1][0] * sums.updates[series])


def _lost(survey: Survey, severity: str, counts: WayCounts, worst: int, bad: list[int]) -> Finding:
    sums, name = survey.updates, survey.series[worst].name
    way = int(sums.running[worst])
    of_worst = int(sums.lost[worst, way]), int(sums.updates[worst])
    first = int(
        sums.first_lost[sums.running == way][sums.first_lost[sums.running == way] >= 0].min()
    )
    element = _example(survey, bad or [worst], way)
    among = (
        told("worst of {n:,} parameters that lose 10 % or more is", n=len(bad))
        if len(bad) > 1
        else told("worst is")
    )
    sentence = told(
        "{way}: {lost} of nonzero updates lost since step {step:,}; what arrives has {length:.3f} "
        "of the length of what was meant (cosine {cosine:.3f}); {among} {name}, {part}{element}.",
        way=counts.name, lost=percent(counts.lost, counts.updates), step=first,
        length=counts.norm_ratio, cosine=counts.cosine, among=among, name=name,
        part=percent(*of_worst), element=_of(element, name),
    )  # fmt: skip
    return Finding(
        severity, "lost updates", name, first, sentence,
        evidence(
            way=counts.name, lost=counts.lost, updates=counts.updates,
            length=counts.norm_ratio, cosine=counts.cosine, parameters=len(bad),
            lost_of_worst=of_worst[0], updates_of_worst=of_worst[1], sampled_steps=sums.steps,
        ) + _element_evidence(element),
        None if element is None else element.command,
    )  # fmt: skip


def _example(survey: Survey, among: list[int], way: int) -> Element | None:
    """A recorded element that loses its update, of the first of some weights that have one."""
    for series in among[:TRIED]:
        element = lost_element(survey, series, survey.updates.ways[way])
        if element is not None:
            return element
    return None


def _of(element: Element | None, worst: str) -> str:
    if element is None:
        return ""
    if element.name == worst:
        return told("; such as its element {at:,}, {sum}", at=element.where, sum=element.sum)
    text = N_("; such as {name}'s element {at:,}, {sum}")
    return told(text, name=element.name, at=element.where, sum=element.sum)


def _element_evidence(element: Element | None) -> Any:
    if element is None:
        return ()
    return evidence(
        tensor=element.name, element=element.where, weight=element.weight, update=element.update,
        seen_at_step=element.step,
    )  # fmt: skip


def never_moved(survey: Survey) -> Iterator[Finding]:
    """Weights of which most elements had the same bits at the last samples, though updated."""
    sums = survey.updates
    steady = np.array([way.strategy != STOCHASTIC for way in sums.ways], bool)
    mine = np.flatnonzero((sums.running != NEVER) & (sums.updates > 0))
    mine = mine[steady[sums.running[mine]] & (sums.samples[mine] >= FEWEST_SAMPLES)]
    mine = mine[(sums.looked[mine] > 0) & (sums.still[mine] >= STILL * sums.looked[mine])]
    # Of an embedding most rows have no gradient at a step: those stay as they are by right.
    lose = sums.lost[mine, sums.running[mine]] >= STILL * sums.updates[mine]
    for group, severity in ((mine[lose], WARNING), (mine[~lose], NOTE)):
        if group.size:
            yield _still(survey, group, severity)


def _still(survey: Survey, group: Array, severity: str) -> Finding:
    sums = survey.updates
    shares = sums.still[group] / sums.looked[group]
    order = group[np.lexsort((-sums.looked[group], -shares))].tolist()
    worst, running = order[0], int(sums.running[order[0]])
    still, looked = int(sums.still[worst]), int(sums.looked[worst])
    updates, lost = int(sums.updates[worst]), int(sums.lost[worst, running])
    name, among = survey.series[worst].name, group.size - 1
    sentence = told(
        "{name}: {part} of the elements looked at have had the same bits for the last {samples} "
        "samples{few}{others}.",
        name=name, part=percent(still, looked), samples=int(sums.samples[worst]),
        few="" if severity == WARNING else _few(lost, updates),
        others=_so_too(among) if among else "",
    )  # fmt: skip
    element = _example(survey, order[:1], running) if severity == WARNING else None
    return Finding(
        severity, "never moved", name, None, sentence,
        evidence(
            still=still, looked=looked, samples=int(sums.samples[worst]),
            parameters=int(group.size), lost=lost, updates=updates,
        ) + _element_evidence(element),
        None if element is None else element.command,
    )  # fmt: skip


def _few(lost: int, updates: int) -> Told:
    text = N_(", though few of its updates were lost, {part}: they had none")
    return told(text, part=percent(lost, updates))


def _so_too(more: int) -> Told:
    return told_many(
        "; so it is in {n:,} more parameter", "; so it is in {n:,} more parameters", more
    )


def frozen(survey: Survey) -> Iterator[Finding]:
    """Weights that no update was meant for; those with a gradient apart."""
    sums = survey.updates
    if not sums.steps:
        return
    weights = survey.of_role(WEIGHT)
    idle = weights[(sums.updates[weights] == 0) & (sums.decays[weights] == 0)]
    pulled = {
        survey.series[g].name
        for g in survey.of_role(GRADIENT).tolist()
        if survey.extremes.largest[g] > 0
    }
    asked = [int(s) for s in idle if survey.series[s].name in pulled]
    still = [survey.series[s].name for s in idle if survey.series[s].name not in pulled]
    if still:
        yield Finding(
            NOTE, "frozen", still[0], None,
            told_many(
                "{n:,} weight is frozen, or without gradient, and given no update: {names}.",
                "{n:,} weights are frozen, or without gradient, and given no update: {names}.",
                len(still), names=listed(still),
            ),
            evidence(parameters=len(still), sampled_steps=sums.steps),
        )  # fmt: skip
    if asked:
        names = [survey.series[s].name for s in asked]
        unknown = [n for n, s in zip(names, asked, strict=True) if sums.running[s] == NEVER]
        why = told("is it in the optimizer?") if unknown else told("is the learning rate 0?")
        yield Finding(
            WARNING if unknown else NOTE, "not updated", (unknown or names)[0], None,
            told_many(
                "{n:,} weight has a gradient and no update: {names}; {why}",
                "{n:,} weights have a gradient and no update: {names}; {why}",
                len(names), names=listed(unknown or names), why=why,
            ),
            evidence(parameters=len(names), sampled_steps=sums.steps),
        )  # fmt: skip


def decay_lost(survey: Survey) -> Iterator[Finding]:
    """Weight decay that leaves its weights as they were."""
    sums = survey.updates
    for way in np.unique(sums.running[sums.running != NEVER]).tolist():
        if sums.ways[way].strategy == STOCHASTIC:
            continue
        mine = np.flatnonzero((sums.running == way) & (sums.decays > 0))
        mine = mine[sums.decays_lost[mine, way] >= DECAY_LOST * sums.decays[mine]]
        if mine.size:
            yield _decay(survey, mine, way)


def _decay(survey: Survey, mine: Array, way: int) -> Finding:
    sums = survey.updates
    lost, decays = int(sums.decays_lost[mine, way].sum()), int(sums.decays[mine].sum())
    worst = int(mine[sums.decays[mine].argmax()])
    name, called = survey.series[worst].name, sums.counts(way, mine).name
    settings = dict(survey.run.heads[-1].settings)
    rate = settings.get("lr", 0.0) * settings.get("weight_decay", 0.0)
    element = lost_element(survey, worst, sums.ways[way], rate)
    sentence = told(
        "{way}: weight decay is {never} applied in {parameters}, such as {name}: {part} of nonzero "
        "decays left the weight as it was.",
        way=called, never=told("never") if lost == decays else told("almost never"),
        parameters=told_many("{n:,} parameter", "{n:,} parameters", mine.size), name=name,
        part=percent(lost, decays),
    )  # fmt: skip
    return Finding(
        WARNING, "weight decay", name, None, sentence,
        evidence(way=called, lost=lost, decays=decays, parameters=int(mine.size))
        + _element_evidence(element),
        None if element is None else element.command,
    )  # fmt: skip
