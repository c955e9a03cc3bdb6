"""Verdicts on ranges: infinities and NaNs, and what would overflow or become zero in a format.

Where a format ends is told from the largest magnitudes, which are exact and of all steps read; how
many elements lie beyond, from the tallies of fewer steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.catalogue import Format, binade, format
from halfulp.errors import HalfulpError
from halfulp.language import N_, Told, joined, told, told_many
from halfulp.language import translate as _
from halfulp.runs.finding import (
    ERROR,
    NOTE,
    WARNING,
    Finding,
    evidence,
    magnitude,
    percent,
    quoted,
    tensors,
)
from halfulp.runs.samples import (
    ACTIVATION,
    ACTIVATION_GRADIENT,
    CLIPPED,
    GRADIENT,
    STATE,
    WEIGHT,
)
from halfulp.runs.survey import GRADIENTS, NEVER, Survey

Array = npt.NDArray[Any]

#: Roles in the order in which what is not finite comes to them.
ORDER = (WEIGHT, STATE, ACTIVATION, ACTIVATION_GRADIENT, GRADIENT, CLIPPED)
UNDERFLOW = Fraction(1, 1000)  # share of nonzero elements
BETA2 = 0.999  # of Adam, where the settings do not say
SQUARES = "exp_avg_sq"

#: A role at the beginning of a sentence, of one tensor and of all; a state has its name after it.
SINGULAR = {
    WEIGHT: N_("Weight"), GRADIENT: N_("Gradient"), CLIPPED: N_("Clipped gradient"),
    ACTIVATION: N_("Activation"), ACTIVATION_GRADIENT: N_("Activation gradient"),
    STATE: N_("State {name}"),
}  # fmt: skip
PLURAL = {
    WEIGHT: N_("Weights"), GRADIENT: N_("Gradients"), CLIPPED: N_("Clipped gradients"),
    ACTIVATION: N_("Activations"), ACTIVATION_GRADIENT: N_("Activation gradients"),
    STATE: N_("Optimizer state {name}"),
}  # fmt: skip


def nonfinite(survey: Survey) -> Iterator[Finding]:
    """NaNs and infinities that no loss scale cures: of weights, states and activations, and of
    gradients that the optimizer took.
    """
    found = survey.extremes
    for what, counted, first in (
        ("NaN", found.nan, found.first_nan),
        ("infinite", found.infinite, found.first_infinite),
    ):
        seen = np.flatnonzero(first != NEVER)
        if seen.size:
            yield _nonfinite(survey, what, counted, first, seen)
    yield from _told(survey)


def _nonfinite(survey: Survey, what: str, counted: Array, first: Array, seen: Array) -> Finding:
    found = survey.extremes
    ranks = np.array([_rank(survey.series[s].role) for s in seen])
    origin = int(seen[np.lexsort((seen, ranks, first[seen]))[0]])
    series, step = survey.series[origin], int(first[origin])
    along = int((first[seen] == step).sum()) - 1
    only_activations = all(survey.series[s].role == ACTIVATION for s in seen)
    # A mask of minus infinity is an activation like another.
    severity = WARNING if what == "infinite" and only_activations else ERROR
    later = seen.size - 1 - along
    sentence = told(
        "{role} {name} has {what} elements: first seen at step {step:,}{along}{later}; {part} of "
        "its elements over {steps}.",
        role=named(series.role, SINGULAR), name=series.name,
        what=told("infinite") if what == "infinite" else what, step=step,
        along=told(" and in {tensors}", tensors=_more(along)) if along else "",
        later=told(", later in {tensors}", tensors=_more(later)) if later else "",
        part=percent(int(counted[origin]), int(found.elements[origin])),
        steps=told_many("{n:,} sampled step", "{n:,} sampled steps", found.steps),
    )  # fmt: skip
    return Finding(
        severity, "NaN" if what == "NaN" else "infinite", series.name, step, sentence,
        evidence(
            role=series.role, elements=int(counted[origin]), of=int(found.elements[origin]),
            tensors=int(seen.size), sampled_steps=found.steps,
        ),
    )  # fmt: skip


def _more(count: int) -> Told:
    return told_many("{n:,} more tensor", "{n:,} more tensors", count)


def _rank(role: str) -> int:
    return ORDER.index(STATE if role.startswith(STATE) else role)


def _told(survey: Survey) -> Iterator[Finding]:
    """Events of what was not finite, but for gradients whose step was skipped for them."""
    events = survey.run.events
    cured = {e.step for e in events if e.kind == "skip" and e.details.get("output_finite", True)}
    seen = [e for e in events if e.kind == "nonfinite" and e.step not in cured]
    if seen:
        first, last = seen[0], seen[-1]
        often = told_many(
            ", and {n:,} time more up to step {step:,}",
            ", and {n:,} times more up to step {step:,}", len(seen) - 1, step=last.step,
        )  # fmt: skip
        yield Finding(
            ERROR, "nonfinite", first.parameter, first.step,
            told(
                "{event}{often}.",
                event=quoted(first.sentence), often=often if len(seen) > 1 else "",
            ),
            evidence(events=len(seen), first_step=first.step, last_step=last.step),
        )  # fmt: skip


def would_overflow(survey: Survey) -> Iterator[Finding]:
    """Per role: tensors whose largest element has no place in a candidate format, unscaled."""
    for role, group in _roles(survey):
        parts = []
        for index, target in _candidates(survey):
            beyond = _beyond(survey, group, target)
            if beyond.size:
                parts.append((index, target, beyond))
        if parts:
            yield _overflow(survey, role, group, parts)


def _overflow(
    survey: Survey, role: str, group: Array, parts: list[tuple[int, Format, Array]]
) -> Finding:
    largest, casts = survey.extremes.largest, survey.casts
    parts.sort(key=lambda part: (-part[1].max, part[1].name))
    index, target, beyond = parts[0]  # the format that reaches furthest of those that do not do
    worst = int(beyond[largest[beyond].argmax()])
    name, step = survey.series[worst].name, int(survey.extremes.largest_step[worst])
    many, nonzero = int(casts.overflow[worst, index].sum()), int(casts.nonzero[worst])
    up_to = told(": {part} of its elements, up to", part=percent(many, nonzero))
    sentence = told(
        "{role} would overflow {format}, unscaled, in {tensors} of {all:,}, worst in {name}{up_to} "
        "{largest} at step {step:,} (it ends at {end}){rest}.",
        role=named(role, PLURAL), format=target.name, tensors=tensors(beyond.size), all=group.size,
        name=name, up_to=up_to if many else told(", with"),
        largest=magnitude(float(largest[worst])), step=step, end=magnitude(float(target.max)),
        rest=joined(
            told("; {format} in {tensors}", format=other.name, tensors=tensors(b.size))
            for _index, other, b in parts[1:]
        ),
    )  # fmt: skip
    return Finding(
        NOTE, "overflow", name, step, sentence,
        evidence(
            role=role, format=target.name, tensors=int(beyond.size), of_tensors=int(group.size),
            largest=float(largest[worst]), elements=many, of=nonzero,
            sampled_steps=survey.extremes.steps,
        ),
        explained(float(largest[worst]), target),
    )  # fmt: skip


def would_underflow(survey: Survey) -> Iterator[Finding]:
    """Gradients and states of which more than a thousandth would become zero in a candidate."""
    for role, group in _roles(survey):
        if role not in GRADIENTS and not role.startswith(STATE):
            continue
        nonzero = int(survey.casts.nonzero[group].sum())
        parts = []
        for index, target in _candidates(survey):
            wide = group[_is_other(survey, group, target)]
            many = int(survey.casts.underflow[wide, index].sum())
            if many > UNDERFLOW * nonzero:
                parts.append((many, index, target))
        if parts:
            yield _underflow(survey, role, group, sorted(parts, key=lambda p: (p[0], p[1])))


def _underflow(
    survey: Survey, role: str, group: Array, parts: list[tuple[int, int, Format]]
) -> Finding:
    casts, (many, index, target) = survey.casts, parts[0]
    nonzero, shares = int(casts.nonzero[group].sum()), casts.underflow[group, index]
    shares = shares / np.maximum(casts.nonzero[group], 1)
    worst = int(group[shares.argmax()])
    name = survey.series[worst].name
    of_worst = int(casts.underflow[worst, index]), int(casts.nonzero[worst])
    rest = [
        told("; in {format} {part}", format=t.name, part=percent(n, nonzero))
        for n, _index, t in parts[1:]
    ]
    sentence = told(
        "{role} would become zero in {format}, unscaled: {part} of the nonzero elements, worst "
        "{name} with {worst}{rest}.",
        role=named(role, PLURAL), format=target.name, part=percent(many, nonzero), name=name,
        worst=percent(*of_worst),
        rest=joined(rest),
    )  # fmt: skip
    return Finding(
        NOTE, "underflow", name, None, sentence,
        evidence(
            role=role, format=target.name, underflow=many, nonzero=nonzero,
            underflow_of_worst=of_worst[0], nonzero_of_worst=of_worst[1], sampled_steps=casts.steps,
        ),
        explained(float(survey.extremes.least[worst]), target),
    )  # fmt: skip


def states(survey: Survey) -> Iterator[Finding]:
    """Optimizer states that become zero as they run, and squares that cannot shrink."""
    for role, group in _roles(survey):
        if role.startswith(STATE):
            yield from _vanished(survey, role, group)
            yield from _rigid(survey, role, group)


def _vanished(survey: Survey, role: str, group: Array) -> Iterator[Finding]:
    found = survey.extremes
    gone = found.zero_last[group] - found.zero_least[group]
    bad = group[gone > 0]
    if not bad.size:
        return
    shares = gone[gone > 0] / np.maximum(found.elements_last[bad], 1)
    worst = int(bad[shares.argmax()])
    series = survey.series[worst]
    count, elements = int(gone[gone > 0][shares.argmax()]), int(found.elements_last[worst])
    others = told("; so it is in {tensors}", tensors=tensors(bad.size)) if bad.size > 1 else ""
    harm = WARNING if role == STATE + SQUARES else NOTE
    sentence = told(
        "{state} of {name} became zero in {dtype} in {part} of its elements that were not zero "
        "before{others}.",
        state=role.removeprefix(STATE), name=series.name, dtype=series.dtype,
        part=percent(count, elements), others=others,
    )  # fmt: skip
    yield Finding(
        harm, "state underflow", series.name, None, sentence,
        evidence(
            role=role, dtype=series.dtype, zeros=count, elements=elements, tensors=int(bad.size),
            sampled_steps=found.steps,
        ),
    )  # fmt: skip


def _rigid(survey: Survey, role: str, group: Array) -> Iterator[Finding]:
    """A running mean of squares loses 1 - beta2 of itself at a step; of what is under half an ulp
    nothing is lost, so that it can grow, but not shrink.
    """
    settings = dict(survey.run.heads[-1].settings)
    beta2 = settings.get("beta2", BETA2)
    for dtype in sorted({survey.series[s].dtype for s in group}):
        target = known_format(dtype)
        # Half an ulp is at least 2**-(precision + 1) of a number.
        if role != STATE + SQUARES or target is None or beta2 >= 1:
            continue
        if 1 - beta2 >= 2.0 ** -(target.precision + 1):
            continue
        mine = [survey.series[s].name for s in group if survey.series[s].dtype == dtype]
        sentence = told(
            "{state} is kept in {dtype} in {tensors}: a step that takes away {taken:.3g} of it "
            "(1 - {beta2:g}{guess}) is under half an ulp, so that it can grow and not shrink.",
            state=SQUARES, dtype=dtype, tensors=tensors(len(mine)), taken=1 - beta2, beta2=beta2,
            guess="" if "beta2" in settings else told(", if that is beta2"),
        )  # fmt: skip
        yield Finding(
            WARNING, "state precision", mine[0], None, sentence,
            evidence(role=role, dtype=dtype, beta2=beta2, tensors=len(mine)),
            f"halfulp walk --weight 1.5 --gradient {-1.5 * (1 - beta2):.6g} --steps 100 "
            f"--format {dtype}",
        )  # fmt: skip


def _roles(survey: Survey) -> Iterator[tuple[str, Array]]:
    """Each role that has series, and these."""
    for role in dict.fromkeys(series.role for series in survey.series):
        if role != CLIPPED:  # gradients once more
            yield role, survey.of_role(role)


def _candidates(survey: Survey) -> Iterator[tuple[int, Format]]:
    for index, name in enumerate(survey.run.about.formats):
        target = known_format(name)
        if target is not None:
            yield index, target


def known_format(name: str) -> Format | None:
    """The format of a dtype or a candidate; None for what is none, such as a block format."""
    try:
        return format(name)
    except HalfulpError:
        return None


def _beyond(survey: Survey, group: Array, target: Format) -> Array:
    """The series whose largest element rounds beyond a format's largest number."""
    largest = survey.extremes.largest[group]
    return group[beyond_end(largest, target) & _is_other(survey, group, target)]


