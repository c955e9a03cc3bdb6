"""The gradients that updates are predicted from: of a rehearsal, given, at hand, or made up.

A rehearsal trains a copy of the model with a copy of its optimizer, as they are, on the first
batches. Gradients at the initial weights alone would not do: in the steps that a model learns most
they shrink and turn, and updates with them.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from halfulp.conversion import cast
from halfulp.errors import HalfulpError
from halfulp.training.experiment import describe
from halfulp.training.linting.lost_prediction import Gradients, Rates, Sample
from halfulp.training.linting.probes import SMALL
from halfulp.training.weights import local


@contextmanager
def random_state_kept() -> Iterator[None]:
    """The random state of torch, NumPy and random is afterwards what it was."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def noise(samples: Sequence[Sample], steps: int, seed: int) -> Iterator[Gradients]:
    """Independent normal numbers: what is left of gradients where batches disagree."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [s.of(s.parameter).shape for s in samples]
    for _ in range(steps):
        yield [
            SMALL * torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes
        ]


def present(samples: Sequence[Sample], steps: int) -> Iterator[Gradients]:
    """The gradients that parameters have now, in every step."""
    found = [None if s.parameter.grad is None else s.of(s.parameter.grad) for s in samples]
    for _ in range(steps):
        yield found


def given(
    samples: Sequence[Sample], model: Module, gradients: Sequence[Sequence[Tensor | None]],
    steps: int,
) -> Iterator[Gradients]:  # fmt: skip
    """The caller's gradients, from the first again after the last.

    Raises HalfulpError where they do not fit the model's parameters.
    """
    every = list(model.named_parameters())
    at = {id(p): n for n, (_, p) in enumerate(every)}
    for number, step in enumerate(gradients):
        if len(step) != len(every):
            raise HalfulpError(
                f"gradients[{number}] has {len(step)} tensors: give one, or None, for each of the "
                f"{len(every)} parameters, in the order of model.parameters()"
            )
        for (name, p), g in zip(every, step, strict=True):
            if g is not None and g.shape != p.shape:
                raise HalfulpError(
                    f"gradients[{number}] for {name} is {tuple(g.shape)}: the parameter is "
                    f"{tuple(p.shape)}"
                )
    kept = [
        [None if (g := step[at[id(s.parameter)]]) is None else s.of(g) for s in samples]
        for step in gradients
    ]
    for step_number in range(steps):
        yield kept[step_number % len(kept)]


class Rehearsal:
    """A copy of the training takes its first steps, its weights kept in a format or as they are.

    Weights that are stuck learn less, and so go on to have large gradients: each format has a
    rehearsal of its own.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        samples: Sequence[Sample],
        batches: Iterable[tuple[Any, Any]],
        loss: Callable[[Any, Any], Tensor],
        target: str | None,
    ) -> None:
        try:
            self.model, self.optimizer = copy.deepcopy((model, optimizer))
        except Exception as error:  # whatever a module's __deepcopy__ raises
            raise HalfulpError(
                f"{type(model).__name__} cannot be copied to rehearse its training: "
                f"{describe(error)}"
            ) from error
        copies = dict(zip(map(id, model.parameters()), self.model.parameters(), strict=True))
        self.samples = [(s, copies[id(s.parameter)]) for s in samples]
        self.target, self._kept = target, [p for p in copies.values() if p.is_floating_point()]
        self._round()
        self.batches, self.loss = batches, loss
        self.overflowed: int | None = None  # the step whose gradients were not finite

    def gradients(self, steps: int, rates: Rates | None) -> Iterator[Gradients]:
        """Of each step, before it is taken; ends with the batches, or where one is not finite.

        Raises HalfulpError where a step raises.
        """
        self.model.train()
        batches = self._checked(islice(iter(self.batches), steps))
        for number, batch in enumerate(batches):
            try:
                self._backward(batch)
            except HalfulpError:
                raise
            except (Exception, SystemExit) as error:
                raise HalfulpError(f"step {number + 1} failed: {describe(error)}") from error
            if not all(_is_finite(p.grad) for p in self.model.parameters()):
                self.overflowed = number + 1
                return
            yield [None if p.grad is None else s.of(p.grad) for s, p in self.samples]
            if rates:
                now = rates[min(number, len(rates) - 1)]
                for group, rate in zip(self.optimizer.param_groups, now, strict=True):
                    group["lr"] = rate
            self.optimizer.step()
            self._round()

    @torch.no_grad()
    def _round(self) -> None:
        """Put the weights in the format; a frozen one is a number of it already."""
        if self.target is None:
            return
        for p in self._kept:
            here = local(p).detach()
            here.copy_(cast(here.contiguous(), self.target))

    def _checked(self, batches: Iterator[Any]) -> Iterator[Any]:
        number = 0
        while True:
            number += 1
            try:
                batch = next(batches, None)
            except (Exception, SystemExit) as error:
                raise HalfulpError(f"batch {number} failed: {describe(error)}") from error
            if batch is None:
                return
            if not isinstance(batch, (tuple, list)) or len(batch) != 2:
                raise HalfulpError(
                    f"batch {number} is {type(batch).__name__}: give (inputs, targets)"
                )
            yield batch

    def _backward(self, batch: Any) -> None:
        inputs, targets = batch
        if isinstance(inputs, dict):
            outputs = self.model(**inputs)
        else:
            several = isinstance(inputs, (tuple, list))
            outputs = self.model(*(inputs if several else (inputs,)))
        self.optimizer.zero_grad(set_to_none=True)
        self.model.zero_grad(set_to_none=True)
        loss = self.loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise HalfulpError("the loss is no single number that depends on the parameters")
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own


def _is_finite(gradient: Tensor | None) -> bool:
    return gradient is None or bool(torch.isfinite(local(gradient)).all())
