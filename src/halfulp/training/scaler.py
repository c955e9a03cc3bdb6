"""The loss scale at work: torch.amp.GradScaler scales and skips, the rule says what is next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from halfulp.errors import HalfulpError
from halfulp.training.loss_scale import LossScale, State


class Scaler:
    """A loss scale of a training."""

    def __init__(self, rule: LossScale, device: str) -> None:
        self.rule = rule
        self.state = rule.start
        self._torch = torch.amp.GradScaler(
            device, init_scale=rule.init, growth_interval=rule.interval, enabled=rule.is_dynamic
        )

    @property
    def scale(self) -> float:
        """What the loss is multiplied by now."""
        return self.state.scale

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss times the scale."""
        if self.rule.is_dynamic:
            return self._torch.scale(loss)
        return loss * self.scale if self.rule.is_used else loss

    @torch.no_grad()
    def unscale_(self, optimizer: Optimizer) -> None:
        """The optimizer's gradients divided by the scale, in their own dtype."""
        if self.rule.is_dynamic:
            self._torch.unscale_(optimizer)
        elif self.rule.is_used:
            for group in optimizer.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        p.grad.mul_(1 / self.scale)

    def step(self, optimizer: Optimizer) -> bool:
        """The optimizer's step, unless a gradient is not finite; whether it was taken."""
        if not self.rule.is_dynamic:
            optimizer.step()
            return True
        taken: list[bool] = []
        hook = optimizer.register_step_post_hook(lambda *_: taken.append(True))
        try:
            self._torch.step(optimizer)
        finally:
            hook.remove()
        self.state = self.rule.next(self.state, bool(taken))
        self._torch.update(new_scale=self.scale)
        return bool(taken)

    def state_dict(self) -> dict[str, Any]:
        """Where the scale stands."""
        return self.state._asdict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where a scale stood.

        Raises HalfulpError where something is missing.
        """
        if missing := [name for name in State._fields if name not in state]:
            raise HalfulpError(f"the state of the loss scale lacks {missing[0]}")
        self.state = State(*(state[name] for name in State._fields))
        if self.rule.is_dynamic:
            self._torch.load_state_dict(self._torch.state_dict() | {"scale": self.scale})
