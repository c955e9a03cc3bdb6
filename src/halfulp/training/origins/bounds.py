"""How large an operator's result can be, of how large its inputs are: who cannot have overflowed.

Many operators keep only what they read. Where a non-finite number appears somewhere behind several
of them, those whose largest possible result fits every format are not among the suspects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: What every format of two bytes holds, for float32 tensors with numbers of one that is emulated.
SHORT = 60000.0

# What only moves numbers, chooses among them, or makes none larger. (_Border is where a recipe of
# this package begins and ends to hold.)
_MOVES = """
    view unsafe_view reshape_alias alias clone t transpose permute expand select slice split
    split_with_sizes unbind chunk squeeze unsqueeze cat stack index index_select gather flip roll
    as_strided narrow movedim unfold to_copy _Border
"""
_SHRINKS = """
    relu leaky_relu gelu silu max min amax amin maximum minimum max_pool2d_with_indices
    max_pool1d max_pool3d_with_indices mean neg abs clamp clamp_min clamp_max where tril triu
    embedding scaled_dot_product_flash_attention_for_cpu
"""
_ONE = "tanh sigmoid sin cos erf softmax sign"
_PRODUCTS = "mm addmm bmm baddbmm mv addmv dot convolution linear"

MOVES = frozenset(_MOVES.split())
_KEEPS = MOVES | frozenset(_SHRINKS.split())
_LIMITED = frozenset(_ONE.split())
PRODUCTS = frozenset(_PRODUCTS.split())


class Reads(NamedTuple):
    """What an operator reads, as far as it is known."""

    amaxes: Sequence[float]  # of every input, infinite where unknown
    kept: Mapping[str, Tensor]  # what its node keeps, by name
    alpha: float = 1.0  # what the second term of a sum is multiplied by


def limit(dtype: torch.dtype | None, short: bool) -> float:
    """Up to which bound nothing overflows in a dtype, a little below where it ends."""
    if short or dtype is None or not (dtype.is_floating_point or dtype.is_complex):
        return SHORT
    return 0.9 * torch.finfo(dtype).max


def largest(operator: str, reads: Reads) -> float:
    """The largest magnitude that the operator can give, infinite where no bound is known."""
    if not reads.amaxes or math.inf in reads.amaxes:
        return math.inf
    if operator in _LIMITED:
        return 1.0
    if operator in _KEEPS:
        return max(reads.amaxes)
    if operator in ("add", "sub"):
        return sum(reads.amaxes) * max(1.0, abs(reads.alpha))
    if operator == "mul":
        return math.prod(reads.amaxes)
    if operator == "div":
        divisor = _scalar(reads)
        return reads.amaxes[0] / divisor if divisor else math.inf
    if operator in PRODUCTS:
        return _product(reads)
    return math.inf


def _scalar(reads: Reads) -> float:
    """The plain number that an operator divides by, or 0 where it is none."""
    other = reads.kept.get("other")
    return abs(float(other)) if other is not None and not other.dim() else 0.0


def _product(reads: Reads) -> float:
    *bias, left, right = reads.amaxes if len(reads.amaxes) != 3 else _bias_first(reads)
    terms = _terms(reads.kept)
    return left * right * terms + sum(bias) if terms else math.inf


def _bias_first(reads: Reads) -> Sequence[float]:
    a, b, c = reads.amaxes
    return (c, a, b) if "weight" in reads.kept else (a, b, c)  # convolution reads its bias last


def _terms(kept: Mapping[str, Tensor]) -> int:
    """How many products are added up into one number."""
    if "weight" in kept:
        return math.prod(kept["weight"].shape[1:])
    for name, axis in (("mat1", -1), ("self", -1), ("batch1", -1), ("mat2", -2), ("batch2", -2)):
        if name in kept and kept[name].dim():
            return kept[name].shape[axis] if kept[name].dim() > 1 else kept[name].numel()
    return 0