def beyond_end(largest: Array, target: Format) -> Array:
    """Whether magnitudes round beyond the largest number of a format.

    >>> beyond_end(np.array([65519.0, 65520.0]), format("float16")).tolist()
    [False, True]
    """
    end = target.max + target.ulp(target.max) / 2
    if binade(end) >= 1024:
        return np.zeros(largest.shape, bool)
    stays = not target.max_code & 1
    return np.asarray(largest > float(end) if stays else largest >= float(end))


def _is_other(survey: Survey, group: Array, target: Format) -> Array:
    """Whether series run in another dtype than a format."""
    return np.array([survey.series[s].dtype != target.name for s in group], bool)


def explained(value: float, target: Format) -> str | None:
    """What shows a number become one of a format.

    >>> explained(65536.0, format("float16"))
    'halfulp explain 65536 --to float16'
    """
    text = str(int(value)) if value.is_integer() and value < 2**53 else repr(value)
    return f"halfulp explain {text} --to {target}" if np.isfinite(value) else None


def role_text(role: str) -> str:
    """A role within a sentence, in the language in use."""
    words = {
        WEIGHT: _("weight"), GRADIENT: _("gradient"), CLIPPED: _("clipped gradient"),
        ACTIVATION: _("activation"), ACTIVATION_GRADIENT: _("activation gradient"),
    }  # fmt: skip
    state = _("state {name}").format(name=role.removeprefix(STATE))
    return state if role.startswith(STATE) else words[role]


def named(role: str, words: dict[str, str]) -> Told:
    """A role as the subject of a sentence.

    >>> named("activation", PLURAL), named("state exp_avg_sq", PLURAL)
    ('Activations', 'Optimizer state exp_avg_sq')
    """
    is_state = role.startswith(STATE)
    return told(words[STATE if is_state else role], name=role.removeprefix(STATE))
