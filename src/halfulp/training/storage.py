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

from halfulp.backends.halves import join_halves, split_halves
from halfulp.conversion import cast, encode
from halfulp.training.recipes import FLOAT32, Recipe

HALF = 1 << 15  # half an ulp of a bfloat16, as float32 patterns


class Storage(NamedTuple):
    """A strategy: a value taken apart, and put together again."""

    #: ``(value, format, weight, seed) -> rest``: the float32 value is rounded to the format and
    #: written to the weight, a tensor of the format's dtype or of float32; what is kept beside it
    #: comes back. Without a seed nothing is rounded by chance.
    split: Callable[[Tensor, str, Tensor, int | None], Tensor | None]
    #: ``(weight, rest) -> value``, in float32.
    join: Callable[[Tensor, Tensor | None], Tensor]


def storage_of(recipe: Recipe) -> Storage:
    """How a recipe keeps its weights."""
    return MASTER if recipe.master else STORAGES[recipe.update]


def rounded(x: Tensor, target: str) -> Tensor:
    """A float32 tensor rounded to nearest even; itself for float32."""
    return x if target == FLOAT32 else cast(x.contiguous(), target)


def write(
    x: Tensor, target: str, into: Tensor, rounding: str = "nearest_even", seed: int | None = None
) -> None:
    """A float32 tensor rounded to a format, into a tensor of its dtype or of float32."""
    if target == FLOAT32:
        into.copy_(x)
    elif into.dtype is torch.float32:
        cast(x, target, rounding, seed=seed, out=into)
    elif into.is_contiguous():
        encode(x, target, rounding, seed=seed, out=into.view(torch.uint16))
    else:
        into.copy_(encode(x, target, rounding, seed=seed).view(into.dtype))


def _nearest(value: Tensor, target: str, weight: Tensor, seed: int | None) -> None:
    write(value, target, weight)


def _stochastic(value: Tensor, target: str, weight: Tensor, seed: int | None) -> None:
    if seed is None:  # where training begins, nothing has been updated
        write(value, target, weight)
    else:
        write(value, target, weight, "stochastic", seed)


def _kahan(value: Tensor, target: str, weight: Tensor, seed: int | None) -> Tensor:
    write(value, target, weight)
    lost = torch.sub(value, weight).nan_to_num_(0.0, 0.0, 0.0)  # of what is not finite, nothing
    rest = torch.empty_like(weight)
    write(lost, target, rest)
    return rest


def _with_master(value: Tensor, target: str, weight: Tensor, seed: int | None) -> Tensor:
    write(value, target, weight)
    return value


def _halves(value: Tensor, target: str, weight: Tensor, seed: int | None) -> Tensor:
    """The nearest bfloat16 (ties away from zero, so that 16 signed bits hold the rest)."""
    bits = value.contiguous().view(torch.int32)
    near = weight if _is_plain(weight) else torch.empty_like(bits, dtype=torch.bfloat16)
    if bits.is_cpu:
        rest = torch.from_numpy(split_halves(bits.numpy(), near.view(torch.int16).numpy()))
    else:
        high = (bits + HALF) & ~(2 * HALF - 1)
        rest = (bits - high).to(torch.int16)
        near.copy_(high.view(torch.float32))
    if near is not weight:
        weight.copy_(near)
    return rest


def _is_plain(weight: Tensor) -> bool:
    return weight.dtype is torch.bfloat16 and weight.is_contiguous()


def _from_halves(weight: Tensor, rest: Tensor | None) -> Tensor:
    assert rest is not None, "split keeps 16 bits beside each weight"
    weight, rest = weight.bfloat16().contiguous(), rest.contiguous()
    if weight.is_cpu:
        bits = join_halves(weight.view(torch.int16).numpy(), rest.numpy())
        return torch.from_numpy(bits).view(torch.float32)
    return (weight.float().view(torch.int32) + rest.to(torch.int32)).view(torch.float32)


def _weight_alone(weight: Tensor, rest: Tensor | None) -> Tensor:
    return weight.to(torch.float32, copy=True)


def _sum_of_both(weight: Tensor, rest: Tensor | None) -> Tensor:
    value = _weight_alone(weight, rest)
    return value if rest is None else value.add_(rest.float())


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
