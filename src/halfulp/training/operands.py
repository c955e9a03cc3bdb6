"""What matrix products read: operands rounded to 8 bits or fewer, with the scales that need.

A tensor scale is a power of two, so that it changes no bits: rounding x · 2^k to a format is
rounding x to the format with its exponents moved by k. It is chosen so that the largest magnitude
(of the tensor now, or of the last steps' tensors at the same place) comes just below the format's
largest number.

Sources: Micikevicius et al., "FP8 Formats for Deep Learning" (arXiv 2209.05433) §3; NVIDIA
Transformer Engine (delayed and current scaling, with scales that are powers of two).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from halfulp.block_catalogue import BlockFormat
from halfulp.blocks import cast_values
from halfulp.catalogue import Format, format
from halfulp.conversion import cast
from halfulp.training.recipes import FLOAT32, Recipe, role_format

HISTORY = 16  # steps whose largest magnitudes are remembered for a delayed scale
REMEMBERED = 4096  # operands whose scales are, for products done again
# How far exponents can be moved within float32, which carries the numbers.
FURTHEST = 100

#: ``(tensor, axis of the sum, place of the operand in the step) -> rounded tensor``
Reads = Callable[[Tensor, int, object], Tensor]


class Operands:
    """Rounds operands of matrix products as a recipe says, and remembers what scales need."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.histories: dict[object, list[float]] = {}
        self._lately: dict[object, float] = {}  # what scales of products done again are made of
        self.forward = self._reads(recipe.inputs)
        self.backward = self._reads(recipe.gradient_inputs)

    def state_dict(self) -> dict[object, list[float]]:
        """The largest magnitudes that delayed scales are made of."""
        return {place: list(history) for place, history in self.histories.items()}

    def load_state_dict(self, state: dict[object, list[float]]) -> None:
        """Go on from those of a saved training."""
        self.histories = {place: list(history) for place, history in state.items()}

    def _reads(self, name: str | None) -> Reads | None:
        """How operands of a format are read; None where they already are in it."""
        recipe = self.recipe
        if name is None or name in (FLOAT32, recipe.activations):
            return None
        target = role_format(name)
        if isinstance(target, BlockFormat):
            chosen = target if recipe.scale_rule is None else _ruled(target, recipe.scale_rule)
            return lambda x, axis, place: _in_blocks(x, chosen, axis)
        if recipe.tensor_scaling == "none":
            return lambda x, axis, place: cast(x, target)
        return lambda x, axis, place: self._scaled(x, target, place)

    @property
    def reads_backward(self) -> bool:
        """Whether anything is rounded as products of the backward pass read it."""
        return self.forward is not None or self.backward is not None

    def _scaled(self, x: Tensor, target: Format, place: object) -> Tensor:
        low, high = _ends(x)
        largest = max(-low, high)
        if self.recipe.tensor_scaling == "delayed":
            largest = self._delayed(place, largest, (tuple(x.shape), low, high))
        scaled = moved(target, exponent_for(target, largest))
        read: Tensor = cast(x, scaled, overflow="saturate_finite")
        return read

    def _delayed(self, place: object, now: float, seen: object) -> float:
        """The largest magnitude of the last steps at a place.

        A product that is done again, for a checkpoint, has no place: it is told by its operand.
        """
        if place is None:
            return self._lately.get(seen, now)
        history = self.histories.setdefault(place, [])
        largest = max(history, default=now)
        if math.isfinite(now):
            history.append(now)
            del history[:-HISTORY]
        self._lately.pop(seen, None)
        self._lately[seen] = largest
        if len(self._lately) > REMEMBERED:
            del self._lately[next(iter(self._lately))]
        return largest


def exponent_for(target: Format, largest: float) -> int:
    """The k for which ``largest`` · 2^k comes just below the largest number of a format.

    >>> exponent_for(format("float8_e4m3fn"), 448.0), exponent_for(format("float8_e4m3fn"), 449.0)
    (0, -1)
    """
    if not 0 < largest < math.inf:
        return 0
    mantissa, exponent = math.frexp(largest)
    top, top_exponent = math.frexp(float(target.max))
    k = top_exponent - exponent - (mantissa > top)
    return max(-FURTHEST, min(FURTHEST, k))


@lru_cache(maxsize=1024)
def moved(target: Format, k: int) -> Format:
    """A format whose numbers are those of ``target`` divided by 2^k."""
    return format(target, bias=target.bias + k)


def _ends(x: Tensor) -> tuple[float, float]:
    if not x.numel():
        return 0.0, 0.0
    low, high = torch.aminmax(x)
    return float(low), float(high)


@lru_cache(maxsize=64)
def _along(target: BlockFormat, axis: int) -> BlockFormat:
    return dataclasses.replace(target, axis=axis)


def _ruled(target: BlockFormat, rule: str) -> BlockFormat:
    return dataclasses.replace(target, scale_rule=rule)


def _in_blocks(x: Tensor, target: BlockFormat, axis: int) -> Tensor:
    array = x.detach().cpu().numpy()
    made = cast_values(
        array, _along(target, axis % array.ndim), "nearest_even", None, None, 32, None
    )
    return torch.from_numpy(made).to(x.device)
