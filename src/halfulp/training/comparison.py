"""The same training under several recipes: same seed, same batches; who loses what."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from halfulp.errors import HalfulpError
from halfulp.records import Record, data_frame
from halfulp.training.experiment import Build, Experiment, built, describe
from halfulp.training.meter import UpdateMeter
from halfulp.training.recipes import RECIPES, Recipe, recipe

# Steps whose mean is the final loss: single batches are noisy.
LAST = 50

Progress = Callable[[str, int], None]  # the recipe, and how many steps it has taken


@dataclass(frozen=True)
class RecipeResult(Record):
    """What one recipe made of the training."""

    name: str
    loss: float  # mean of the last 50 steps
    metric: float | None
    updates: int  # nonzero ones, over all weights and steps
    lost: int  # of them, those that left their weight as it was
    skipped: int  # steps that the loss scaler skipped
    loss_scale: float | None  # at the end
    seconds: float
    losses: tuple[float, ...]

    @property
    def lost_share(self) -> float:
        """Lost ones among the nonzero updates."""
        return self.lost / self.updates if self.updates else 0.0


@dataclass(frozen=True)
class Comparison(Record):
    """One training under several recipes."""

    renderer = "halfulp.training.comparison_text:comparison_page"

    target: str
    seed: int
    steps: int
    metric: str
    recipes: tuple[RecipeResult, ...]

    def to_pandas(self) -> Any:
        """One row a recipe, without the loss curves."""
        return data_frame(self.recipes, leave_out=["losses"])


def compare(
    build: Build,
    recipes: Sequence[str | Recipe] = tuple(RECIPES),
    *,
    seed: int = 0,
    steps: int | None = None,
    target: str | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Train what ``build(seed)`` returns under each recipe, and count what each loses.

    ``steps`` stops early. The caller's random state (torch, NumPy, random) is left as it was.
    Raises HalfulpError for unknown recipes, a build that fails, and a training that raises.
    """
    chosen = [recipe(name) for name in recipes]
    if not chosen:
        raise HalfulpError(f"no recipe to compare: choose from {', '.join(RECIPES)}")
    check_run(seed, steps)
    name = target or str(getattr(build, "__name__", "build"))
    results, metric = [], "metric"
    for each in chosen:
        with _seeded(seed):
            experiment = built(build, seed, name)
            metric = experiment.metric
            report = partial(progress, each.name) if progress else None
            results.append(_train(experiment, each, steps, report))
    taken = max(len(r.losses) for r in results)
    if not taken:
        raise HalfulpError(f"{name}: build({seed}) returned no batches")
    return Comparison(name, seed, taken, metric, tuple(results))


def check_run(seed: int, steps: int | None) -> None:
    """A seed that all generators take, and at least one step."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise HalfulpError(f"seed is {seed!r}: allowed are 0 to 4294967295")
    if steps is not None and steps < 1:
        raise HalfulpError(f"steps is {steps}: give 1 or more")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """All generators seeded, and given back as they were."""
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


def _train(
    experiment: Experiment,
    by: Recipe,
    steps: int | None,
    progress: Callable[[int], None] | None,
) -> RecipeResult:
    run = _Run(experiment, by)
    start = time.perf_counter()
    batches, n = iter(experiment.batches), 0
    while n != steps:
        try:
            batch = next(batches, None)
            if batch is None:
                break
            inputs, targets = batch
            run.step(inputs, targets)
        except HalfulpError:
            raise
        except (Exception, SystemExit) as error:
            raise HalfulpError(f"{by.name} failed at step {n + 1}: {describe(error)}") from error
        n += 1
        if progress:
            progress(n)
    seconds = time.perf_counter() - start
    last = run.losses[-LAST:]
    return RecipeResult(
        name=by.name,
        loss=math.fsum(last) / len(last) if all(map(math.isfinite, last)) and last else math.nan,
        metric=None if experiment.evaluate is None else _evaluate(experiment, run),
        updates=run.meter.updates,
        lost=run.meter.lost,
        skipped=run.skipped,
        loss_scale=run.scaler.get_scale() if run.scaler else None,
        seconds=seconds,
        losses=tuple(run.losses),
    )


def _evaluate(experiment: Experiment, run: _Run) -> float:
    assert experiment.evaluate is not None, "the caller asked"
    experiment.model.eval()
    try:
        with torch.no_grad():
            return float(experiment.evaluate(run.predict))
    except (Exception, SystemExit) as error:
        raise HalfulpError(f"evaluate failed: {describe(error)}") from error


class _Run:
    """One training under one recipe, in torch's own dtypes."""

    def __init__(self, experiment: Experiment, by: Recipe) -> None:
        self.experiment, self.by = experiment, by
        self.model, self.optimizer = experiment.model, experiment.optimizer
        self.dtype: torch.dtype = getattr(torch, by.inputs)
        self.losses: list[float] = []
        self.skipped = 0
        if by.master is None:
            self.model.to(self.dtype)  # in place: the optimizer keeps its parameters
        device = next(self.model.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device) if by.loss_scale.is_dynamic else None
        self.meter = UpdateMeter(self.optimizer)
        self.model.train()

    def predict(self, inputs: Any) -> torch.Tensor:
        """The model's outputs in float32, computed as the recipe computes."""
        arguments, named = self._arguments(inputs)
        if self.by.master is None:
            outputs = self.model(*arguments, **named)
        else:
            # The model sees copies of the float32 masters; their gradients flow back to those.
            outputs = torch.func.functional_call(self.model, self._copies(), arguments, named)
        return outputs.float()  # type: ignore[no-any-return]  # a module's output is Any

    def _copies(self) -> dict[str, torch.Tensor]:
        """Compute copies of all weights but batch norms' (they stay float32, as in O2)."""
        kept = {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.model.named_modules()
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
            for name, _ in module.named_parameters(recurse=False)
        }
        return {
            name: p.to(self.dtype)
            for name, p in self.model.named_parameters()
            if p.is_floating_point() and name not in kept
        }

    def _arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if isinstance(inputs, dict):
            return (), {name: self._cast(value) for name, value in inputs.items()}
        several = isinstance(inputs, (tuple, list))
        return tuple(map(self._cast, inputs if several else (inputs,))), {}

    def _cast(self, value: Any) -> Any:
        floating = isinstance(value, torch.Tensor) and value.is_floating_point()
        return value.to(self.dtype) if floating else value

    def step(self, inputs: Any, targets: Any) -> None:
        """Forward, loss in float32, backward, and a metered update."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.experiment.loss(self.predict(inputs), targets)
        self.losses.append(float(loss.detach()))
        if self.scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own
            self.meter.step()
            return
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch's own
        self.scaler.unscale_(self.optimizer)
        if self._gradients_are_finite():
            self.meter.step(partial(self.scaler.step, self.optimizer))
        else:
            self.skipped += 1
            self.scaler.step(self.optimizer)
        self.scaler.update()

    def _gradients_are_finite(self) -> bool:
        gradients = (p.grad for group in self.optimizer.param_groups for p in group["params"])
        return all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)
