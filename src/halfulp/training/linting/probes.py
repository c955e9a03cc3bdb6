"""Torch's own answer to what an optimizer does in a dtype: its step, on a few made-up weights.

A probe has the class and the settings of one of the optimizer's groups, and a parameter of its own.
Claims about constants and states rest on such steps, taken on the CPU, not on how an optimizer is
written.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from halfulp.training.experiment import describe
from halfulp.training.implementations import plainly

#: The size of gradients that are made up, far above eps; and the steps that RAdam takes to begin.
SMALL, BURN_IN = 2.0**-10, 8


def copied(optimizer: Optimizer, places: dict[int, Any]) -> Optimizer:
    """The optimizer with other objects in the place of those whose ids are given."""
    made = copy.deepcopy(optimizer, dict(places))
    for group in made.param_groups:
        group.update(plainly(group))
    return made


class Probe:
    """An optimizer with the settings of one group, on a parameter of its own and no state."""

    def __init__(self, optimizer: Optimizer, group: int, values: Tensor) -> None:
        self.parameter = Parameter(values.detach().clone())
        empty = Parameter(torch.empty(0))
        places: dict[int, Any] = {
            id(p): empty for each in optimizer.param_groups for p in each["params"]
        }
        for state in optimizer.state.values():
            places |= {id(x): x for x in state.values() if isinstance(x, Tensor)}
        self.optimizer = copied(optimizer, places)
        self.optimizer.state.clear()
        self.settings = self.optimizer.param_groups[group]
        self.settings["params"] = [self.parameter]
        self.settings.pop("param_names", None)
        self.optimizer.param_groups = [self.settings]

    def step(self, gradient: Tensor) -> Tensor:
        """The weights after one more step."""
        self.parameter.grad = gradient.to(self.parameter.dtype).clone()
        self.optimizer.step()
        return self.parameter.detach()

    def states(self) -> dict[str, Tensor]:
        """Copies of what the optimizer keeps that is more than a counter."""
        kept = self.optimizer.state.get(self.parameter, {})
        return {
            name: x.detach().clone()
            for name, x in kept.items()
            if isinstance(x, Tensor) and x.numel() > 1
        }


def refusal(optimizer: Optimizer, index: int) -> str | None:
    """Why a group's step cannot be taken on made-up weights."""
    ones = torch.ones(2, 2, dtype=torch.float64)
    try:
        Probe(optimizer, index, ones).step(ones)
    except Exception as error:  # whatever an optimizer of the user's raises
        return describe(error)
    return None


def significands(dtype: torch.dtype) -> Tensor:
    """Every number of a dtype of few bits from 1 up to 2, as a matrix; for others 1024 of them."""
    count = 128 if dtype is torch.bfloat16 else 1024
    return (1 + torch.arange(count, dtype=torch.float64) / count).view(-1, 32).to(dtype)


def is_elementwise(optimizer: Optimizer, group: int) -> bool:
    """Whether an element's updates depend on no other element, so that a sample can stand alone."""
    generator = torch.Generator().manual_seed(1)
    weights, gradients = torch.randn(2, 8, 8, dtype=torch.float64, generator=generator)
    try:
        whole, part = (Probe(optimizer, group, w) for w in (weights, weights.flatten()[::3]))
        for _ in range(3):
            whole.step(gradients)
            part.step(gradients.flatten()[::3])
    except Exception:  # whatever an optimizer raises that wants matrices
        return False
    return torch.allclose(whole.parameter.flatten()[::3], part.parameter, rtol=1e-9, atol=0)


def is_scale_free(optimizer: Optimizer, group: int) -> bool:
    """Whether updates do not depend on how large gradients are, as in Adam and its kin.

    The first steps are let pass: RAdam's are plain momentum.
    """
    generator = torch.Generator().manual_seed(1)
    gradients = torch.randn(16, 8, 8, dtype=torch.float64, generator=generator)
    small, large = (Probe(optimizer, group, torch.ones(8, 8).double()) for _ in range(2))
    for probe in (small, large):
        probe.settings["lr"] = probe.settings.get("lr") or 1e-3  # a warm-up may begin with 0
    for step, gradient in enumerate(gradients):
        if step == BURN_IN:
            starts = [probe.parameter.detach().clone() for probe in (small, large)]
        small.step(gradient * SMALL)
        large.step(gradient)
    a, b = (p.parameter - start for p, start in zip((small, large), starts, strict=True))
    return bool((b != 0).any()) and bool((a - b).norm() <= 0.01 * b.norm())


def settings_of(group: dict[str, Any]) -> dict[str, float]:
    """The numbers among a group's settings, pairs taken apart; a tensor of one counts."""
    found: dict[str, float] = {}
    for name, value in group.items():
        if name in ("params", "param_names", "initial_lr"):
            continue
        several = value if isinstance(value, (tuple, list)) else [value]
        for at, one in enumerate(several):
            label = f"{name}[{at}]" if isinstance(value, (tuple, list)) else name
            number = number_of(one)
            if number is not None:
                found[label] = number
    return found


def number_of(x: Any) -> float | None:
    """A setting as a number; None for what is none."""
    if isinstance(x, Tensor):
        return float(x) if x.numel() == 1 else None
    return float(x) if isinstance(x, (int, float)) and not isinstance(x, bool) else None
