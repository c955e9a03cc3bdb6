"""The updates that a training would lose, from what gradients there are, and what to say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import tee
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from halfulp.catalogue import format
from halfulp.errors import HalfulpError
from halfulp.language import N_, told
from halfulp.training.linting import gradients
from halfulp.training.linting.gradients import Rehearsal
from halfulp.training.linting.lost_prediction import Gradients, Sample, Shadow, follow
from halfulp.training.linting.members import samples_of
from halfulp.training.linting.probes import is_scale_free, number_of, refusal
from halfulp.training.linting.records import Evidence, Finding, FormatShare, evidence, few
from halfulp.training.linting.schedule import Schedules
from halfulp.training.weights import dtype_name

#: The share of updates lost from which a format's is a note, and a warning.
NOTED, GRAVE = 0.05, 0.5
#: How many of a schedule's later steps are looked at.
LOOKS = 20


class Asked(NamedTuple):
    """What a lint was asked, checked."""

    model: Module
    optimizer: Optimizer
    members: list[tuple[str, Tensor, int]]
    formats: list[str]
    rates: Schedules | None
    steps: int
    sample: int
    seed: int
    batches: Any  # (inputs, targets) one by one, or None
    loss: Any
    gradients: Sequence[Sequence[Tensor | None]] | None
    progress: Callable[[int], None] | None

    @property
    def running(self) -> list[str]:
        """The formats that updated parameters are kept in."""
        return list(dict.fromkeys(dtype_name(p) for _, p, _ in self.members))

    @property
    def held_rates(self) -> list[list[float]] | None:
        """The learning rates of a schedule as the optimizer holds them."""
        return self.rates.held if self.rates else None

    def can_keep(self, name: str) -> bool:
        """Whether the dtypes that run have room for the numbers of a format."""
        return all(format(dtype).holds(format(name)) for dtype in self.running)

    def largest_rate(self, group: int) -> float:
        """The largest learning rate a group will have."""
        if self.rates:
            return max(step[group] for step in self.rates.held)
        return number_of(self.optimizer.param_groups[group].get("lr")) or 0.0


class Predicted(NamedTuple):
    """What came of following the updates."""

    gradients: str
    steps: int
    shadows: list[tuple[str, bool, Shadow]]
    findings: list[Finding]


def predicted(asked: Asked) -> Predicted:
    """Follow the updates, or say why that is not possible.

    Raises HalfulpError for gradients that do not fit, and where a rehearsal fails.
    """
    name = type(asked.optimizer).__name__
    refused = [
        why for index in range(len(asked.optimizer.param_groups))
        if (why := refusal(asked.optimizer, index)) is not None
    ]  # fmt: skip
    if refused or not asked.members:
        text = N_("No lost updates are predicted for {name}: it updates nothing.")
        if refused:
            text = N_(
                "No lost updates are predicted for {name}: its step cannot be taken alone ({why})."
            )
        sentence = told(text, name=name, why=refused[0] if refused else "")
        return Predicted("none", 0, [], [Finding("not-predicted", "note", name, sentence)])
    samples, left_out = samples_of(asked.members, asked.optimizer, asked.sample)
    findings = []
    if left_out:
        sentence = told(
            "{n} parameters are not predicted: {name} needs all of a parameter for its update, and "
            "these are large.", n=len(left_out), name=name,
        )  # fmt: skip
        findings.append(Finding("not-predicted", "note", few(left_out), sentence))
    source, samples = _source(asked, samples, findings)
    if source == "none" or not samples:
        return Predicted("none", 0, [], findings)
    shadows = _shadows(asked, samples)
    if source == "batches":
        findings += _rehearsed(asked, samples, shadows)
    else:
        pairs = [(shadow, _gradients(asked, source, samples)) for _, _, shadow in shadows]
        follow(pairs, asked.held_rates, asked.progress)
    steps = max(shadow.steps for _, _, shadow in shadows)
    return Predicted(source, steps, [s for s in shadows if s[2].steps], findings)


def _rehearsed(
    asked: Asked, samples: list[Sample], shadows: list[tuple[str, bool, Shadow]]
) -> list[Finding]:
    """Follow a rehearsal for each shadow; what is found of those that overflow.

    Raises HalfulpError where there are no batches.
    """
    pairs, rehearsals = [], []
    shared = tee(iter(asked.batches), len(shadows))
    for (name, running, shadow), batches in zip(shadows, shared, strict=True):
        kept = None if running or not asked.can_keep(name) else name
        one = Rehearsal(asked.model, asked.optimizer, samples, batches, asked.loss, kept)
        rehearsals.append((name, running, one))
        pairs.append((shadow, one.gradients(asked.steps, asked.held_rates)))
    follow(pairs, asked.held_rates, asked.progress)
    stopped = [(name, running, one) for name, running, one in rehearsals if one.overflowed]
    if not stopped and not shadows[0][2].steps:
        raise HalfulpError("there are no batches: give one or more, or none at all")
    return [
        _overflow_finding(name, running, one.overflowed or 0)
        for name, running, one in stopped
        if running or one.target  # others run as the training does
    ]


def _overflow_finding(name: str, running: bool, step: int) -> Finding:
    return Finding(
        "not-finite", "error" if running else "warning", name,
        told(
            "With weights in {format} the gradients of step {step} are not finite: nothing is "
            "predicted from there on.", format=name, step=step,
        ),
        evidence(step=step),
    )  # fmt: skip


def _source(
    asked: Asked, samples: list[Sample], findings: list[Finding]
) -> tuple[str, list[Sample]]:
    """Where gradients come from, and the samples that have some."""
    if asked.batches is not None or asked.gradients is not None:
        return ("given" if asked.batches is None else "batches"), samples
    free = {i for i in {s.group for s in samples} if is_scale_free(asked.optimizer, i)}
    invariant = [s for s in samples if s.group in free]
    if len(invariant) == len(samples):
        return "noise", samples
    having = [s for s in samples if s.parameter.grad is not None]
    if having:
        if len(having) < len(samples):
            names = [s.name for s in samples if s.parameter.grad is None]
            sentence = told("{n} parameters have no gradient, and are not predicted.", n=len(names))
            findings.append(Finding("not-predicted", "note", few(names), sentence))
        return "present", having
    sentence = told(
        "No lost updates are predicted: those of {optimizer} go by how large gradients are. Give "
        "batches and loss, or gradients, or call backward before.",
        optimizer=type(asked.optimizer).__name__,
    )
    findings.append(Finding("not-predicted", "note", told("gradients"), sentence))
    return ("noise" if invariant else "none"), invariant


def _gradients(asked: Asked, source: str, samples: list[Sample]) -> Iterator[Gradients]:
    if source == "given":
        assert asked.gradients is not None, "the source"
        return gradients.given(samples, asked.model, asked.gradients, asked.steps)
    if source == "present":
        return gradients.present(samples, asked.steps)
    return gradients.noise(samples, asked.steps, asked.seed)


def _shadows(asked: Asked, samples: list[Sample]) -> list[tuple[str, bool, Shadow]]:
    """One of the dtypes that run, and one of each format asked about."""
    found = []
    running = [dtype_name(s.parameter) for s in samples]
    if len(set(running)) > 1 or running[0] not in asked.formats:
        label = running[0] if len(set(running)) == 1 else told("as it is")
        found.append((label, True, Shadow(asked.optimizer, samples, running)))
    for name in asked.formats:
        same = set(running) == {name}
        found.append((name, same, Shadow(asked.optimizer, samples, [name] * len(samples))))
    return found


def share_findings(
    share: FormatShare, shadow: Shadow, predicted: Predicted, asked: Asked
) -> Iterator[Finding]:
    """A share that is worth saying, with an update that explains it; or what becomes of it."""
    if share.share >= NOTED:
        yield _lost_finding(share, shadow, predicted.steps)
    rates = asked.held_rates
    if rates is None or share.share >= GRAVE or shadow.steps >= len(rates):
        return
    now = rates[shadow.steps - 1]
    rest = range(shadow.steps, len(rates))
    looked = [step for step in rest[:: max(1, len(rest) // LOOKS)] if max(rates[step]) > 0]
    shares = [
        shadow.share_at([a / b if b else 0.0 for a, b in zip(rates[step], now, strict=True)])
        for step in looked
    ]
    losing = [at for at, found in enumerate(shares) if found >= GRAVE]
    if 10 * len(losing) >= len(looked) > 0:
        step, part = looked[losing[0]], shares[losing[0]]
        yield Finding(
            "schedule-loses", "warning", share.name,
            told(
                "At step {step} of {all} the learning rate is {rate:.3g}: of updates as large as "
                "the last predicted ones, but for that, {part:.1f} % would be lost in {format}.",
                step=step, all=len(rates), rate=max(rates[step]), part=100 * part,
                format=share.name,
            ),
            evidence(step=step, rate=max(rates[step]), share=part),
        )  # fmt: skip


def _lost_finding(share: FormatShare, shadow: Shadow, steps: int) -> Finding:
    text = N_(
        "In {format} {part:.1f} % of the updates of the first {steps} steps would be lost: "
        "{lost:,} of {updates:,} round away{such}. A float32 master, Kahan's compensation or "
        "stochastic rounding keeps them."
    )
    if share.running:
        text = N_(
            "In {format} {part:.1f} % of the updates of the first {steps} steps will be lost: "
            "{lost:,} of {updates:,} round away{such}. A float32 master, Kahan's compensation or "
            "stochastic rounding keeps them."
        )
    such: str = ""
    numbers: tuple[Evidence, ...] = evidence(lost=share.lost, updates=share.updates)
    example, command = shadow.example(), None
    if example is not None:
        name, weight, update, kept = example
        such = told(
            ", such as {update:.3g} on {weight:.6g} in {name}",
            update=update, weight=weight, name=name,
        )  # fmt: skip
        numbers += evidence(weight=weight, update=update)
        command = (
            f"halfulp walk --weight {weight!r} --gradient {update!r} --gradient-format none "
            f"--format {kept} --steps {steps}"
        )
    severity = "warning" if share.share >= GRAVE else "note"
    sentence = told(
        text, format=share.name, part=100 * share.share, steps=steps, lost=share.lost,
        updates=share.updates, such=such,
    )  # fmt: skip
    return Finding("updates-lost", severity, share.name, sentence, numbers, command)
