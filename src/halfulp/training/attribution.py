"""Which site of a recipe costs what: from float32, one site at a time takes the recipe's format.

A site is a place where numbers are rounded. Alone, all others being float32, each shows what it
costs; that they do not add up is to be expected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halfulp.errors import HalfulpError
from halfulp.records import Record
from halfulp.training.comparison import Comparison, compare
from halfulp.training.experiment import Build
from halfulp.training.recipes import FLOAT32, Recipe, recipe

WHOLE, REFERENCE = "all of it", "none"


@dataclass(frozen=True)
class Site(Record):
    """One site alone, and what it costs."""

    name: str
    format: str
    recipe: str  # its name in the comparison
    loss: float  # mean over the seeds
    cost: float  # above float32's


@dataclass(frozen=True)
class Attribution(Record):
    """What each site of a recipe costs in loss."""

    renderer = "halfulp.training.comparison_text:attribution_page"

    recipe: str
    reference: float  # the loss in float32
    spread: float  # between the seeds in float32
    sites: tuple[Site, ...]
    comparison: Comparison  # all trainings behind it


def sites_of(by: str | Recipe) -> dict[str, Recipe]:
    """The recipes in which one site alone is as in a recipe, from float32; by the site's name.

    >>> [*sites_of("pure-bfloat16")]
    ['weights', 'update', 'activations', 'gradients', 'optimizer state']
    >>> sites_of("mixed-float16")["gradients"].activations
    'float32'
    """
    by = recipe(by)
    if by.autocast:
        raise HalfulpError(
            f"recipe {by.name} leaves the choice of formats to torch.autocast, so that it has no "
            "sites: attribute mixed-float16 or mixed-bfloat16"
        )
    changes: dict[str, dict[str, Any]] = {
        "weights": {"weights": by.weights, "master": FLOAT32},
        "update": {} if by.master else {"weights": by.weights, "update": by.update},
        "activations": {
            name: getattr(by, name)
            for name in ("inputs", "outputs", "activations", "tensor_scaling", "scale_rule")
        },
        "gradients": {
            name: getattr(by, name) for name in ("gradients", "gradient_inputs", "loss_scale")
        },
        "accumulation": {
            name: getattr(by, name)
            for name in ("accumulation", "accumulation_order", "accumulation_block")
        },
        "optimizer state": {"optimizer_state": by.optimizer_state},
    }
    plain, kept = Recipe(FLOAT32), {"keep_float32": by.keep_float32}
    found = {
        site: plain.replace(f"{by.name}: {site} alone", **changed, **kept)
        for site, changed in changes.items()
        if changed
    }
    return {site: r for site, r in found.items() if not r.is_float32}


def attribute(
    build: Build | str, by: str | Recipe, *, seeds: Sequence[int] = (0,), **options: Any
) -> Attribution:
    """Train under float32, under each site of a recipe alone, and under the whole recipe.

    ``options`` are those of :func:`halfulp.training.compare`. Everything but float32 is emulated,
    so that the sites are all that differs.

    Raises HalfulpError as compare does, and for a recipe that is float32 or autocast.
    """
    by = recipe(by)
    alone = sites_of(by)
    if not alone:
        raise HalfulpError(f"recipe {by.name} rounds nothing: there is no site to attribute to")
    recipes = [recipe(FLOAT32), *alone.values(), by]
    found = compare(build, recipes, seeds=seeds, **({"emulate": True} | options))
    reference = found.loss_of(FLOAT32)
    losses = [r.loss for r in found.of(FLOAT32)]
    named = [(site, _format(site, r), r.name) for site, r in alone.items()]
    rows = [(REFERENCE, FLOAT32, FLOAT32), *named, (WHOLE, by.name, by.name)]
    return Attribution(
        recipe=by.name,
        reference=reference,
        spread=max(losses) - min(losses),
        sites=tuple(
            Site(site, text, name, found.loss_of(name), found.loss_of(name) - reference)
            for site, text, name in rows
        ),
        comparison=found,
    )


def _format(site: str, r: Recipe) -> str:
    """What a site's numbers are in, briefly."""
    if site == "update":
        return f"{r.weights}, {r.update}"
    found = {
        "weights": [r.weights],
        "activations": [r.inputs, r.activations],
        "gradients": [r.gradient_inputs or r.gradients, r.gradients],
        "accumulation": [r.accumulation],
        "optimizer state": [r.optimizer_state],
    }[site]
    return ", ".join(dict.fromkeys(found))
