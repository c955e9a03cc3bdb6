"""Which parameters a training has, which of them move, and what they are kept in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, UninitializedParameter
from torch.optim import Optimizer

from halfulp.catalogue import format
from halfulp.errors import HalfulpError
from halfulp.language import N_, told, told_many
from halfulp.training.linting.lost_prediction import WHOLE, Sample, places_of
from halfulp.training.linting.probes import is_elementwise
from halfulp.training.linting.records import Finding, evidence, few
from halfulp.training.weights import dtype_name, local


def check_members(model: Any, optimizer: Any) -> None:
    """A model with parameters that are numbers, and an optimizer of some of them.

    Raises HalfulpError for anything else.
    """
    if not isinstance(model, Module):
        raise HalfulpError(f"lint takes a torch.nn.Module: found {type(model).__name__}")
    if not isinstance(optimizer, Optimizer):
        raise HalfulpError(f"lint takes a torch optimizer: found {type(optimizer).__name__}")
    named = list(model.named_parameters())
    for name, p in named:
        if isinstance(p, UninitializedParameter) or p.is_meta:
            raise HalfulpError(f"parameter {name} has no values yet: initialise the model first")
        if (p.is_floating_point() or p.is_complex()) and not _is_finite(p):
            count = int((~torch.isfinite(local(p))).sum())
            raise HalfulpError(
                f"parameter {name} has {count} of {p.numel()} values that are NaN or infinite: "
                "nothing can be said of a training that begins so"
            )
    if not any(p.numel() for _, p in named):
        raise HalfulpError(f"{type(model).__name__} has no parameters")
    own = {id(p) for _, p in named}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise HalfulpError(
            f"{type(optimizer).__name__} updates none of the parameters of {type(model).__name__}: "
            "make it from model.parameters()"
        )


def _is_finite(p: Tensor) -> bool:
    return bool(torch.isfinite(local(p)).all())


def updated(model: Module, optimizer: Optimizer) -> list[tuple[str, Tensor, int]]:
    """The real parameters that the optimizer updates: name, parameter, group."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [
        (names[id(p)], p, index)
        for index, group in enumerate(optimizer.param_groups)
        for p in group["params"]
        if id(p) in names and p.requires_grad and p.is_floating_point() and p.numel()
    ]


def samples_of(
    members: Sequence[tuple[str, Tensor, int]], optimizer: Optimizer, most: int
) -> tuple[list[Sample], list[str]]:
    """What is followed of each parameter, and the names of those that are not followed."""
    alone = {index: is_elementwise(optimizer, index) for index in {m[2] for m in members}}
    samples, left_out = [], []
    for name, p, index in members:
        if alone[index]:
            samples.append(Sample(name, p, index, places_of(local(p).numel(), most)))
        elif local(p).numel() <= WHOLE:
            samples.append(Sample(name, p, index, None))
        else:
            left_out.append(name)
    return samples, left_out


def member_findings(model: Module, optimizer: Optimizer) -> Iterator[Finding]:
    """Parameters that never move, those of no model, and those that are no real numbers."""
    named = dict(model.named_parameters())
    given = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(p) for p in named.values()}
    frozen = [n for n, p in named.items() if not p.requires_grad]
    real = {n: p for n, p in named.items() if p.is_floating_point()}
    missed = [n for n, p in real.items() if p.requires_grad and id(p) not in given]
    odd = [f"{n} ({dtype_name(p)})" for n, p in named.items() if n not in real]
    foreign = [
        told("group {number}, shape {shape}", number=index, shape=tuple(p.shape))
        for index, group in enumerate(optimizer.param_groups)
        for p in group["params"]
        if id(p) not in own
    ]
    for rule, names, what in (
        ("frozen", frozen, told("frozen (requires_grad is False) and never updated")),
        ("not-updated", missed,
         told("trainable, but the optimizer does not have them: never updated")),
        ("not-real", odd,
         told("no real floating-point numbers: nothing is said of them here")),
        ("not-in-model", foreign, told("updated by the optimizer, and not the model's")),
    ):  # fmt: skip
        if names:
            sentence = told_many(
                "{n} parameter is {what}.", "{n} parameters are {what}.", len(names), what=what
            )
            yield Finding(rule, "note", few(names), sentence, evidence(parameters=len(names)))


def scaler_findings(members: Sequence[tuple[str, Tensor, int]], scaler: Any) -> Iterator[Finding]:
    """What torch's GradScaler makes of the parameters' dtypes.

    Raises HalfulpError for what is no scaler.
    """
    halves = [name for name, p, _ in members if p.dtype is torch.float16]
    if scaler is not None and not hasattr(scaler, "is_enabled"):
        raise HalfulpError(
            f"scaler is {type(scaler).__name__}: give a torch.amp.GradScaler, or None"
        )
    if halves and scaler is not None and scaler.is_enabled():
        yield Finding(
            "float16-scaler", "error", few(halves),
            told(
                "GradScaler refuses to unscale the gradients of {n} float16 parameters "
                "(ValueError: Attempting to unscale FP16 gradients): divided by the scale in "
                "float16 they would vanish again. Keep the parameters float32 and use "
                "torch.autocast, or halfulp.training.prepare with a recipe that has a float32 "
                "master (mixed-float16).", n=len(halves),
            ),
            evidence(parameters=len(halves)),
        )  # fmt: skip
    elif halves:
        least = float(format("float16").least_positive)
        yield Finding(
            "float16-unscaled", "warning", few(halves),
            told(
                "{n} parameters are float16 and no loss is scaled: gradients of {half:.2g} or less "
                "are 0.", n=len(halves), half=least / 2,
            ),
            evidence(parameters=len(halves), gradient=least / 2),
            f"halfulp explain {least / 2!r} --to float16",
        )  # fmt: skip


def range_findings(members: Sequence[tuple[str, Tensor, int]], target: str) -> Iterator[Finding]:
    """Weights that a format has no number for, or takes for zero."""
    f = format(target)
    sizes = [(name, local(p).detach().abs()) for name, p, _ in members]
    over = {name: int((x > float(f.max)).sum()) for name, x in sizes}
    half = float(f.least_positive) / 2
    under = {name: int(((x <= half) & (x != 0)).sum()) for name, x in sizes}
    count = sum(x.numel() for _, x in sizes)
    beyond = N_("In {format} {total} of {all} weights are beyond the largest number, {max:g}.")
    zero = N_("In {format} {total} of {all} weights are 0 there: {half:.3g} or less.")
    for rule, severity, found, text in (
        ("weights-overflow", "warning", over, beyond), ("weights-vanish", "note", under, zero),
    ):  # fmt: skip
        if total := sum(found.values()):
            names = [name for name, n in found.items() if n]
            yield Finding(
                rule, severity, few(names),
                told(
                    text, format=target, total=total, all=count, max=float(f.max), half=half
                ),
                evidence(weights=total, of=count),
            )  # fmt: skip
