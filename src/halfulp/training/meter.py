"""Counting lost updates in a real training: what the optimizer meant, and what the weights did.

What it meant is computed by a shadow of the optimizer in float64: the same algorithm and settings
on the same weights and the same gradients, with state of its own. An update is lost where that is
not zero, and all that is kept of the weight (beside a Kahan weight, its compensation; where there
is a master, that) is the same bits before and after. A zero update is never lost.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from halfulp.errors import HalfulpError
from halfulp.training.prepared import Prepared
from halfulp.training.weights import Weight, local


@dataclass
class Updates:
    """What was counted so far, over all weights and steps."""

    updates: int = 0  # nonzero ones
    lost: int = 0
    overflows: int = 0  # steps whose gradients were not all finite
    intended_square: float = 0.0  # sums over all elements and steps
    effective_square: float = 0.0
    product: float = 0.0

    @property
    def norm_ratio(self) -> float:
        """The norm of what the weights did over that of what was meant; 1 where all arrived."""
        return sqrt(self.effective_square / self.intended_square) if self.intended_square else 1.0

    @property
    def cosine(self) -> float:
        """Of the angle between what the weights did and what was meant."""
        lengths = sqrt(self.effective_square) * sqrt(self.intended_square)
        return self.product / lengths if lengths else 1.0


class UpdateMeter:
    """Counts the nonzero and the lost updates of a prepared training's steps."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared, self.counted = prepared, Updates()
        self.shadow = copy.deepcopy(prepared.optimizer)
        weights = {id(weight.value): weight for weight in prepared.weights}
        groups = zip(prepared.optimizer.param_groups, self.shadow.param_groups, strict=True)
        self._tracks = [
            _Track(p, mirror, weights.get(id(p)))
            for real, shadow in groups
            for p, mirror in zip(real["params"], shadow["params"], strict=True)
        ]

    def step(self) -> bool:
        """Take the training's step and count it; whether it was taken."""
        if not self.prepared.is_unscaled:
            self.prepared.unscale_()
        with torch.no_grad():
            finite = all(track.has_finite_gradient() for track in self._tracks)
        self.counted.overflows += not finite
        if not finite and self.prepared.recipe.loss_scale.is_dynamic:
            return self.prepared.step()  # which skips it
        self._follow_settings()
        before = [track.ready() for track in self._tracks]
        _step(self.shadow)
        taken = self.prepared.step()
        with torch.no_grad():
            for track, kept in zip(self._tracks, before, strict=True):
                track.count(kept, self.counted)
        return taken

    def _follow_settings(self) -> None:
        """Learning rates and the like may be changed by schedulers while training."""
        groups = zip(self.prepared.optimizer.param_groups, self.shadow.param_groups, strict=True)
        for real, mirror in groups:
            mirror.update({k: v for k, v in real.items() if k != "params"})


class _Track:
    """One parameter of the optimizer, its mirror in float64, and how the weight is kept."""

    def __init__(self, value: Tensor, mirror: Tensor, weight: Weight | None) -> None:
        self.value, self.mirror, self.weight = value, mirror, weight
        mirror.data, mirror.grad = mirror.data.double(), None

    def has_finite_gradient(self) -> bool:
        gradient = self.value.grad
        return gradient is None or bool(torch.isfinite(gradient).all())

    @torch.no_grad()
    def ready(self) -> tuple[Tensor, list[Tensor]] | None:
        """The mirror set to the value and its gradient; that value, and what is kept of it."""
        gradient, self.mirror.grad = self.value.grad, None
        if gradient is None:
            return None
        self.mirror.data = local(self.value).detach().double().clone()
        self.mirror.grad = local(gradient).detach().double()
        return self.mirror.data.clone(), [part.clone() for part in self._kept()]

    def _kept(self) -> list[Tensor]:
        if self.weight is None:
            return [local(self.value).detach()]
        if self.weight.is_whole:
            return [local(self.weight.value).detach()]
        rest = [] if self.weight.rest is None else [self.weight.rest]
        return [local(self.weight.parameter).detach(), *rest]

    def count(self, before: tuple[Tensor, list[Tensor]] | None, into: Updates) -> None:
        if before is None:
            return
        start, kept = before
        intended, same = self.mirror.data - start, torch.ones_like(start, dtype=torch.bool)
        for old, new in zip(kept, self._kept(), strict=True):
            same &= old == new
        nonzero = (intended != 0) & torch.isfinite(start)
        into.updates += int(nonzero.sum())
        into.lost += int((nonzero & same).sum())
        effective = self._value_now() - start
        for name, a, b in (
            ("intended_square", intended, intended), ("effective_square", effective, effective),
            ("product", effective, intended),
        ):  # fmt: skip
            found = float((a * b)[nonzero].sum())
            setattr(into, name, getattr(into, name) + found)

    def _value_now(self) -> Tensor:
        if self.weight is None or self.weight.is_whole:
            return local(self.value).detach().double()
        return self.weight.joined().double()


def _step(optimizer: torch.optim.Optimizer) -> None:
    try:
        optimizer.step()
    except TypeError as error:
        raise HalfulpError(
            f"{type(optimizer).__name__} cannot be compared: its step needs a closure ({error})"
        ) from error
