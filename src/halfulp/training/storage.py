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

from halfulp.backends.remainders import join_halves, split_compensated, split_halves
from halfulp.casting import cast_to
from halfulp.conversion import cast, encode
from halfulp.training.recipes import FLOAT32, Recipe

HALF = 1 << 15  # half an ulp of a bfloat16, as float32 patterns


class Storage(NamedTuple):
    """A strategy: a value taken apart, and put together again, all in memory that is there."""

    #: ``(weight) -> rest``: what is kept beside a weight, not yet written; or None.
    room: Callable[[Tensor], Tensor | None]
    #: ``(value, format, weight, rest, seed)``: the float32 value is rounded to the format and
    #: written to the weight, a tensor of the format's dtype or of float32, and to the rest; the
    #: value may be lost. Without a seed nothing is rounded by chance.
    split: Callable[[Tensor, str, Tensor, Tensor | None, int | None], None]
    #: ``(weight, rest, value)``: writes the float32 value.
    join: Callable[[Tensor, Tensor | None, Tensor], None]


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


def _nothing(weight: Tensor) -> None:
    return None


def _nearest(
    value: Tensor, target: str, weight: Tensor, rest: Tensor | None, seed: int | None
) -> None:
    write(value, target, weight)


def _stochastic(
    value: Tensor, target: str, weight: Tensor, rest: Tensor | None, seed: int | None
) -> None:
    if seed is None:  # where training begins, nothing has been updated
        write(value, target, weight)
    else:
        write(value, target, weight, "stochastic", seed)


def _alone(weight: Tensor, rest: Tensor | None, value: Tensor) -> None:
    value.copy_(weight)


def _kahan(
    value: Tensor, target: str, weight: Tensor, rest: Tensor | None, seed: int | None
) -> None:
    assert rest is not None, "the compensation"
    plain = value.is_contiguous() and weight.is_contiguous() and rest.is_contiguous()
    if value.is_cpu and plain and weight.dtype is not torch.float32:
        bits, *halves = value.view(torch.int32), weight.view(torch.uint16), rest.view(torch.uint16)
        split_compensated(cast_to(target), bits.numpy(), *(half.numpy() for half in halves))
        return
    write(value, target, weight)
    lost = value.sub_(weight).nan_to_num_(0.0, 0.0, 0.0)  # of what is not finite, nothing
    write(lost, target, rest)


def _compensated(weight: Tensor, rest: Tensor | None, value: Tensor) -> None:
    assert rest is not None, "the compensation"
    value.copy_(weight).add_(rest)


def _bits(weight: Tensor) -> Tensor:
    return torch.empty_like(weight, dtype=torch.int16, memory_format=torch.contiguous_format)


def _halves(
    value: Tensor, target: str, weight: Tensor, rest: Tensor | None, seed: int | None
) -> None:
    """The nearest bfloat16 (ties away from zero, so that 16 signed bits hold the rest)."""
    assert rest is not None, "the other 16 bits"
    bits = value.contiguous().view(torch.int32)
    near = weight if _is_plain(weight) else torch.empty_like(bits, dtype=torch.bfloat16)
    if bits.is_cpu:
        split_halves(bits.numpy(), near.view(torch.int16).numpy(), rest.numpy())
    else:
        high = (bits + HALF) & ~(2 * HALF - 1)
        rest.copy_(bits - high)
        near.copy_(high.view(torch.float32))
    if near is not weight:
        weight.copy_(near)


def _joined_halves(weight: Tensor, rest: Tensor | None, value: Tensor) -> None:
    assert rest is not None, "the other 16 bits"
    near = weight.bfloat16().contiguous()
    if near.is_cpu and value.is_contiguous():
        bits = value.view(torch.int32).numpy()
        join_halves(near.view(torch.int16).numpy(), rest.numpy(), bits)
    else:
        bits_of_near = near.float().view(torch.int32)
        value.copy_((bits_of_near + rest.to(torch.int32)).view(torch.float32))


def _is_plain(weight: Tensor) -> bool:
    return weight.dtype is torch.bfloat16 and weight.is_contiguous()


#: The value itself is kept, as the master.
MASTER = Storage(_nothing, _nearest, _alone)
STORAGES = {
    "nearest": Storage(_nothing, _nearest, _alone),
    "stochastic": Storage(_nothing, _stochastic, _alone),
    "kahan": Storage(torch.empty_like, _kahan, _compensated),
    "split": Storage(_bits, _halves, _joined_halves),
}
