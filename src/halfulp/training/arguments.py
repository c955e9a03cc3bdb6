"""What operators are given besides tensors of the format: numbers, constants, weights, integers.

Some numbers are rounded before an operator computes with them, as an operator of the format's own
would; others make of an operator that only moves numbers about one whose result is to be rounded.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.utils._pytree import tree_flatten

from halfulp.catalogue import format
from halfulp.conversion import cast
from halfulp.training.operators import COMPARISONS, SUMS, Plan
from halfulp.training.recipes import FLOAT32

_LARGEST = torch.finfo(torch.float32).max


def is_rounded(x: Any) -> bool:
    """Whether a tensor holds numbers of a format; what stands for zeros only does so anyway."""
    if not isinstance(x, Tensor) or x.dtype is not torch.float32 or x._is_zerotensor():
        return False
    return x.layout is torch.strided


def cast_strided(x: Any, target: str) -> Any:
    """A result rounded, with the strides it has, on which views depend."""
    if not is_rounded(x):
        return x
    if x.is_contiguous():
        return cast(x, target)
    order = sorted(range(x.ndim), key=lambda axis: -x.stride(axis))
    back = sorted(range(x.ndim), key=lambda axis: order[axis])
    return cast(x.permute(order), target).permute(back)


def constant(made: Tensor, target: str) -> Tensor:
    """What torch.tensor makes; without dimensions it is a number, and stays as it is."""
    if made.ndim:
        return cast_strided(made, target)  # type: ignore[no-any-return]
    number = float(made)
    return made.new_full((), _within(number, target)) if _is_largest(number) else made


# Numbers, as an operator of the format's own would take them.


def numbered(plan: Plan, args: Any, kwargs: Any, target: str) -> tuple[Any, Any]:
    """The arguments of an operator, those that are numbers as it takes them in a format."""
    if target == FLOAT32:
        return args, kwargs
    if plan.name in COMPARISONS or (plan.name in SUMS and _is_on_cpu(args[0])):
        args, kwargs = _rounded_numbers(args, kwargs, target)
    if plan.name == "nan_to_num":
        x, nan, high, low = [*args, None, None, None][:4]
        args = (x, nan, _LARGEST if high is None else high, -_LARGEST if low is None else low)
    if plan.numbers:  # the format's largest for float32's: models ask for that of their dtype
        args = tuple(
            _within(x, target) if at in plan.numbers and _is_largest(x) else x
            for at, x in enumerate(args)
        )
    return args, kwargs


def _is_on_cpu(x: Any) -> bool:
    first = x[0] if isinstance(x, (list, tuple)) and x else x
    return isinstance(first, Tensor) and first.is_cpu


def _rounded_numbers(args: Any, kwargs: Any, target: str) -> tuple[Any, Any]:
    """Numbers and constants rounded, where they meet tensors with dimensions."""
    tensors = [x for x in tree_flatten(args)[0] if isinstance(x, Tensor)]
    if not any(x.ndim and is_rounded(x) for x in tensors):
        return args, kwargs  # counters, integers
    args = tuple(
        cast_strided(x, target) if isinstance(x, Tensor) and not x.ndim else _rounded(x, target)
        for x in args
    )
    return args, {name: _rounded(x, target) for name, x in kwargs.items()}


def _rounded(x: Any, target: str) -> Any:
    if not isinstance(x, float):
        return x
    rounded = _nearest(x, target)
    return rounded if math.isfinite(rounded) else x  # beyond all numbers it is so in any case


@lru_cache(maxsize=4096)
def _nearest(number: float, target: str) -> float:
    return float(cast(number, target))


def _within(largest: float, target: str) -> float:
    return math.copysign(float(format(target).max), largest)


def _is_largest(x: Any) -> bool:
    return isinstance(x, (int, float)) and abs(x) == _LARGEST


# What only moves numbers about.


def is_in_format(plan: Plan, args: Any, target: str) -> bool:
    """Whether what an exact operator is given are surely numbers of the format."""
    for at in plan.numbers:
        if at < len(args) and args[at] is not None and not _holds(target, args[at]):
            return False
    return all(
        _is_of_format(each, plan)
        for x in args
        for each in (x if isinstance(x, (list, tuple)) else (x,))
        if isinstance(each, Tensor)
    )


def _holds(target: str, number: float) -> bool:
    return target == FLOAT32 or _nearest(float(number), target) == number


def _is_of_format(x: Tensor, plan: Plan) -> bool:
    """Not so integers that become numbers, constants, and weights, some of which stay float32."""
    if not x.is_floating_point():
        return x.dtype is torch.bool or not plan.mixing
    is_weight = isinstance(x._base if x._is_view() else x, Parameter)
    return x.ndim > 0 and x.dtype is torch.float32 and not is_weight
