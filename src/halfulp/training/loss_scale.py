"""How the loss is scaled, so that small gradients stay above the least number of their format.

A rule is a frozen record; what changes is a :class:`State` that goes in and comes out.

Sources: Micikevicius et al., "Mixed Precision Training" (arXiv 1710.03740) §3.2; the defaults of
torch.amp.GradScaler, NVIDIA Apex, DeepSpeed and Megatron-LM.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

from halfulp.errors import HalfulpError
from halfulp.records import Record


class State(NamedTuple):
    """Where a scale stands."""

    scale: float
    good: int  # finite steps since the scale last changed
    patience: int  # overflows that are still borne before the scale backs off


@dataclass(frozen=True)
class LossScale(Record):
    """A factor of the loss: none (1), static, or dynamic.

    A dynamic scale grows after ``interval`` finite steps in a row and backs off when gradients are
    not finite, within ``floor`` and ``cap``. With a ``hysteresis`` of n, only the n-th overflow
    backs off, and so does each one after it until the scale has grown again.
    Raises HalfulpError for a rule that could not work.

    >>> rule = LossScale(2.0**16, growth=2.0, interval=3, backoff=0.5)
    >>> state, seen = rule.start, []
    >>> for finite in (True, True, True, False, True, True, True):
    ...     state = rule.next(state, finite)
    ...     seen.append(int(state.scale))
    >>> seen
    [65536, 65536, 131072, 65536, 65536, 65536, 131072]
    """

    init: float = 1.0
    growth: float = 1.0
    interval: int = 2000
    backoff: float = 1.0
    floor: float = 2.0**-126
    cap: float = 2.0**127
    hysteresis: int = 1

    def __post_init__(self) -> None:
        demands = (
            (isfinite(self.init) and self.init > 0, "init", "a positive number"),
            (isfinite(self.growth) and self.growth >= 1, "growth", "1 or more"),
            (self.interval >= 1, "interval", "1 or more steps"),
            (0 < self.backoff <= 1, "backoff", "above 0 and at most 1"),
            (0 < self.floor <= self.init, "floor", f"above 0 and at most init ({self.init})"),
            (isfinite(self.cap) and self.cap >= self.init, "cap", f"init ({self.init}) or more"),
            (self.hysteresis >= 1, "hysteresis", "1 or more overflows"),
        )
        for fits, name, allowed in demands:
            if not fits:
                found = getattr(self, name)
                raise HalfulpError(f"loss scale with {name}={found}: allowed is {allowed}")

    @property
    def is_dynamic(self) -> bool:
        """Whether it changes."""
        return self.backoff != 1 or self.growth != 1

    @property
    def is_used(self) -> bool:
        """Whether the loss is scaled at all."""
        return self.is_dynamic or self.init != 1

    @property
    def is_plain(self) -> bool:
        """Whether torch.amp.GradScaler alone does the same."""
        plain = LossScale()
        return (self.floor, self.cap, self.hysteresis) == (plain.floor, plain.cap, plain.hysteresis)

    @property
    def start(self) -> State:
        """Before the first step."""
        return State(self.init, 0, self.hysteresis)

    def next(self, state: State, finite: bool) -> State:
        """After a step whose gradients were finite, or not and which was skipped."""
        if not self.is_dynamic:
            return state
        scale, good, patience = state
        if not finite:
            patience -= 1
            backed = max(scale * self.backoff, self.floor) if patience <= 0 else scale
            return State(backed, 0, max(patience, 0))
        if good + 1 < self.interval:
            return State(scale, good + 1, patience)
        return State(min(scale * self.growth, self.cap), 0, self.hysteresis)


#: The loss as it is.
UNSCALED = LossScale()
#: torch.amp.GradScaler's defaults.
DYNAMIC = LossScale(2.0**16, growth=2.0, interval=2000, backoff=0.5)
