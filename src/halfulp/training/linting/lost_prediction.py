"""Which updates will be lost, counted on a shadow of the optimizer before it takes a step.

The shadow has the optimizer's class, settings and state, in float64, on a bounded sample of each
parameter's elements. It is given gradients (gradients), and each update d that it means
is held against the weight w as the format keeps it: lost is what rounds back, w = round(w + d). The
weights then move as the format lets them, so that a weight that is stuck stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from halfulp.arithmetic import add
from halfulp.catalogue import Format, format
from halfulp.conversion import cast
from halfulp.errors import HalfulpError
from halfulp.training.experiment import describe
from halfulp.training.linting.probes import copied
from halfulp.training.linting.records import FormatShare, ParameterShare
from halfulp.training.places import places
from halfulp.training.weights import local

#: Elements of a parameter beyond which it is left out where its updates need all of it.
WHOLE = 1 << 16

Doubles = npt.NDArray[np.float64]
Gradients = Sequence[Tensor | None]  # of each sample, in float64
Rates = Sequence[Sequence[float]]  # the learning rate of each group, step by step


class Sample(NamedTuple):
    """A parameter, and the elements of it that are followed: all, or one of each stretch."""

    name: str
    parameter: Tensor
    group: int
    places: Tensor | None  # None: all, in the parameter's shape

    def of(self, x: Tensor) -> Tensor:
        """The followed elements of a tensor of the parameter's shape, in float64, on the CPU."""
        here = local(x).detach()
        if self.places is not None:
            here = here.reshape(-1)[self.places.to(here.device)]
        return here.to("cpu", torch.float64, copy=True)

    @property
    def elements(self) -> int:
        """Elements of the parameter."""
        return local(self.parameter).numel()

    @property
    def sampled(self) -> int:
        """Elements that are followed."""
        return self.elements if self.places is None else len(self.places)


def lost(w: Any, d: Any, target: str | Format) -> npt.NDArray[np.bool_]:
    """Where ``w`` is finite, ``d`` is not zero, and w + d, rounded to nearest even, is ``w`` again.

    ``w`` holds numbers of the format and ``d`` any float64 (arrays that broadcast). What overflows
    becomes what a cast makes of it by default. An update that is zero or NaN is never lost.

    Raises HalfulpError for an unknown format, one without signs and one that float64 does not hold.

    >>> lost([1.0, 1.0, -1.0, 1.0], [0.00390625, 0.0040, 0.0020, 0.0], "bfloat16").tolist()
    [True, False, False, False]
    """
    target = format(target)
    if not format("float64").holds(target):
        raise HalfulpError(f"format {target.name} has numbers that float64 does not hold")
    if not target.signed:
        raise HalfulpError(f"format {target.name} has no negative numbers: no weight is kept in it")
    weights, updates = np.broadcast_arrays(np.asarray(w, np.float64), np.asarray(d, np.float64))
    return _stays(weights, updates, _moved(weights, updates, target))


def _moved(w: Doubles, d: Doubles, target: str | Format) -> Doubles:
    """The sum, rounded once to nearest even."""
    found: Doubles = add(np.ascontiguousarray(w), np.ascontiguousarray(d), target)
    return found


def _stays(w: Doubles, d: Doubles, moved: Doubles) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (moved == w) & np.isfinite(w) & (d != 0) & ~np.isnan(d)
    return found


def places_of(elements: int, most: int) -> Tensor | None:
    """One place in each of ``most`` equal stretches; None where all elements fit.

    >>> places_of(20, 4).tolist()
    [0, 8, 11, 19]
    """
    return None if elements <= most else torch.from_numpy(places(elements, most))


