"""Watching a training: hooks that look at it now and then, and leave it as it is.

A sampled step begins with the model's forward pass and ends with the optimizer's step, or, where
the loss scaler skips that, with the next forward pass. In between nothing is kept but counts. The
training has the same bits as without: nothing is drawn, and nothing of it is written to.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from halfulp import __version__
from halfulp.backends.observing import observe
from halfulp.errors import HalfulpError
from halfulp.runs.reading import Run
from halfulp.runs.samples import About, Way
from halfulp.runs.verdicts import Findings, findings
from halfulp.training.prepared import Prepared
from halfulp.training.ranks import unwrapped
from halfulp.training.watching.arrivals import running_way
from halfulp.training.watching.journal import Journal
from halfulp.training.watching.merging import Ranks
from halfulp.training.watching.names import Names, compiles_hooks, is_compiled
from halfulp.training.watching.scales import Scale
from halfulp.training.watching.steps import Step
from halfulp.training.watching.trouble import Trouble

FORMATS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
WAYS = tuple(
    Way(format, strategy)
    for format, strategies in (
        ("float32", ("nearest",)),
        ("bfloat16", ("nearest", "stochastic", "kahan", "split", "master")),
        ("float16", ("nearest", "master")),
    )
    for strategy in strategies
)

#: Called after each sample with the step and a flat dict of numbers, as loggers take them.
Callback = Callable[[int, dict[str, float]], None]
_WATCHED: WeakKeyDictionary[Module, Watch] = WeakKeyDictionary()


def watch(
    model: Module | Prepared,
    optimizer: Optimizer | None = None,
    scaler: Any = None,
    *,
    every: int = 100,
    formats: Sequence[str] = FORMATS,
    ways: Sequence[Way] = WAYS,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    log: str | Path | None = None,
    callback: Callback | None = None,
    enabled: bool = True,
) -> Watch:
    """Watch a training, from its next step on: one line, before the loop.

    What is given is the model and its optimizer, and the torch.amp.GradScaler if there is one; or
    what :func:`halfulp.training.prepare` made, alone. Each ``every``-th step all tensors are looked
    at: weights, gradients (unscaled, accumulated; again where they were clipped), states of the
    optimizer, what modules return and its gradients; each is tallied for ``formats``. The updates
    that the optimizer means are counted for ``ways`` to keep weights: which are lost?

    ``include`` and ``exclude`` are patterns of names of parameters and modules. ``log`` is the file
    that is written; without it the run stays in memory. ``callback`` is given numbers to log
    elsewhere. With ``enabled=False`` nothing is done at all.

    Use it as a context manager, or call ``close()``. The training is bit-identical to one that is
    not watched; where watching fails, a warning says why, and the training goes on.

    Raises HalfulpError for arguments that cannot be, and for a model that is watched already.

    >>> model = torch.nn.Linear(4, 1, bias=False)
    >>> weight = torch.nn.init.ones_(model.weight)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    >>> with watch(model, optimizer, every=1) as watcher:
    ...     model(torch.ones(8, 4)).sum().backward()
    ...     optimizer.step()
    >>> rows = watcher.run.updates(0)
    >>> int(rows.updates.sum()), int(rows.lost[:, 0].sum())  # in float32 itself
    (4, 4)
    """
    prepared = model if isinstance(model, Prepared) else None
    if prepared is not None:
        if optimizer is not None or scaler is not None:
            raise HalfulpError("a prepared training has its optimizer and scaler: give it alone")
        model, optimizer = prepared.model, prepared.optimizer
    if not isinstance(model, Module) or not isinstance(optimizer, Optimizer):
        raise HalfulpError(
            "watch needs a torch.nn.Module and its torch.optim.Optimizer, or what prepare made; "
            f"found {type(model).__name__} and {type(optimizer).__name__}"
        )
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise HalfulpError(f"every is {every!r}: give 1 or more steps")
    if enabled and (other := _WATCHED.get(unwrapped(model))) is not None and other.is_open:
        raise HalfulpError(
            "the model is watched already, and the other watch goes on: close it first"
        )
    observe(torch.zeros(0).numpy(), tuple(formats))  # which refuses what cannot be
    return Watch(
        model, optimizer, prepared, Scale(scaler, prepared), every, tuple(formats), tuple(ways),
        Names(include, exclude), log, callback, enabled,
    )  # fmt: skip


class Watch:
    """A training that is watched; see :func:`watch`."""

    def __init__(
        self, model: Module, optimizer: Optimizer, prepared: Prepared | None, scale: Scale,
        every: int, formats: tuple[str, ...], ways: tuple[Way, ...], names: Names,
        log: str | Path | None, callback: Callback | None, enabled: bool,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.every = unwrapped(model), optimizer, every
        self.step = 0  # optimizer steps since watching began, skipped ones too
        self.failure: str | None = None  # why watching stopped
        self.is_enabled, self.is_open = enabled, False
        self._handles: list[RemovableHandle] = []
        self._listening: list[RemovableHandle] = []
        if not enabled:
            return
        tracked = names.tracked(model, optimizer, prepared)
        running = dict.fromkeys(running_way(t, prepared) for t in tracked)
        every_way = tuple(dict.fromkeys((*running, *ways)))
        self._ranks = Ranks(model)
        about = _about(self.model, optimizer, formats, every_way, every, self._ranks.count)
        self._trouble = Trouble(self.model)
        self._journal = Journal(log, about, self._ranks, callback)
        self._step = Step(model, optimizer, prepared, scale, names, about, self._journal.index)
        self._scale = scale
        self._attach()
        self.is_open = True
        _WATCHED[self.model] = self
        if is_compiled(self.model):
            self._journal.tell([self._trouble.compiled()])

    # What users call.

    @property
    def run(self) -> Run:
        """What was seen so far.

        Raises HalfulpError where nothing was watched, and on ranks that do not write.
        """
        if not self.is_enabled:
            raise HalfulpError("there is no run: this watch is not enabled")
        return self._journal.run()

    def findings(self) -> Findings:
        """What the run means so far, the gravest first.

        Raises HalfulpError where there is no run.
        """
        return findings(self.run)

    def __repr__(self) -> str:
        state = "open" if self.is_open else "closed" if self.is_enabled else "not enabled"
        name = type(self.model).__name__
        return f"<Watch of {name}, {state}: {self.step} steps, looked at every {self.every}>"

    def __enter__(self) -> Watch:
        if self.failure is None and self.is_enabled and not self.is_open:
            raise HalfulpError("this watch was closed: call watch again for a new one")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if kind is not None and self.is_open and self._ranks.count > 1:
            self._detach()  # the other ranks may not come here, and nothing waits for them
        self.close()

    def begin(self) -> None:
        """A forward pass begins: to be called only where the model itself is never called."""
        if self.is_open:
            _guarded(self, self._forward_began)(self.model, ())

    def close(self) -> None:
        """Look no more, and write what is left. The run can still be read."""
        _guarded(self, self._settle)()
        self._detach()

    # Hooks: each is guarded, so that nothing that goes wrong here stops the training.

    def _attach(self) -> None:
        keep = self._handles.append
        if not compiles_hooks(self.model):  # else a step begins with its first gradient
            began, ended = self._forward_began, self._forward_ended
            keep(self.model.register_forward_pre_hook(_guarded(self, began)))
            keep(self.model.register_forward_hook(_guarded(self, ended), with_kwargs=True))
        keep(self.optimizer.register_step_pre_hook(_guarded(self, self._step_began)))
        keep(self.optimizer.register_step_post_hook(_guarded(self, self._step_ended)))
        if self._listens_always:
            self._listen()

    @property
    def _listens_always(self) -> bool:
        """Whether gradients say that a step begins, or may be dropped where one is skipped."""
        return self._scale.is_used or compiles_hooks(self.model)

    def _listen(self) -> None:
        """Hear of each gradient as it comes in."""
        for tracked in self._step.tracked if not self._listening else ():
            if tracked.parameter.requires_grad:
                hook = _guarded(self, self._gradient_of(tracked.name))
                made = tracked.parameter.register_post_accumulate_grad_hook(hook)  # type: ignore[no-untyped-call]  # torch's own
                self._listening.append(made)

    def _listen_no_more(self) -> None:
        for handle in self._listening:
            handle.remove()
        self._listening.clear()

    def _detach(self) -> None:
        if self.is_open:
            self.is_open = False
            self._unhook()
            self._step.leave()
            self._journal.close()

    def _unhook(self) -> None:
        self._listen_no_more()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _forward_began(self, module: Module, inputs: Any) -> None:
        if torch.is_grad_enabled():
            self._settle()
            self._begin(looks_at_modules=True)

    def _forward_ended(self, module: Module, inputs: Any, named: Any, output: Any) -> None:
        if not torch.is_grad_enabled():
            return
        first = self._step.ends_forward()
        self._journal.tell(self._trouble.in_output(self.step, (inputs, named), output, first))

    def _gradient_of(self, name: str) -> Callable[[Tensor], None]:
        backward_ended = _guarded(self, self._backward_ended)

        def hook(parameter: Tensor) -> None:  # the one that comes most often
            if not self._step.is_backward:
                self._settle()
                self._begin(looks_at_modules=False)
            self._trouble.note_gradient(name)
            self._step.has_gradients(backward_ended)

        return hook

    def _backward_ended(self) -> None:
        self._trouble.backward_ended(self._step.parameters)
        self._step.see_gradients()

    def _step_began(self, optimizer: Optimizer, *_: Any) -> None:
        self._begin(looks_at_modules=False)
        self._journal.tell(self._trouble.in_gradients(self.step, self._step.gradients))
        problem = self._step.see_update(self.step)
        if problem:
            self._journal.tell([self._trouble.unforeseen(self.step, problem)])

    def _step_ended(self, *_: Any) -> None:
        self._finish(taken=True)

    # The steps.

    def _begin(self, looks_at_modules: bool) -> None:
        if self._step.has_begun:
            if looks_at_modules:
                self._step.begins_forward()
            return
        changed = self._step.begin(self.step % self.every == 0, looks_at_modules)
        if changed:
            self._reattach()
            self._journal.tell([self._trouble.changed(self.step, changed)])
        if self._step.is_sampled:
            self._listen()

    def _reattach(self) -> None:
        self._unhook()
        self._attach()

    @torch.no_grad()
    def _settle(self) -> None:
        """What became of the last step, where the optimizer's hook did not tell."""
        moved = self._scale.moved() if self._scale.is_used else None
        if moved is None:
            return
        before, after, skipped = moved
        self._journal.tell(self._trouble.scale_moved(self.step, before, after, skipped=skipped))
        if skipped and self._step.has_begun:
            self._finish(taken=False)

    def _finish(self, *, taken: bool) -> None:
        if self._step.is_sampled and self._goes_on():
            self._journal.write(self._step.head(self.step, taken=taken), self._step.gathered)
        if not self._listens_always:
            self._listen_no_more()
        self._step.end()
        self._trouble.clear()
        self.step += 1

    def _goes_on(self) -> bool:
        """Whether all ranks still watch; else none does from here on."""
        if self._ranks.agree(self.failure is None):
            return True
        if self.failure is None:
            self._say("another rank has stopped")
        self._detach()
        return False

    def fail(self, error: Exception) -> None:
        """Stop watching; the training goes on. Called by hooks where something went wrong.

        Of several ranks none leaves alone, since the others would wait for it: it sees no more,
        and says so at the end of the next sampled step.
        """
        described = str(error) if isinstance(error, HalfulpError) else _described(error)
        self._say(" ".join(described.split()))
        self._step.is_blind = self._journal.is_broken = True
        if self._ranks.count == 1:
            self._detach()

    def _say(self, failure: str) -> None:
        self.failure = failure
        warnings.warn(
            f"halfulp stopped watching at step {self.step}, and the training goes on: "
            f"{self.failure}", stacklevel=4,
        )  # fmt: skip


def _guarded(watcher: Watch, function: Callable[..., None]) -> Callable[..., None]:
    """A hook that never raises, and that does nothing once watching has stopped."""

    @wraps(function)
    def hook(*args: Any) -> None:
        if watcher.is_open:
            try:
                function(*args)
            except Exception as error:
                watcher.fail(error)

    return hook


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _about(
    model: Module, optimizer: Optimizer, formats: tuple[str, ...], ways: tuple[Way, ...],
    every: int, ranks: int,
) -> About:  # fmt: skip
    return About(
        name=type(model).__name__, optimizer=type(optimizer).__name__, formats=formats, ways=ways,
        every=every, parameters=sum(p.numel() for p in model.parameters()), ranks=ranks,
        started=time.time(), versions=(("halfulp", __version__), ("torch", torch.__version__)),
    )  # fmt: skip
