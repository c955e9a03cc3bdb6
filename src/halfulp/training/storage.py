"""How a weight is kept from one step to the next: a number of its format, and what is kept beside.

The optimizer always updates a float32 value. Before its step the value is put together from what
was kept; after it, the value is taken apart again, and there a strategy rounds:

========== ================== =========================== ==========================
strategy   weight             kept beside it              together
========== ================== =========================== ==========================
nearest    nearest even       nothing, or the master      the weight, or the master
stochastic up by chance       nothing                     the weight
kahan      nearest even       what was lost, in the same  their sum
                              format
split      nearest (bfloat16) the other 16 bits           the very float32
========== ================== =========================== ==========================

Sources: Zamirai et al., "Revisiting BFloat16 Training" (arXiv 2010.06192) §4 (stochastic, Kahan);
Ramesh et al., DALL-E's and DLRM's split SGD (Kalamkar et al., arXiv 1905.12322 §3: bfloat16 and 16
more bits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from halfulp.conversion import cast
from halfulp.training.recipes import FLOAT32, Recipe

HALF = 1 << 15  # half an ulp of a bfloat16, as float32 patterns


class Kept(NamedTuple):
    """A float32 value, as it is kept between two steps."""

    weight: Tensor  # float32, a number of the weights' format
    rest: Tensor | None  # what else is kept


class Storage(NamedTuple):
    """A strategy: a value taken apart, and put together again."""

    split: Callable[[Tensor, str, int | None], Kept]  # of a value; the weights' format; a seed
    join: Callable[[Tensor, Tensor | None], Tensor]  # of a weight and what was kept


def storage_of(recipe: Recipe) -> Storage:
    """How a recipe keeps its weights."""
    return MASTER if recipe.master else STORAGES[recipe.update]


def rounded(x: Tensor, target: str) -> Tensor:
    """A tensor rounded to nearest even; itself for float32."""
    return x if target == FLOAT32 else cast(x.contiguous(), target)


def _nearest(value: Tensor, target: str, seed: int | None) -> Kept:
    return Kept(rounded(value, target), None)


def _stochastic(value: Tensor, target: str, seed: int | None) -> Kept:
    if seed is None:  # where training begins, nothing has been updated
        return _nearest(value, target, seed)
    return Kept(cast(value.contiguous(), target, "stochastic", seed=seed), None)


def _kahan(value: Tensor, target: str, seed: int | None) -> Kept:
    weight = rounded(value, target)
    lost = torch.where(torch.isfinite(weight), value - weight, torch.zeros_like(value))
    return Kept(weight, rounded(lost, target))


def _with_master(value: Tensor, target: str, seed: int | None) -> Kept:
    return Kept(rounded(value, target), value)


def _halves(value: Tensor, target: str, seed: int | None) -> Kept:
    """The nearest bfloat16 (ties away from zero, so that 16 signed bits hold the rest)."""
    bits = value.contiguous().view(torch.int32)
    high = (bits + HALF) & ~(2 * HALF - 1)
    return Kept(high.view(torch.float32), (bits - high).to(torch.int16))


def _from_halves(weight: Tensor, rest: Tensor | None) -> Tensor:
    assert rest is not None, "split keeps 16 bits beside each weight"
    bits = weight.contiguous().view(torch.int32) + rest.to(torch.int32)
    return bits.view(torch.float32)


def _weight_alone(weight: Tensor, rest: Tensor | None) -> Tensor:
    return weight


def _sum_of_both(weight: Tensor, rest: Tensor | None) -> Tensor:
    return weight if rest is None else weight + rest


def _rest_alone(weight: Tensor, rest: Tensor | None) -> Tensor:
    assert rest is not None, "a master is kept beside each weight"
    return rest


MASTER = Storage(_with_master, _rest_alone)
STORAGES = {
    "nearest": Storage(_nearest, _weight_alone),
    "stochastic": Storage(_stochastic, _weight_alone),
    "kahan": Storage(_kahan, _sum_of_both),
    "split": Storage(_halves, _from_halves),
}
