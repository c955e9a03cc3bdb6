"""What the optimizer means to do, before it does it: its own step, taken on copies in float64.

Most optimizers of torch treat each element alone, so their step on a stretch of a parameter is that
stretch of their step; others are given whole parameters. Nothing of the training is touched, and no
copy of all weights is made.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)

from halfulp.errors import HalfulpError
from halfulp.training.implementations import plainly
from halfulp.training.watching.tensors import flattened
from halfulp.training.weights import local

ELEMENTWISE = {
    ASGD, SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, RAdam, RMSprop, Rprop,
}  # fmt: skip
#: Elements at a time: some ten float64 arrays of them are alive at once.
STRETCH = 1 << 17


class Meant(NamedTuple):
    """A stretch of a parameter: float64 arrays."""

    start: int  # index of its first element
    weights: npt.NDArray[np.float64]
    updates: npt.NDArray[np.float64]


@torch.no_grad()
def intended(optimizer: Optimizer, value: Tensor, group: dict[str, Any]) -> Iterator[Meant]:
    """What a step would add to the elements of a parameter that lie here.

    Raises HalfulpError for an optimizer whose step cannot be taken so, such as one that needs a
    closure.
    """
    if value.grad is None:
        return
    weights, gradient = flattened(value), flattened(value.grad)
    state = optimizer.state.get(value, {})
    alone = type(optimizer) in ELEMENTWISE
    size = STRETCH if alone else max(1, weights.numel())
    for start in range(0, weights.numel(), size):
        part = slice(start, start + size)
        before = _own(weights[part])
        mirror = torch.nn.Parameter(before.clone(), requires_grad=True)
        mirror.grad = _own(gradient[part])
        kept = {name: _stretch(item, value, part) for name, item in state.items()}
        if not alone:  # an optimizer may look at the shape
            shape = local(value).shape
            mirror.data, mirror.grad = mirror.data.view(shape), mirror.grad.view(shape)
            kept = {k: v.view(shape) if _is_like(v, mirror) else v for k, v in kept.items()}
        _step(optimizer, mirror, kept, group)
        after = mirror.data.reshape(-1)
        yield Meant(start, before.numpy(), after.sub_(before).numpy())


def _own(x: Tensor) -> Tensor:
    """A copy in float64, which the step may write to."""
    return x.to("cpu", torch.float64, copy=True)


def _stretch(item: Any, value: Tensor, part: slice) -> Any:
    if not isinstance(item, Tensor):
        return item
    if item.shape == value.shape and item.ndim:
        return _own(flattened(item)[part])
    return item.detach().to("cpu", copy=True)


def _is_like(item: Any, mirror: Tensor) -> bool:
    return isinstance(item, Tensor) and item.numel() == mirror.numel() and item.ndim > 0


def _step(
    optimizer: Optimizer, mirror: Tensor, state: dict[str, Any], group: dict[str, Any]
) -> None:
    """The optimizer's step on one parameter, by an optimizer of its class that has nothing else."""
    shadow: Any = object.__new__(type(optimizer))
    own = {k: v for k, v in vars(optimizer).items() if k != "step"}  # schedulers put one there
    hooks: dict[str, Any] = {name: OrderedDict() for name in own if name.endswith("_hooks")}
    shadow.__dict__.update(own | hooks)
    shadow.param_groups = [plainly(group) | {"params": [mirror]}]
    shadow.state = defaultdict(dict, {mirror: state} if state else {})
    step = type(optimizer).step
    try:
        getattr(step, "__wrapped__", step)(shadow)  # without the profiler's hooks
    except Exception as error:  # it is the user's
        raise HalfulpError(
            f"the updates of {type(optimizer).__name__} cannot be foreseen, so they are not "
            f"counted: its step on one parameter raises {type(error).__name__}: {error}"
        ) from error