class Shadow:
    """The optimizer on samples in float64, beside weights as one format (or several) keeps them."""

    def __init__(self, optimizer: Optimizer, samples: Sequence[Sample], formats: Sequence[str]):
        self.samples, self.formats = samples, formats
        self._mirrors = [Parameter(s.of(s.parameter)) for s in samples]
        self.optimizer = copied(optimizer, self._places(optimizer))
        self.weights = [_held(mirror, f) for mirror, f in zip(self._mirrors, formats, strict=True)]
        self.updates = np.zeros((len(samples), 2), np.int64)  # of the first step, and of all
        self.lost = np.zeros((len(samples), 2), np.int64)
        self.steps = 0
        self.last: list[npt.NDArray[np.float64] | None] = [None] * len(samples)

    def _places(self, optimizer: Optimizer) -> dict[int, Any]:
        """What takes the place of each parameter, and of what is kept of it."""
        empty = Parameter(torch.empty(0))
        places: dict[int, Any] = {
            id(p): empty for group in optimizer.param_groups for p in group["params"]
        }
        followed = {id(s.parameter): s for s in self.samples}
        for p, state in optimizer.state.items():
            for x in state.values() if isinstance(state, dict) else ():
                if isinstance(x, Tensor) and x.shape == p.shape and x.ndim:
                    places[id(x)] = followed[id(p)].of(x) if id(p) in followed else empty
        places |= {id(s.parameter): m for s, m in zip(self.samples, self._mirrors, strict=True)}
        return places

    def step(self, gradients: Gradients, rates: Sequence[float] | None) -> None:
        """One step of the optimizer, counted.

        Raises HalfulpError where the optimizer raises.
        """
        for group, rate in zip(self.optimizer.param_groups, rates or (), strict=False):
            group["lr"] = rate
        for mirror, w, gradient in zip(self._mirrors, self.weights, gradients, strict=True):
            mirror.data = torch.from_numpy(w.copy())
            mirror.grad = None if gradient is None else gradient.clone()
        try:
            self.optimizer.step()
        except Exception as error:  # whatever an optimizer of the user's raises
            raise HalfulpError(
                f"{type(self.optimizer).__name__} cannot be followed in float64: {describe(error)}"
            ) from error
        for at, mirror in enumerate(self._mirrors):
            with np.errstate(invalid="ignore"):  # weights that are infinite in the format
                self._count(at, mirror.detach().numpy() - self.weights[at])
        self.steps += 1

    def _count(self, at: int, d: npt.NDArray[np.float64]) -> None:
        w, target = self.weights[at], self.formats[at]
        d = np.where(np.isfinite(w) & np.isfinite(d), d, 0.0)
        moved = _moved(w, d, target)
        stays = _stays(w, d, moved)
        for column in (0, 1) if self.steps == 0 else (1,):
            self.updates[at, column] += np.count_nonzero(d)
            self.lost[at, column] += np.count_nonzero(stays)
        self.weights[at], self.last[at] = np.where(stays | (d == 0), w, moved), d

    def share(self, name: str, running: bool) -> FormatShare:
        """What was counted, and for all elements what it stands for."""
        rows = tuple(
            ParameterShare(s.name, f, s.elements, s.sampled, int(u), int(n))
            for s, f, u, n in zip(
                self.samples, self.formats, self.updates[:, 1], self.lost[:, 1], strict=True
            )
        )
        scale = np.array([s.elements / s.sampled for s in self.samples])
        updates, first = (round(float(self.updates[:, c] @ scale)) for c in (1, 0))
        gone, first_gone = (round(float(self.lost[:, c] @ scale)) for c in (1, 0))
        return FormatShare(name, running, updates, gone, first, first_gone, rows)

    def share_at(self, factors: Sequence[float]) -> float:
        """The lost part of the last updates, were those of each group so many times as large."""
        updates, gone = 0.0, 0.0
        for s, w, d, f in zip(self.samples, self.weights, self.last, self.formats, strict=True):
            if d is not None:
                scaled, weight = d * factors[s.group], s.elements / s.sampled
                updates += weight * np.count_nonzero(scaled)
                gone += weight * np.count_nonzero(lost(w, scaled, f))
        return gone / updates if updates else 0.0

    def example(self) -> tuple[str, float, float, str] | None:
        """A parameter, a weight of it and the last update it lost: the weight in the middle."""
        best, found = 0, None
        for s, w, d, f in zip(self.samples, self.weights, self.last, self.formats, strict=True):
            where = np.flatnonzero(lost(w, d, f)) if d is not None else np.array([], np.int64)
            if d is not None and len(where) * s.elements // s.sampled > best:
                best = len(where) * s.elements // s.sampled
                flat = w.reshape(-1)
                middle = where[np.argsort(np.abs(flat[where]))[len(where) // 2]]
                found = (s.name, float(flat[middle]), float(d.reshape(-1)[middle]), f)
        return found


def follow(
    pairs: Sequence[tuple[Shadow, Iterator[Gradients]]],
    rates: Rates | None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Give each shadow its own gradients, all of them step by step; each as long as it has some.

    Raises HalfulpError where the optimizer raises.
    """
    going, step = list(pairs), 0
    while going:
        rest = []
        for shadow, gradients in going:
            given = next(gradients, None)
            if given is not None:
                shadow.step(given, rates[min(step, len(rates) - 1)] if rates else None)
                rest.append((shadow, gradients))
        going, step = rest, step + 1
        if progress and rest:
            progress(step)


def _held(values: Tensor, target: str) -> npt.NDArray[np.float64]:
    """Weights as a format keeps them, as float64."""
    rounded: npt.NDArray[np.float64] = cast(values.detach().numpy().copy(), target)
    return rounded
