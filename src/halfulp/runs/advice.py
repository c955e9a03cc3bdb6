"""Advice with its evidence: which formats the ranges of a run allow, and how its updates arrive.

A format is named by range alone: what rounding does to a training is not in it. A way to keep
weights is recommended only where it was checked twice: by what it was counted to do to the updates
of the run, and by walking the recorded elements under it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.numpy import cast_array
from halfulp.casting import cast_to
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.language import N_, Told, joined, told, told_many
from halfulp.records import Record
from halfulp.recurrence import state_format
from halfulp.runs.elements import SPLIT, command, lost_element, usable, walk_of
from halfulp.runs.finding import (
    NOTE,
    WARNING,
    Finding,
    evidence,
    listed,
    percent,
    share,
    tensors,
)
from halfulp.runs.ranges import PLURAL, UNDERFLOW, beyond_end, known_format, named
from halfulp.runs.samples import ACTIVATION, CLIPPED, GRADIENT, WEIGHT, Way
from halfulp.runs.survey import NEVER, Survey, WayCounts
from halfulp.updates import walk

Array = npt.NDArray[Any]

MOST_TENSORS = 0.9  # of a role's tensors that a format is for; the others are named
FIXED_LOST = 0.1  # share of updates lost in the running way that is worth a fix
LOST, NORM, COSINE = 0.05, 0.01, 0.99  # what a way may lose, be off in length, and turn
DRIFT = 0.05  # what the drift of recorded elements may be off
STEPS, LONGEST, WORK = 200, 12_800, 2**22  # of walks; elements times steps
ULPS = 4  # that walked elements should drift on average, where LONGEST allows
KEPT_WIDE = {WEIGHT, ACTIVATION}


@dataclass(frozen=True)
class FormatAdvice(Record):
    """The narrowest candidate whose range held one series at all steps that were read."""

    name: str
    role: str
    dtype: str  # as it ran
    format: str | None  # None: none of the candidates
    largest: float
    underflow: int | None  # elements that it makes zero
    nonzero: int
    is_wider: bool  # than what most tensors of its role need


def format_advice(survey: Survey) -> tuple[FormatAdvice, ...]:
    """The narrowest format of every series, by range alone."""
    rows = []
    for role in dict.fromkeys(series.role for series in survey.series):
        if role != CLIPPED:
            group = survey.of_role(role)
            fits = _fitting(survey, group)
            common = _common(fits)
            rows += [_advised(survey, int(s), fits, i, common) for i, s in enumerate(group)]
    return tuple(rows)


class _Fits(NamedTuple):
    """Which candidates hold which series of a role, the narrowest first."""

    formats: list[tuple[int, Format]]
    held: Array  # [series, format]


def _fitting(survey: Survey, group: Array) -> _Fits:
    casts, largest = survey.casts, survey.extremes.largest[group]
    found = [(i, f) for i, name in enumerate(survey.run.about.formats) if (f := known_format(name))]
    found.sort(key=lambda pair: (pair[1].width, -pair[1].precision))
    nonzero = casts.nonzero[group]
    columns = [
        ~beyond_end(largest, target)
        & (casts.underflow[group, i] * UNDERFLOW.denominator <= nonzero * UNDERFLOW.numerator)
        for i, target in found
    ]
    return _Fits(found, np.array(columns, bool).reshape(len(found), group.size).T)


def _common(fits: _Fits) -> int | None:
    """The narrowest format that holds most series of a role, as a place in ``formats``."""
    if not fits.held.size:
        return None
    enough = np.flatnonzero(fits.held.mean(axis=0) >= MOST_TENSORS)
    return int(enough[0]) if enough.size else None


def _advised(survey: Survey, number: int, fits: _Fits, row: int, common: int | None) -> Any:
    held = np.flatnonzero(fits.held[row])
    index, target = fits.formats[held[0]] if held.size else (None, None)
    series, casts = survey.series[number], survey.casts
    return FormatAdvice(
        name=series.name,
        role=series.role,
        dtype=series.dtype,
        format=None if target is None else target.name,
        largest=float(survey.extremes.largest[number]),
        underflow=None if index is None else int(casts.underflow[number, index]),
        nonzero=int(casts.nonzero[number]),
        is_wider=common is not None and not fits.held[row, common],
    )


def formats_by_role(survey: Survey) -> Iterator[Finding]:
    """Per role the narrowest candidate that holds most of its tensors, and which need wider."""
    for role in dict.fromkeys(series.role for series in survey.series):
        group = survey.of_role(role)
        if role == CLIPPED or not survey.casts.nonzero[group].sum():
            continue
        fits = _fitting(survey, group)
        common = _common(fits)
        if common is not None:
            yield _for_role(survey, role, group, fits, common)


def _for_role(survey: Survey, role: str, group: Array, fits: _Fits, common: int) -> Finding:
    index, target = fits.formats[common]
    wider = [int(s) for s in group[~fits.held[:, common]]]
    names = [survey.series[s].name for s in wider]
    held = group[fits.held[:, common]]
    zeroed = int(survey.casts.underflow[held, index].sum())
    nonzero = int(survey.casts.nonzero[held].sum())
    what = N_("; but for {names}: they need a wider one")
    if role in KEPT_WIDE:
        what = N_("; but for {names}: candidates for keep_float32")
    many = N_("all {tensors}") if group.size > 1 else N_("its {tensors}")
    if wider:
        many = N_("{held:,} of {tensors}")
    sentence = told(
        "{role}: by range alone {format} would do for {many}, with no element beyond its end and "
        "{part} of the nonzero ones made zero{but}{scaled}.",
        role=named(role, PLURAL), format=target.name,
        many=told(many, held=held.size, tensors=tensors(group.size)),
        part=percent(zeroed, nonzero), but=told(what, names=listed(names)) if wider else "",
        scaled=_scaled(survey, role, target),
    )  # fmt: skip
    return Finding(
        NOTE, "advice: format", names[0] if names else None, None, sentence,
        evidence(
            role=role, format=target.name, tensors=int(held.size), of_tensors=int(group.size),
            underflow=zeroed, nonzero=nonzero, wider=", ".join(names[:20]) or None,
            sampled_steps=survey.casts.steps,
        ),
    )  # fmt: skip


def _scaled(survey: Survey, role: str, target: Format) -> str:
    """For gradients that need more than float16: the scale with which it would do."""
    found = survey.windows
    if role != GRADIENT or target == found.format or target.width < found.format.width:
        return ""
    if found.static is None or found.least is None:
        return ""
    from halfulp.runs.scales import power

    text = N_("; with a loss scale of {least} to {largest} so would float16")
    return told(text, least=power(found.least), largest=power(found.largest))


class Check(NamedTuple):
    """A way to keep weights, checked."""

    way: Way
    size: Fraction  # bytes that are kept of a weight
    counts: WayCounts
    drift: float  # of recorded elements, over what was meant

    @property
    def passes(self) -> bool:
        """Whether its updates arrive. Chance makes them longer and turns them, so it is judged by
        its drift alone.
        """
        drifts = abs(self.drift - 1) <= DRIFT
        if self.way.strategy == "stochastic":
            return drifts
        c = self.counts
        arrives = abs(c.norm_ratio - 1) <= NORM and c.cosine >= COSINE and c.share <= LOST
        return arrives and drifts


def fix_for_lost_updates(survey: Survey) -> Iterator[Finding]:
    """For each way that loses updates, the cheapest other one that was checked to keep them."""
    sums = survey.updates
    for index in np.unique(sums.running[sums.running != NEVER]).tolist():
        way = sums.ways[index]
        mine = np.flatnonzero((sums.running == index) & (sums.updates > 0))
        if not mine.size or way.strategy == "stochastic":
            continue
        if sums.counts(index, mine).share >= FIXED_LOST:
            yield _fix(survey, index, mine)


def _fix(survey: Survey, running: int, mine: Array) -> Finding:
    sums, way = survey.updates, survey.updates.ways[running]
    called = f"{way.format}, {way.strategy}"
    weights, updates = _walked(survey, mine)
    if not weights.size:
        return Finding(
            NOTE, "advice: updates", None, None,
            told(
                "No fix for the lost updates of {way} is recommended: none can be checked, because "
                "no elements were recorded.", way=called,
            ), evidence(way=called),
        )  # fmt: skip
    steps = _steps_for(way, weights, updates)
    weights, updates = _thinned(weights, updates, WORK // steps)
    own = _drift(way, weights, updates, steps)
    others = [i for i in range(len(sums.ways)) if i != running]
    checks = [
        Check(w, bytes_of(w), sums.counts(i, mine), _drift(w, weights, updates, steps))
        for i, w in ((i, sums.ways[i]) for i in others)
    ]
    good = sorted((c for c in checks if c.passes), key=lambda c: (c.size, c.counts.share))
    walked = told_many(
        "{steps:,} steps of {n:,} recorded element", "{steps:,} steps of {n:,} recorded elements",
        weights.size, steps=steps,
    )  # fmt: skip
    table = _checked(checks) + evidence(
        drift_as_it_runs=own, steps=steps, elements=int(weights.size)
    )
    if not good:
        return Finding(
            WARNING, "advice: updates", None, None,
            told(
                "None of the ways that were watched keeps the updates that {way} loses, by their "
                "counts and by {walked}: {miss}.",
                way=called, walked=walked, miss=_nearest_miss(checks),
            ), table,
        )  # fmt: skip
    best = good[0]
    losers = (lost_element(survey, s, way) for s in mine.tolist())
    element = next((e for e in losers if e is not None), None)
    return Finding(
        NOTE, "advice: updates", None, None,
        told(
            "Keep weights as {best} ({size:g} bytes a weight) in place of {way}: {numbers}; "
            "{walked} drift by {drift:.3f} of what is meant, and by {own:.3f} as it runs.",
            best=best.counts.name, size=float(best.size), way=called, numbers=_numbers(best),
            walked=walked, drift=best.drift, own=own,
        ), table,
        None if element is None else command(best.way, element.weight, element.update),
    )  # fmt: skip


def _numbers(check: Check) -> Told:
    c = check.counts
    if check.way.strategy == "stochastic":
        return told("on average all updates arrive, though most leave their weight as it was")
    return told(
        "it loses {part} of the run's updates, and what arrives has {length:.3f} of the length "
        "meant (cosine {cosine:.3f})",
        part=percent(c.lost, c.updates), length=c.norm_ratio, cosine=c.cosine,
    )  # fmt: skip


def _nearest_miss(checks: Sequence[Check]) -> Told:
    best = [
        told(
            "{way} loses {share} and drifts by {drift:.3f} of what is meant",
            way=c.counts.name, share=share(c.counts.lost, c.counts.updates), drift=c.drift,
        )
        for c in sorted(checks, key=lambda c: abs(c.drift - 1))[:2]
    ]  # fmt: skip
    return joined(best, told("; ")) if best else told("there is no other")


def _checked(checks: Sequence[Check]) -> Any:
    """What was found of every way that was checked."""
    parts: list[tuple[str, int | float | str]] = []
    for c in checks:
        name = c.counts.name
        parts += [
            (f"{name}: passes", "yes" if c.passes else "no"),
            (f"{name}: bytes", float(c.size)),
            (f"{name}: lost", c.counts.lost),
            (f"{name}: updates", c.counts.updates),
            (f"{name}: length", c.counts.norm_ratio),
            (f"{name}: cosine", c.counts.cosine),
            (f"{name}: drift", c.drift),
        ]
    return tuple(parts)


def bytes_of(way: Way) -> Fraction:
    """Bytes that a way keeps of a weight.

    >>> [int(bytes_of(Way("bfloat16", s))) for s in ("nearest", "master", "kahan", "split")]
    [2, 6, 4, 4]
    """
    size = Fraction(format(way.format).width, 8)
    more = {"kahan": size, SPLIT: Fraction(2), "master": Fraction(4)}.get(way.strategy, Fraction(0))
    is_its_own_master = way.strategy == "master" and way.format == "float32"
    return size if is_its_own_master else size + more


def _walked(survey: Survey, mine: Array) -> tuple[Array, Array]:
    """Recorded weights and updates of some series, one after the other."""
    pairs = [usable(survey.recorded[s])[1:] for s in mine.tolist() if s in survey.recorded]
    if not pairs:
        return np.zeros(0), np.zeros(0)
    weights, updates = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return weights, updates


def _thinned(weights: Array, updates: Array, most: int) -> tuple[Array, Array]:
    """At most so many, evenly spread."""
    if weights.size <= most:
        return weights, updates
    chosen = np.linspace(0, weights.size - 1, most).astype(int)
    return weights[chosen], updates[chosen]


def _steps_for(way: Way, weights: Array, updates: Array) -> int:
    """Steps in which elements should drift by some ulps, as far as that is soon done: less than
    half an ulp waits beside a Kahan weight, and by chance little is sure of few moves.
    """
    target, _strategy = walk_of(way)
    _significands, exponents = np.frexp(np.maximum(np.abs(weights), float(target.least_normal)))
    ulps = np.ldexp(1.0, exponents - target.precision).sum()
    steps = STEPS
    while steps < LONGEST and steps * np.abs(updates).sum() < ULPS * ulps:
        steps *= 4
    return steps


def _drift(way: Way, weights: Array, updates: Array, steps: int) -> float:
    """The mean drift of walked elements over the mean drift that is meant; nan where it fails."""
    target, strategy = walk_of(way)
    held = state_format(target, strategy)
    try:
        start = cast_array(np.ascontiguousarray(weights), cast_to(held))
        made = walk(weights, updates, steps, target, strategy, gradient_format="none", seed=0)
    except HalfulpError:
        return float("nan")
    moved = (made.final - start) * np.sign(updates)
    return float(moved.sum() / (steps * np.abs(updates)).sum())
