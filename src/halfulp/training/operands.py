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

from halfulp.block_formats import BlockFormat
from halfulp.blocks import cast_values
from halfulp.catalogue import Format, format
from halfulp.conversion import cast
from halfulp.training.recipes import FLOAT32, Recipe, role_format

HISTORY = 16  # steps whose largest magnitudes are remembered for a delayed scale
# How far exponents can be moved within float32, which carries the numbers.
FURTHEST = 100

#: ``(tensor, axis of the sum, place of the operand in the step) -> rounded tensor``
Reads = Callable[[Tensor, int, object], Tensor]


class Operands:
    """Rounds operands of matrix products as a recipe says, and remembers what scales need."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.histories: dict[object, list[float]] = {}
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

    def _scaled(self, x: Tensor, target: Format, place: object) -> Tensor:
        now = _largest(x)
        largest = now
        if self.recipe.tensor_scaling == "delayed":
            history = self.histories.setdefault(place, [])
            largest = max(history, default=now)
            if math.isfinite(now):
                history.append(now)
                del history[:-HISTORY]
        scaled = moved(target, exponent_for(target, largest))
        read: Tensor = cast(x, scaled, overflow="saturate_finite")
        return read


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


def _largest(x: Tensor) -> float:
    low, high = torch.aminmax(x) if x.numel() else (x.new_zeros(()), x.new_zeros(()))
    return max(-float(low), float(high))


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
