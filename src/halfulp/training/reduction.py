"""Gradients on their way to their sum across ranks: rounded before it and after it.

On each rank a gradient is divided by the number of ranks and rounded to the recipe's ``reduction``
format; what so comes from all ranks is added up in float32, and the sum is rounded once more. For
DistributedDataParallel that is a communication hook, for fully_shard a reduce-scatter of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Module
from torch.utils._python_dispatch import _disable_current_modes

from halfulp.catalogue import format
from halfulp.errors import HalfulpError
from halfulp.records import Record
from halfulp.training import ranks
from halfulp.training.recipes import FLOAT32, Recipe
from halfulp.training.storage import rounded
from halfulp.training.weights import kept_names, local


@dataclass(frozen=True)
class ReductionLoss(Record):
    """What rounding gradients before they were added up did to them, on all ranks together.

    Of the gradients' numbers, scaled as the loss is and divided by the number of ranks: how many
    there were that are not zero, how many of them changed, how many of these became zero, and how
    many went beyond the format's largest number.
    """

    contributions: int = 0
    changed: int = 0
    zeroed: int = 0
    overflowed: int = 0


class Reduction:
    """How the gradients of one training are added up across ranks."""

    def __init__(self, model: Module, by: Recipe, *, emulated: bool) -> None:
        self.target = by.reduction
        self.loss = ReductionLoss()
        self._groups: list[Any] = []
        self._seen: Tensor | None = None  # counts of this rank since the last step
        inner = ranks.unwrapped(model)
        kept = kept_names(inner, by)
        rounds = emulated and by.gradients != FLOAT32
        # Sums of numbers of a format are none of it, which torch's own dtypes see to.
        self._sums = [p for name, p in inner.named_parameters() if rounds and name not in kept]
        self._gradients = by.gradients
        if self.target is not None:
            self._register(model)

    def _register(self, model: Any) -> None:
        if ranks.is_wrapped(model):
            self._groups = [model.process_group]
            # A lambda, since torch compares annotations of hooks, which here are texts.
            model.register_comm_hook(None, lambda state, bucket: self._reduced(bucket))
        for module in ranks.sharded_modules(model):
            if not hasattr(module, "set_custom_reduce_scatter"):
                raise HalfulpError(
                    f"reduction={self.target} under fully_shard needs torch 2.8 or newer, and this "
                    f"is {torch.__version__}: take reduction=None"
                )
            module.set_custom_reduce_scatter(_ReduceScatter(self))
            module.set_all_reduce_hook(self._round_sum)
        for p in model.parameters():
            if hasattr(p, "device_mesh") and not self._groups:
                self._groups = p.device_mesh.get_all_groups()
                _check_scattered(p, str(self.target))

    def contributed(self, x: Tensor) -> Tensor:
        """What this rank adds to a sum, rounded and counted."""
        assert self.target is not None, "the recipe's reduction"
        made = rounded(x, self.target)
        counts = _counts(x, made, self.target)
        self._seen = counts if self._seen is None else self._seen + counts
        return made

    def _reduced(self, bucket: Any) -> torch.futures.Future[Tensor]:
        """The communication hook of DistributedDataParallel."""
        (group,) = self._groups
        buffer: Tensor = bucket.buffer()
        with _disable_current_modes():
            sent = self.contributed(buffer.float() / group.size())
            work = dist.all_reduce(sent, group=group, async_op=True)

        def settled(future: torch.futures.Future[list[Tensor]]) -> Tensor:
            with _disable_current_modes(), torch.no_grad():
                return buffer.copy_(rounded(future.value()[0], str(self.target)))

        made: torch.futures.Future[Tensor] = work.get_future().then(settled)
        return made

    def _round_sum(self, x: Tensor) -> None:
        with _disable_current_modes(), torch.no_grad():
            x.copy_(rounded(x, str(self.target)))

    @torch.no_grad()
    def settle(self) -> None:
        """After a backward pass: emulated gradients are numbers of their format, sums too."""
        if ranks.count() == 1:
            return
        for p in self._sums:
            if p.grad is not None:
                here = local(p.grad)
                here.copy_(rounded(here, self._gradients))

    def count(self) -> None:
        """After a step, which all ranks take together: what was lost on any of them."""
        if self._seen is None:
            return
        for group in self._groups:
            dist.all_reduce(self._seen, group=group)
        before = self.state_dict()
        self.loss = ReductionLoss(
            *(a + int(b) for a, b in zip(before, self._seen.tolist(), strict=True))
        )
        self._seen = None

    def state_dict(self) -> list[int]:
        """The counts so far."""
        return list(self.loss.to_dict().values())

    def load_state_dict(self, counts: Sequence[int]) -> None:
        """Go on counting from those of a saved training."""
        self.loss, self._seen = ReductionLoss(*counts), None


def _check_scattered(p: Any, target: str) -> None:
    """Gradients are rounded where they are scattered, which torch leaves out on one rank."""
    mesh, shards = p.device_mesh, [i for i, at in enumerate(p.placements) if at.is_shard()]
    if mesh.size() > 1 and all(mesh.size(axis) == 1 for axis in shards):
        raise HalfulpError(
            f"reduction={target} under fully_shard rounds what is scattered, and on a mesh of "
            f"{' × '.join(map(str, mesh.shape))} nothing is: take DistributedDataParallel"
        )


class _ReduceScatter:
    """The reduce-scatter that fully_shard calls, as torch's own but for the rounding."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = reduction

    def allocate(self, size: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.empty(*size, dtype=dtype, device=device)

    def __call__(
        self, output_tensor: Tensor, input_tensor: Tensor, group: Any, op: Any,
        async_op: bool = False,
    ) -> Any:  # fmt: skip
        with _disable_current_modes(), torch.no_grad():
            if op == dist.ReduceOp.AVG:
                input_tensor.div_(group.size())
                op = dist.ReduceOp.SUM
            sent = self.reduction.contributed(input_tensor)
            return _scatter(output_tensor, sent, op, group, async_op)


# Renamed in torch 2.13.
_scatter: Any = getattr(dist, "reduce_scatter_single", None) or getattr(
    dist, "reduce_scatter_tensor", None
)


def _counts(x: Tensor, made: Tensor, target: str) -> Tensor:
    """The fields of a ReductionLoss."""
    there = x != 0
    return torch.stack([
        there.sum(), ((made != x) & (x == x)).sum(), (there & (made == 0)).sum(),
        (x.isfinite() & (x.abs() > _bound(target))).sum(),
    ])  # fmt: skip


@lru_cache(maxsize=64)
def _bound(target: str) -> float:
    """Above it numbers round beyond the format's largest, half an ulp below which they do not.

    >>> _bound("float16"), _bound("float8_e4m3fn")
    (65519.99609375, 464.0)
    """
    if target == FLOAT32:
        return math.inf
    found = format(target)
    bound = np.float32(float(found.max + found.ulp(found.max) / 2))
    return float(np.nextafter(bound, np.float32(0)) if found.max_code % 2 else bound)  # ties: even
