"""Matrix products whose sums are rounded as a recipe says, instead of as torch accumulates.

Each sum is exact but for the roundings that are asked for, by halfulp.matmul: some thousand times
slower than torch's own product, for small sizes and for finding out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from halfulp.reductions import matmul
from halfulp.training.recipes import Recipe


def accumulated(name: str, args: list[Any], kwargs: dict[str, Any], recipe: Recipe) -> Tensor:
    """The result of one of :data:`~halfulp.training.operators.ACCUMULATED`, in float32."""
    if name in ("addmm", "baddbmm", "addmv"):
        bias, a, b = args[:3]
        summed: Tensor = bias * kwargs.get("beta", 1) + kwargs.get("alpha", 1) * _product(
            a, b, recipe
        )
        return summed
    if name == "linear":
        x, weight, *rest = args
        made = _product(x, weight.mT, recipe)
        return made + rest[0] if rest and rest[0] is not None else made
    return _product(args[0], args[1], recipe)


def _product(a: Tensor, b: Tensor, recipe: Recipe) -> Tensor:
    made = matmul(
        a.detach().cpu().contiguous().numpy(), b.detach().cpu().contiguous().numpy(), "float32",
        accumulate=recipe.accumulation, order=recipe.order, block=recipe.accumulation_block,
    )  # fmt: skip
    product: Tensor = torch.as_tensor(made).to(a.device)
    return product
