"""Recipes: which format each role has in training, and how the loss is scaled. One line each.

Source: Micikevicius et al., "Mixed Precision Training" (arXiv 1710.03740) §3.
"""

from __future__ import annotations

from dataclasses import dataclass

from halfulp.errors import unknown
from halfulp.records import Record


@dataclass(frozen=True)
class Recipe(Record):
    """Formats by role, in torch's own dtypes.

    >>> recipe("mixed-float16").master
    'float32'
    """

    name: str
    compute: str  # weights as the model sees them, activations and gradients
    master: str | None = None  # what the optimizer updates; None: the compute weights themselves
    dynamic_loss_scale: bool = False  # by torch.amp.GradScaler, with its defaults


RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        Recipe("float32", compute="float32"),
        Recipe("pure-float16", compute="float16"),
        Recipe("mixed-float16", compute="float16", master="float32", dynamic_loss_scale=True),
        Recipe("pure-bfloat16", compute="bfloat16"),
        Recipe("mixed-bfloat16", compute="bfloat16", master="float32"),
    )
}


def recipe(name: str | Recipe) -> Recipe:
    """A recipe by its name.

    Raises HalfulpError for an unknown one, naming those nearest.
    """
    if isinstance(name, Recipe):
        return name
    if name not in RECIPES:
        raise unknown("recipe", str(name), RECIPES)
    return RECIPES[name]
