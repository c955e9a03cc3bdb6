"""What a tensor of a step held: one frame an operator's input or result.

Reading is outside of all that could see it: no gradient, no mode that rounds or counts operators.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from halfulp.records import Record

#: How many rows of an input are named.
ROWS = 8


@dataclass(frozen=True)
class Frame(Record):
    """What one operator of the step read (an input, a parameter) or gave (a result)."""

    operator: str  # as in "addmm"
    place: str  # as in "with blocks.2.mlp.0.weight" or "after ln_f.weight"
    kind: str  # "input", "parameter" or "result"
    shape: tuple[int, ...]
    dtype: str  # as in "float16"
    amax: float  # the largest finite magnitude, 0 where there is none
    least: float  # the least nonzero magnitude, 0 where there is none
    nonfinite: int  # how many are infinite or NaN
    nan: int  # how many are NaN

    @property
    def size(self) -> int:
        """How many numbers the tensor has."""
        return math.prod(self.shape)


class Value(NamedTuple):
    """A tensor with what one pass tells of it."""

    tensor: Tensor
    bad: bool  # whether any of it is infinite or NaN
    amax: float  # the largest magnitude, where not bad


@contextmanager
def unseen() -> Iterator[None]:
    """While tensors are read: nothing that watches, rounds or differentiates operators sees it."""
    with torch._C.DisableTorchFunction(), _disable_current_modes(), torch.no_grad():
        yield


def value_of(tensor: object) -> Value | None:
    """What one pass over a tensor tells, or None of what holds no plain numbers.

    Subclasses are left alone: reading a sharded tensor may wait for other processes.
    """
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return None
    assert isinstance(tensor, Tensor)
    try:
        if tensor.device.type == "meta" or tensor.layout != torch.strided:
            return None
        numbers = _real(tensor)
        if numbers is None or not numbers.numel():
            return None
        ends = torch.stack(torch.aminmax(numbers)).tolist()
    except (RuntimeError, NotImplementedError):  # memory too little, a dtype without operators
        return None
    amax = max(map(abs, ends))
    return Value(tensor, not all(map(math.isfinite, ends)), amax)


def frame_of(tensor: Tensor, operator: str, place: str, kind: str) -> Frame | None:
    """The frame of a tensor, or None where it cannot be read."""
    try:
        numbers = _real(tensor)
        if numbers is None:
            return None
        finite = numbers.isfinite()
        sizes = numbers.abs().where(finite, 0)
        nonfinite = numbers.numel() - int(finite.count_nonzero())
        nonzero = sizes[sizes != 0]
        return Frame(
            operator,
            place,
            kind,
            tuple(tensor.shape),
            str(tensor.dtype).removeprefix("torch."),
            float(sizes.max()) if numbers.numel() else 0.0,
            float(nonzero.min()) if nonzero.numel() else 0.0,
            nonfinite,
            int(numbers.isnan().count_nonzero()),
        )
    except (RuntimeError, NotImplementedError):
        return None


def bad_rows(tensor: Tensor) -> tuple[tuple[int, ...], int]:
    """The first few indices along the first dimension with a non-finite number, and how many.

    >>> bad_rows(torch.tensor([[1.0, 2.0], [float("nan"), 0.0]]))
    ((1,), 1)
    """
    numbers = _real(tensor)
    if numbers is None or not tensor.dim():
        return (), 0
    rows = (~numbers.isfinite()).reshape(len(tensor), -1).any(1).nonzero().flatten()
    return tuple(rows[:ROWS].tolist()), len(rows)


def _real(tensor: Tensor) -> Tensor | None:
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if not tensor.is_floating_point():
        return None
    return tensor.float() if tensor.itemsize == 1 else tensor  # float8 has few operators
