"""L3: training under a recipe: which format each role has, what is lost, and what it costs.

Needs PyTorch: ``pip install 'halfulp[torch]'``.
"""

from __future__ import annotations

from halfulp.errors import missing_extra

try:
    import torch  # noqa: F401  # everything below needs it; said once, and clearly
except ModuleNotFoundError:
    raise missing_extra("torch", "torch", "halfulp.training") from None

from halfulp.training.attribution import Attribution, attribute, sites_of
from halfulp.training.comparison import Comparison, check_run, compare
from halfulp.training.experiment import Experiment
from halfulp.training.footprint import Memory, memory
from halfulp.training.linting.linter import lint
from halfulp.training.linting.records import Finding, FormatShare, Lint, ParameterShare
from halfulp.training.loss_scale import DYNAMIC, UNSCALED, LossScale
from halfulp.training.meter import UpdateMeter
from halfulp.training.prepared import Prepared, prepare
from halfulp.training.recipes import RECIPES, Recipe, recipe
from halfulp.training.reduction import ReductionLoss
from halfulp.training.running import RecipeResult
from halfulp.training.watching.watcher import Watch, watch

__all__ = [
    "DYNAMIC",
    "RECIPES",
    "UNSCALED",
    "Attribution",
    "Comparison",
    "Experiment",
    "Finding",
    "FormatShare",
    "Lint",
    "LossScale",
    "Memory",
    "ParameterShare",
    "Prepared",
    "Recipe",
    "RecipeResult",
    "ReductionLoss",
    "UpdateMeter",
    "Watch",
    "attribute",
    "check_run",
    "compare",
    "lint",
    "memory",
    "prepare",
    "recipe",
    "sites_of",
    "watch",
]
