"""The learning rates that a schedule will give, walked through on a copy of it."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from halfulp.errors import HalfulpError
from halfulp.language import N_, told
from halfulp.training.experiment import describe
from halfulp.training.linting.probes import copied
from halfulp.training.linting.records import Finding, evidence

Schedule = LRScheduler | Callable[[int], float] | Sequence[float]
MOST = 100_000  # steps of a schedule that are looked at
_LENGTHS = ("total_steps", "T_max", "total_iters")  # where torch's schedulers say how long they are


class Schedules(NamedTuple):
    """The learning rate of each group, step by step: as a number, and as the optimizer holds it."""

    meant: list[list[float]]
    held: list[list[float]]


def schedules(schedule: Any, optimizer: Optimizer, steps: int) -> Schedules | None:
    """The rates of a schedule, as far as it says itself, and for ``steps`` steps at least.

    Raises HalfulpError for what is no schedule, one of another optimizer, and one that fails.
    """
    if schedule is None or isinstance(schedule, ReduceLROnPlateau):
        return None  # which goes by losses that are not there yet
    if isinstance(schedule, LRScheduler):
        if getattr(schedule, "optimizer", optimizer) is not optimizer:
            raise HalfulpError("the schedule is of another optimizer: give the one it changes")
        length = max([steps, *(getattr(schedule, name, 0) or 0 for name in _LENGTHS)])
        walked = [
            _walked(schedule, optimizer, min(length, MOST), as_numbers=plain)
            for plain in (True, False)
        ]
        return Schedules(*walked)
    if callable(schedule):
        found = [_rate(schedule, step) for step in range(steps)]
    elif isinstance(schedule, (Sequence, Tensor)) and not isinstance(schedule, str):
        found = [_checked(rate, step) for step, rate in enumerate(schedule[:MOST])]
    else:
        found = []
    if not found:
        raise HalfulpError(
            f"schedule is {type(schedule).__name__}: give one of torch's schedulers, a function of "
            "the step, or the learning rates themselves"
        )
    groups = optimizer.param_groups
    held = [[_as_held(rate, group["lr"]) for group in groups] for rate in found]
    return Schedules([[rate] * len(groups) for rate in found], held)


def _rate(schedule: Callable[[int], float], step: int) -> float:
    try:
        return _checked(schedule(step), step)
    except HalfulpError:
        raise
    except Exception as error:  # whatever a user's function raises
        raise HalfulpError(f"the schedule failed at step {step}: {describe(error)}") from error


def _checked(rate: Any, step: int) -> float:
    try:
        number = float(rate)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise HalfulpError(
            f"the schedule gives {rate!r} at step {step}: learning rates are 0 or more"
        )
    return number


def _as_held(rate: float, setting: Any) -> float:
    """A rate in the tensor that holds the optimizer's, if one does."""
    if isinstance(setting, Tensor) and setting.is_floating_point():
        return float(torch.tensor(rate, dtype=setting.dtype))
    return rate


def _walked(
    schedule: LRScheduler, optimizer: Optimizer, length: int, *, as_numbers: bool
) -> list[list[float]]:
    """The rates of torch's scheduler: a copy of it, on an optimizer of nothing."""
    empty = Parameter(torch.empty(0))
    places = {id(p): empty for group in optimizer.param_groups for p in group["params"]}
    places |= {
        id(x): empty for state in optimizer.state.values() for x in state.values()
        if isinstance(x, Tensor)
    }  # fmt: skip
    found: list[list[float]] = []
    try:
        stand_in = copied(optimizer, places)
        stand_in.state.clear()
        for group in stand_in.param_groups if as_numbers else ():
            group.update({k: float(group[k]) for k in ("lr", "initial_lr") if k in group})
        twin = copy.deepcopy(schedule, {id(optimizer): stand_in})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while len(found) < length:
                now = [_checked(group["lr"], len(found)) for group in stand_in.param_groups]
                found.append(now)
                twin.step()
    except HalfulpError:
        raise
    except Exception as error:  # OneCycleLR ends so; others cannot be copied
        if not found:
            raise HalfulpError(
                f"the schedule {type(schedule).__name__} cannot be walked through: "
                f"{describe(error)}: give its learning rates as a sequence"
            ) from error
    return found


def schedule_findings(found: Schedules, optimizer: Optimizer) -> list[Finding]:
    """Rates of zero, and rates that a tensor of a low dtype cannot tell apart."""
    findings = []
    for index, group in enumerate(optimizer.param_groups):
        meant, held = ([step[index] for step in rates] for rates in found)
        where = told("group {number}", number=index)
        zero = [step for step, rate in enumerate(meant) if rate == 0]
        if zero:
            findings.append(_zero(where, zero, len(meant)))
        float32 = [float(torch.tensor(rate)) for rate in held]
        gone = [step for step, rate in enumerate(float32) if rate == 0 and meant[step] > 0]
        if gone:
            findings.append(_underflow(where, gone, meant))
        if isinstance(group["lr"], Tensor) and len(set(held)) < len(set(meant)):
            findings.append(_repeated(where, meant, held, str(group["lr"].dtype)))
    return findings


def _zero(where: str, zero: list[int], length: int) -> Finding:
    text = N_("The schedule reaches 0; {zero} of {all} steps have a learning rate of 0.")
    if zero[0] == 0:
        text = N_(
            "The schedule begins with 0: the first step changes no weight; {zero} of {all} steps "
            "have a learning rate of 0."
        )
    return Finding(
        "schedule-zero", "note", where,
        told(text, zero=len(zero), all=length),
        evidence(steps=len(zero), of=length),
    )  # fmt: skip


def _underflow(where: str, gone: list[int], meant: list[float]) -> Finding:
    return Finding(
        "schedule-underflow", "warning", where,
        told(
            "{gone} of {all} scheduled learning rates are 0 where they act, the first {rate:g} at "
            "step {step}.", gone=len(gone), all=len(meant), rate=meant[gone[0]], step=gone[0],
        ),
        evidence(steps=len(gone), of=len(meant), rate=meant[gone[0]]),
    )  # fmt: skip


def _repeated(where: str, meant: list[float], held: list[float], dtype: str) -> Finding:
    name = dtype.removeprefix("torch.")
    return Finding(
        "schedule-repeats", "warning", where,
        told(
            "The learning rate is a {dtype} tensor: of {meant} rates that the schedule means it "
            "tells {held} apart. Hold it in float32, or as a number.",
            dtype=name, meant=len(set(meant)), held=len(set(held)),
        ),
        evidence(meant=len(set(meant)), held=len(set(held))),
    )  # fmt: skip
