"""Counting lost updates in a real training: what the optimizer meant, and what the weights did.

What it meant is computed by a shadow of the optimizer in float64: the same algorithm and settings
on the same weights and the same gradients, with state of its own. An update is lost where that is
not zero, and the finite weight is the same bits before and after. A zero update is never lost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from halfulp.errors import HalfulpError


class UpdateMeter:
    """Counts the nonzero and the lost updates of an optimizer's steps."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.shadow = copy.deepcopy(optimizer)
        self.updates = 0
        self.lost = 0
        self._pairs = list(zip(_parameters(optimizer), _parameters(self.shadow), strict=True))
        for _, mirror in self._pairs:
            mirror.data = mirror.data.double()
            mirror.grad = None

    def step(self, apply: Callable[[], object] | None = None) -> None:
        """Take the optimizer's step (by ``apply``, where a scaler takes it), and count it."""
        before = [parameter.detach().clone() for parameter, _ in self._pairs]
        intended = self._intended()
        _step(self.optimizer, apply or self.optimizer.step)
        self._count(before, intended)

    @torch.no_grad()
    def _count(self, before: list[torch.Tensor], intended: list[torch.Tensor | None]) -> None:
        for (parameter, _), old, update in zip(self._pairs, before, intended, strict=True):
            if update is None:
                continue
            nonzero = (update != 0) & torch.isfinite(old)
            self.updates += int(nonzero.sum())
            self.lost += int((nonzero & (parameter == old)).sum())

    def _intended(self) -> list[torch.Tensor | None]:
        """The update of each parameter in float64; None where it has no gradient."""
        self._follow_settings()
        starts = []
        for parameter, mirror in self._pairs:
            mirror.data = parameter.detach().double()
            mirror.grad = None if parameter.grad is None else parameter.grad.detach().double()
            starts.append(mirror.data.clone())
        _step(self.shadow, self.shadow.step)
        return [
            None if mirror.grad is None else mirror.data - start
            for (_, mirror), start in zip(self._pairs, starts, strict=True)
        ]

    def _follow_settings(self) -> None:
        """Learning rates and the like may be changed by schedulers while training."""
        groups = zip(self.optimizer.param_groups, self.shadow.param_groups, strict=True)
        for real, mirror in groups:
            mirror.update({k: v for k, v in real.items() if k != "params"})


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _step(optimizer: torch.optim.Optimizer, apply: Callable[[], object]) -> None:
    try:
        apply()
    except TypeError as error:
        raise HalfulpError(
            f"{type(optimizer).__name__} cannot be compared: its step needs a closure ({error})"
        ) from error
