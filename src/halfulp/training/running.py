"""One training under one recipe, from the same start as every other: what it came to."""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from halfulp.errors import HalfulpError
from halfulp.records import Record
from halfulp.training.experiment import Build, Experiment, built, describe
from halfulp.training.footprint import bytes_per_parameter
from halfulp.training.meter import UpdateMeter
from halfulp.training.prepared import prepare
from halfulp.training.recipes import Recipe

# Steps whose mean is the final loss: single batches are noisy.
LAST = 50

Steps = Callable[[int], None]  # how many steps were taken


@dataclass(frozen=True)
class RecipeResult(Record):
    """What one recipe made of the training, from one seed."""

    name: str
    seed: int
    loss: float  # mean of the last 50 steps
    metric: float | None
    updates: int  # nonzero ones, over all weights and steps
    lost: int  # of them, those that left their weight as it was
    norm_ratio: float  # of what the weights did to what the optimizer meant, all steps together
    cosine: float  # of the angle between the two
    overflows: int  # steps with a gradient that was not finite
    skipped: int  # steps that the loss scaler skipped
    loss_scale: float | None  # at the end
    bytes_per_parameter: float  # that are kept: weights, masters, gradients, optimizer state
    seconds: float
    losses: tuple[float, ...]


class Start:
    """A training as ``build(seed)`` gives it, and what tells it from others."""

    def __init__(self, experiment: Experiment, name: str, seed: int) -> None:
        self.experiment, self.name, self.seed = experiment, name, seed
        batches = iter(experiment.batches)
        try:
            first = next(batches, None)
        except (Exception, SystemExit) as error:
            raise HalfulpError(f"{name} failed at step 1: {describe(error)}") from error
        self.batches = chain([] if first is None else [first], batches)
        self.is_empty = first is None
        self.fingerprint = _fingerprint(experiment.model, first)


@contextmanager
def started(build: Build, seed: int, name: str) -> Iterator[Start]:
    """A training from a seed; all generators are seeded, and given back as they were."""
    with _seeded(seed):
        yield Start(built(build, seed, name), name, seed)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _fingerprint(model: torch.nn.Module, batch: Any) -> str:
    """A hash of the first weights and the first batch."""
    digest = hashlib.sha256()
    for x in (*model.state_dict().values(), *tree_flatten(batch)[0]):
        if isinstance(x, Tensor):
            digest.update(f"{x.dtype}{tuple(x.shape)}".encode())
            flat = x.detach().cpu().contiguous().view(-1)
            digest.update(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
    return digest.hexdigest()


def train(
    start: Start, by: Recipe, steps: int | None, emulate: bool | None, progress: Steps | None
) -> RecipeResult:
    """Train a fresh start under a recipe.

    Raises HalfulpError where a step raises, and for batches with NaN.
    """
    experiment = start.experiment
    prepared = prepare(experiment.model, experiment.optimizer, by, emulate=emulate, seed=start.seed)
    meter, began = UpdateMeter(prepared), time.perf_counter()
    losses: list[float] = []
    experiment.model.train()
    while len(losses) != steps:
        try:
            batch = next(start.batches, None)
            if batch is None:
                break
            losses.append(_step(experiment, meter, batch))
        except HalfulpError as error:
            raise HalfulpError(f"{by.name}, step {len(losses) + 1}: {error}") from error
        except (Exception, SystemExit) as error:
            raise HalfulpError(
                f"{by.name} failed at step {len(losses) + 1}: {describe(error)}"
            ) from error
        if progress:
            progress(len(losses))
    seconds = time.perf_counter() - began
    last, counted = losses[-LAST:], meter.counted
    return RecipeResult(
        name=by.name,
        seed=start.seed,
        loss=math.fsum(last) / len(last) if all(map(math.isfinite, last)) and last else math.nan,
        metric=None if experiment.evaluate is None else _evaluate(experiment),
        updates=counted.updates,
        lost=counted.lost,
        norm_ratio=counted.norm_ratio,
        cosine=counted.cosine,
        overflows=counted.overflows,
        skipped=prepared.skipped,
        loss_scale=prepared.scale if by.loss_scale.is_used else None,
        bytes_per_parameter=bytes_per_parameter(by, experiment.optimizer, experiment.model),
        seconds=seconds,
        losses=tuple(losses),
    )


def _step(experiment: Experiment, meter: UpdateMeter, batch: Any) -> float:
    inputs, targets = batch
    for what, value in (("inputs", inputs), ("targets", targets)):
        for x in tree_flatten(value)[0]:
            if isinstance(x, Tensor) and x.is_floating_point() and bool(torch.isnan(x).any()):
                raise HalfulpError(f"the batch has NaN in its {what}: no recipe can learn from it")
    loss = experiment.loss(_outputs(experiment, inputs), targets)
    meter.prepared.backward(loss)
    meter.step()
    return float(loss.detach())


def _outputs(experiment: Experiment, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return experiment.model(**inputs)
    several = isinstance(inputs, (tuple, list))
    return experiment.model(*(inputs if several else (inputs,)))


def _evaluate(experiment: Experiment) -> float:
    assert experiment.evaluate is not None, "the caller asked"
    experiment.model.eval()
    try:
        with torch.no_grad():
            return float(experiment.evaluate(lambda inputs: _outputs(experiment, inputs)))
    except (Exception, SystemExit) as error:
        raise HalfulpError(f"evaluate failed: {describe(error)}") from error
