"""Products in parts of their own: convolutions, and sums that are rounded as a recipe says.

Each such sum is exact but for the roundings that are asked for, by halfulp.matmul: some thousand
times slower than torch's own product, for small sizes and for finding out.
"""

from __future__ import annotations

from collections.abc import Callable
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


# Of convolutions: (operand, axis of the sum, groups that split it, part) -> operand as it is read.
Read = Callable[..., Tensor]


def convolved(func: Any, args: Any, read: Read) -> Tensor:
    """A convolution: its sums go over the channels of what comes in, group by group."""
    _, _, bias, *rest, transposed, _, groups = args
    weight = read(1, 0, groups) if transposed else read(1, 1)
    made: Tensor = func(read(0, 1, groups), weight, bias, *rest, transposed, *args[-2:])
    return made


def convolved_back(func: Any, args: Any, read: Read) -> tuple[Tensor | None, ...]:
    """Its two products backward, whose sums go over the channels of what came out, and over the
    examples; and the gradient of the bias, which is no product and reads what comes as it is.
    """
    gradient, x, weight, *rest, transposed, padding, groups, wanted = args
    rest = [*rest, transposed, padding, groups]
    made: list[Tensor | None] = [None, None, None]
    if wanted[0]:
        turned = read(2, 1) if transposed else read(2, 0, groups)
        made[0] = func(read(0, 1, groups), x, turned, *rest, [True, False, False])[0]
    if wanted[1]:
        apart = read(0, 0, part=1), read(1, 0)
        made[1] = func(*apart, weight, *rest, [False, True, False])[1]
    if wanted[2]:
        made[2] = func(gradient, x, weight, *rest, [False, False, True])[2]
    return tuple(made)
