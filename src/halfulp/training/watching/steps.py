"""One step of a training, from its forward pass to the optimizer's step: what is seen of it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from halfulp.errors import HalfulpError
from halfulp.runs.samples import CLIPPED, GRADIENT, STATE, WEIGHT, About, Head, Series
from halfulp.training.prepared import Prepared
from halfulp.training.watching.arrivals import Meter, running_way
from halfulp.training.watching.held import Held
from halfulp.training.watching.merging import Gathered
from halfulp.training.watching.modules import Eyes
from halfulp.training.watching.names import Names, Tracked
from halfulp.training.watching.scales import Scale
from halfulp.training.watching.tensors import flattened, seen_in
from halfulp.training.weights import dtype_name, local

_ENGINE = torch.autograd.Variable._execution_engine
# Gradients whose largest magnitude changed by less were not clipped, but divided by the scale.
SAME = 1e-6


class Step:
    """What is seen of the step that is being taken; empty where it is not sampled."""

    def __init__(
        self, model: Module, optimizer: Optimizer, prepared: Prepared | None, scale: Scale,
        names: Names, about: About, index: Callable[[Series], int],
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self._prepared, self._scale = model, optimizer, prepared, scale
        self._names, self._about, self._index = names, about, index
        self.has_begun = self.is_sampled = False
        self.gathered = Gathered()
        self.is_blind = False  # and sees no more, where something went wrong
        self._queued = self._forwards = False
        self._whole: dict[str, Series] = {}  # of the gradients that were seen
        self._unforeseen = False  # whether the optimizer's updates cannot be
        self._divisor = 1.0
        self._held = Held(prepared)
        self._track()

    def _track(self) -> None:
        self.tracked = self._names.tracked(self.model, self.optimizer, self._prepared)
        self.parameters = {t.name: t.parameter for t in self.tracked}
        ways = self._about.ways
        self._meters = [
            Meter(t, ways.index(running_way(t, self._prepared)), ways) for t in self.tracked
        ]
        self._eyes = Eyes(
            self._names.modules(self.model), self._held.series, self._see, self._see_gradient
        )
        self._layout = self._laid_out()

    def _laid_out(self) -> list[tuple[int, torch.Size]]:
        sharded = [t.value for t in self.tracked if t.weight is None or t.weight.is_whole]
        every = [p for group in self.optimizer.param_groups for p in group["params"]]
        return [(id(p), p.shape) for p in every] + [(id(p), p.shape) for p in sharded]

    # From beginning to end.

    def begin(self, sampled: bool, forward: bool) -> str | None:
        """A step begins; a sentence where the model is not what it was."""
        self.has_begun, self.is_sampled, self._forwards = True, sampled, False
        changed = self._changed() if sampled else None
        if sampled:
            self._divisor = self._scale.now
        if forward:
            self.begins_forward()
        return changed

    def begins_forward(self) -> None:
        """The model is called; modules are looked at the first time in a sampled step."""
        if self.is_sampled and not self._forwards and not self.is_blind:
            self._forwards = True
            self._eyes.open()

    def ends_forward(self) -> bool:
        """The model has returned; whether modules were looked at."""
        self._eyes.close()
        return self.is_sampled

    def end(self) -> None:
        """The step is over."""
        self._eyes.close()
        self.gathered = Gathered()
        self.has_begun = self.is_sampled = False

    def leave(self) -> None:
        """Look no more."""
        self._eyes.close()

    def head(self, step: int, *, taken: bool) -> Head:
        """The step without its columns."""
        group = self.optimizer.param_groups[0]
        settings = tuple(
            (name, float(group[name])) for name in ("lr", "weight_decay") if group.get(name)
        )
        scale = self._divisor if self._scale.is_used else None
        wrong = sum(s.infinite + s.nan for s in self.gathered.seen.values())
        return Head(step, time.time(), scale, taken, settings, wrong)

    def _changed(self) -> str | None:
        if self._laid_out() == self._layout:
            return None
        before = len(self.tracked)
        self._track()
        return (
            f"the model's parameters are not what they were: {before} were watched, and now "
            f"{len(self.tracked)} are"
        )

    # What is seen.

    def _see(self, series: Series, x: Tensor, divisor: float = 1.0) -> None:
        if self.is_blind:
            return
        self.gathered.add(series, seen_in(x, self._about.formats, divisor))

    def _see_gradient(self, series: Series, gradient: Tensor) -> None:
        self._see(series, gradient, self._divisor)

    @property
    def is_backward(self) -> bool:
        """Whether gradients have come in, and the end of the backward pass is awaited."""
        return self._queued

    def has_gradients(self, then: Callable[[], None]) -> None:
        """Gradients come in: ``then`` is called at the end of the backward pass.

        The call is queued from within a queued call, to come after what DistributedDataParallel
        queues, which makes the gradients whole.
        """
        if not self._queued:
            self._queued = True
            self._eyes.close()  # what runs from now on runs for the second time
            _ENGINE.queue_callback(lambda: _ENGINE.queue_callback(then))

    def gradients(self) -> dict[str, Tensor]:
        """What the optimizer is about to take, by name, of what lies here."""
        every = ((t.name, t.value.grad) for t in self.tracked)
        return {name: local(g.detach()) for name, g in every if g is not None}

    @torch.no_grad()
    def see_gradients(self) -> None:
        """The backward pass is over; of several the last one counts, which has added up all."""
        self._queued = False
        for t in self.tracked if self.is_sampled and not self.is_blind else ():
            gradient = t.parameter.grad
            if gradient is not None:
                series = self._held.series(t.name, GRADIENT, gradient)
                seen = seen_in(gradient, self._about.formats, self._divisor)
                self.gathered.seen[series], self._whole[t.name] = seen, series

    @torch.no_grad()
    def see_update(self, step: int) -> str | None:
        """Weights, states and updates before the optimizer's step.

        Returns why updates are not counted, once, where they cannot be.
        """
        if not self.is_sampled or self.is_blind:
            return None
        problem = None
        for t, meter in zip(self.tracked, self._meters, strict=True):
            self._see_clipped(t)
            weight = self._held.series(t.name, WEIGHT, t.parameter)
            self._see(weight, t.value)
            for name, state in self.optimizer.state.get(t.value, {}).items():
                if isinstance(state, Tensor) and state.is_floating_point() and state.ndim:
                    self._see(Series(t.name, f"{STATE}{name}", dtype_name(state)), state)
            if not self._unforeseen:
                problem = problem or self._count(meter, weight, step)
        return problem

    def _count(self, meter: Meter, weight: Series, step: int) -> str | None:
        try:
            found = meter.count(self.optimizer, step)
        except HalfulpError as error:
            self._unforeseen = True
            return str(error)
        if found is not None:
            self.gathered.arrivals[weight], recorded = found
            self.gathered.recorded[weight] = recorded
        return None

    def _see_clipped(self, t: Tracked) -> None:
        gradient = t.value.grad
        if gradient is None or not gradient.numel():
            return
        # A prepared training gives its optimizer another tensor, and drops the parameter's.
        series = self._whole.get(t.name) or self._held.series(t.name, GRADIENT, gradient)
        before = self.gathered.seen.get(series)
        ends = torch.aminmax(flattened(gradient)) if local(gradient).numel() else ()
        largest = max((float(end.abs()) for end in ends), default=0.0)
        if before is None:
            self._see(series, gradient)
        elif not abs(largest - before.largest) <= SAME * before.largest:
            self._see(Series(t.name, CLIPPED, dtype_name(gradient)), gradient)
