"""What low precision will do to a training, said before its first step.

Settings and state are judged by steps of the optimizer on a few made-up weights, in each dtype
(rules); updates by a shadow of it on the model's own weights (``lost_prediction``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch  # noqa: F401  # the doctest's
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from halfulp.catalogue import format
from halfulp.errors import HalfulpError
from halfulp.language import told
from halfulp.training.linting.gradients import random_state_kept
from halfulp.training.linting.members import (
    check_members,
    member_findings,
    range_findings,
    scaler_findings,
    updated,
)
from halfulp.training.linting.probes import refusal
from halfulp.training.linting.records import Finding, Lint, gravest_first
from halfulp.training.linting.rules import DTYPES, Place, rule_findings
from halfulp.training.linting.schedule import schedule_findings, schedules
from halfulp.training.linting.updates import Asked, predicted, share_findings
from halfulp.training.weights import dtype_name

STEPS, SAMPLE = 100, 4096


def lint(
    model: Module,
    optimizer: Optimizer,
    scaler: Any = None,
    schedule: Any = None,
    *,
    formats: Sequence[str] = ("float16", "bfloat16"),
    steps: int = STEPS,
    batches: Iterable[tuple[Any, Any]] | None = None,
    loss: Callable[[Any, Any], Tensor] | None = None,
    gradients: Sequence[Sequence[Tensor | None]] | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    target: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Lint:
    """Say what low precision will do to a training, before its first step.

    The model's dtype is judged as it runs; ``formats`` are those it might be kept in, updated to
    nearest. ``scaler`` is a torch.amp.GradScaler. ``schedule`` is one of torch's schedulers, a
    function of the step, or the learning rates themselves.

    The share of updates that ``steps`` steps would lose is counted on ``sample`` elements of each
    parameter at most, from gradients of, in this order: ``batches`` of ``(inputs, targets)`` with
    their ``loss(outputs, targets)``, on which a copy of the model is trained for so many steps, its
    weights kept in each format;
    ``gradients``, a list of one tensor a parameter for each step, taken in turn; for optimizers
    whose updates do not depend on how large gradients are, as Adam's, noise drawn with ``seed``;
    else the gradients that parameters have.

    Model, optimizer, gradients and random state stay as they are, to the bit; an iterator of
    batches has fewer left.

    Raises HalfulpError for unknown formats, weights that are not finite, a model without
    parameters, an optimizer of another model, and batches that the model cannot be trained on.

    >>> model = torch.nn.Linear(64, 64, bias=False)
    >>> _ = torch.nn.init.constant_(model.weight, 0.02)
    >>> found = lint(model, torch.optim.Adam(model.parameters(), lr=3e-6), formats=["bfloat16"])
    >>> found.share_of("bfloat16").lost, found.share_of("bfloat16").updates
    (409600, 409600)
    """
    check_members(model, optimizer)
    names = _checked_formats(formats)
    for what, number in (("steps", steps), ("sample", sample)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise HalfulpError(f"{what} is {number!r}: give 1 or more")
    _check_sources(batches, loss, gradients)
    with random_state_kept():
        members = updated(model, optimizer)
        rates = schedules(schedule, optimizer, steps)
        sources = (batches, loss, gradients, progress)
        asked = Asked(model, optimizer, members, names, rates, steps, sample, seed, *sources)
        findings = [*member_findings(model, optimizer), *scaler_findings(members, scaler)]
        findings += _format_findings(asked)
        found = predicted(asked)
    shares = tuple(shadow.share(name, running) for name, running, shadow in found.shadows)
    findings += found.findings
    for share, (_, _, shadow) in zip(shares, found.shadows, strict=True):
        findings += share_findings(share, shadow, found, asked)
    return Lint(
        target=target or type(model).__name__,
        optimizer=type(optimizer).__name__,
        parameters=sum(p.numel() for _, p, _ in members),
        running=", ".join(asked.running) or told("none"),
        gradients=found.gradients,
        steps=found.steps,
        sample=sample,
        findings=gravest_first(findings),
        shares=shares,
    )


def _checked_formats(formats: Sequence[str]) -> list[str]:
    if isinstance(formats, str):
        raise HalfulpError(f"formats is {formats!r}: give a list of names")
    found = [format(name) for name in formats]
    for f in found:
        if not f.signed or not format("float64").holds(f):
            raise HalfulpError(
                f"format {f.name} cannot keep weights: give a signed one within float64"
            )
    return list(dict.fromkeys(f.name for f in found))


def _check_sources(batches: Any, loss: Any, gradients: Any) -> None:
    if batches is not None and not isinstance(batches, Iterable):
        raise HalfulpError(f"batches is {type(batches).__name__}: give (inputs, targets) a step")
    if (batches is None) != (loss is None):
        raise HalfulpError("batches and loss go together: give both, or neither")
    if gradients is not None and not len(gradients):
        raise HalfulpError("gradients is empty: give one list of tensors a step, or None")


def _format_findings(asked: Asked) -> Iterator[Finding]:
    """Settings, state, schedule and range, in the formats that run and in those asked about."""
    if asked.rates:
        yield from schedule_findings(asked.rates, asked.optimizer)
    for name in asked.formats:
        yield from range_findings(asked.members, name)
    for index, group in enumerate(asked.optimizer.param_groups):
        if refusal(asked.optimizer, index) is not None:
            continue  # which the prediction says
        here = {dtype_name(p) for p in group["params"] if p.requires_grad}
        for name in dict.fromkeys([*here, *asked.formats]):
            if name in asked.formats or name in DTYPES:
                place = Place(asked.optimizer, index, name, name in here)
                yield from rule_findings(place, asked.largest_rate(index))
