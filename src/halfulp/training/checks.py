"""What can be prepared, said before anything is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Module
from torch.optim import Optimizer

from halfulp.errors import HalfulpError
from halfulp.training import ranks
from halfulp.training.recipes import Recipe
from halfulp.training.weights import check_real, dtype_name

if TYPE_CHECKING:
    from halfulp.training.prepared import Prepared

_CLOSURES = (torch.optim.LBFGS,)


def check_prepared(model: Module, optimizer: Optimizer, by: Recipe) -> None:
    """A float32 model, and an optimizer of its parameters whose step needs no closure.

    Raises HalfulpError for anything else, and for what is prepared already.
    """
    if not isinstance(model, Module):
        raise HalfulpError(f"prepare takes a torch.nn.Module: found {type(model).__name__}")
    if not isinstance(optimizer, Optimizer):
        raise HalfulpError(f"prepare takes a torch optimizer: found {type(optimizer).__name__}")
    if isinstance(optimizer, _CLOSURES):
        raise HalfulpError(
            f"{type(optimizer).__name__} computes the loss several times within a step, which no "
            "recipe can follow: take an optimizer whose step needs no closure, such as AdamW"
        )
    ranks.check_wrapping(model, by)
    _check_parameters(model, by)
    own = {id(p) for p in model.parameters()}
    groups = [p for group in optimizer.param_groups for p in group["params"]]
    if not groups or not all(id(p) in own for p in groups):
        raise HalfulpError(
            f"{type(optimizer).__name__} updates parameters that are not the model's: make it from "
            "model.parameters(), and prepare a training once"
        )


def _check_parameters(model: Module, by: Recipe) -> None:
    if next(model.parameters(), None) is None:
        raise HalfulpError(f"{type(model).__name__} has no parameters to train")
    check_real(model)
    for name, p in model.named_parameters():
        if p.dtype is not torch.float32:
            raise HalfulpError(
                f"parameter {name} is {dtype_name(p)}: prepare takes a float32 model "
                f"(model.float()), and recipe {by.name} puts it in its formats"
            )


_PARTS = (
    "recipe", "model", "values", "rest", "optimizer", "scaler", "emulation", "reduction", "steps",
    "skipped", "seed",
)  # fmt: skip


def check_state(state: dict[str, Any], prepared: Prepared) -> None:
    """A saved state of the same recipe and model, before anything is loaded.

    Raises HalfulpError for any other.
    """
    if not isinstance(state, dict) or (missing := [part for part in _PARTS if part not in state]):
        lacks = f"lacks {missing[0]}" if isinstance(state, dict) else f"is {type(state).__name__}"
        raise HalfulpError(f"the saved state {lacks}: give what Prepared.state_dict() returned")
    saved = Recipe.from_json(state["recipe"])
    if saved != prepared.recipe:
        raise HalfulpError(
            f"the saved state is of recipe {saved.name}, and this training is prepared with "
            f"{prepared.recipe.name}: prepare it with the same"
        )
    own, found = prepared.module.state_dict(), state["model"]
    for name in sorted(own.keys() ^ found.keys()):
        where = "model has and the saved state lacks" if name in own else "saved state has alone"
        raise HalfulpError(
            f"the model has changed since its state was saved: {name} is what the {where}"
        )
    for name, tensor in own.items():
        if tensor.shape != found[name].shape or tensor.dtype != found[name].dtype:
            raise HalfulpError(
                f"the model has changed since its state was saved: {name} is "
                f"{_said(tensor)}, and was {_said(found[name])}"
            )
    groups = prepared.optimizer.state_dict()["param_groups"]
    saved_groups = state["optimizer"]["param_groups"]
    if [len(g["params"]) for g in groups] != [len(g["params"]) for g in saved_groups]:
        raise HalfulpError(
            "the optimizer has other parameter groups than when its state was saved: make them the "
            "same"
        )


def _said(x: torch.Tensor) -> str:
    return f"{tuple(x.shape)} {dtype_name(x)}"
