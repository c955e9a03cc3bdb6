"""A model and its optimizer under a recipe: few calls take the place of a plain training's.

What the model computes in, what its weights are kept in, and how they take their updates is then
the recipe's. The optimizer is the user's own, and still updates in float32: it is given float32
values of the weights, which :mod:`~halfulp.training.storage` puts together before its step and
takes apart after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.optim import Optimizer

from halfulp.errors import HalfulpError
from halfulp.training import ranks
from halfulp.training.borders import Borders
from halfulp.training.checks import check_prepared, check_state
from halfulp.training.emulation import Emulation
from halfulp.training.recipes import FLOAT32, Recipe, recipe
from halfulp.training.reduction import Reduction, ReductionLoss
from halfulp.training.scaler import Scaler
from halfulp.training.storage import rounded
from halfulp.training.weights import (
    Weight,
    float32_room,
    kept_modules,
    kept_names,
    local,
    put_buffers_in_format,
    put_in_format,
    whole,
)

# Formats that torch computes in itself.
NATIVE = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def prepare(
    model: Module, optimizer: Optimizer, by: str | Recipe, *,
    emulate: bool | None = None, seed: int = 0,
) -> Prepared:  # fmt: skip
    """Put a float32 model and its optimizer under a recipe, in place.

    Then ``model(x)`` computes as the recipe says and answers in float32, and in the training loop
    ``prepared.backward(loss)`` stands for ``loss.backward()`` and ``prepared.step()`` for
    ``optimizer.step()``. Any optimizer of torch goes whose step needs no closure, with parameter
    groups, schedulers, accumulated and clipped gradients (``prepared.clip_grad_norm_``), tied and
    frozen weights.

    ``emulate`` None takes torch's own dtypes where the recipe needs no others, but float16 on the
    CPU, for which torch is some twenty times slower than the emulation; True emulates them too,
    False refuses what would have to be. ``seed`` is for stochastic updates.

    On several ranks the model is in torch's DistributedDataParallel, or fully_shard was called on
    it; which see halfulp.training.distributed.

    Raises HalfulpError for an unknown recipe, a model that is not float32, an optimizer that needs
    a closure or updates other parameters, and what is prepared already.

    >>> model = torch.nn.Linear(4, 1)
    >>> prepared = prepare(model, torch.optim.AdamW(model.parameters()), "bfloat16-kahan")
    >>> prepared.backward(model(torch.ones(8, 4)).square().mean())
    >>> prepared.step(), model.weight.dtype
    (True, torch.bfloat16)
    """
    return Prepared(model, optimizer, recipe(by), emulate=emulate, seed=seed)


def is_native(by: Recipe) -> bool:
    """Whether torch has every dtype that a recipe needs, and computes as it says."""
    computes = {by.inputs, by.outputs, by.activations, by.gradients, by.weights}
    plain = by.gradient_inputs is None and by.tensor_scaling == "none" and by.accumulates_as_torch
    return plain and len(computes) == 1 and computes <= set(NATIVE)


class Prepared:
    """A training under a recipe."""

    def __init__(
        self, model: Module, optimizer: Optimizer, by: Recipe, *, emulate: bool | None, seed: int
    ) -> None:
        check_prepared(model, optimizer, by)
        if emulate is False and not is_native(by):
            raise HalfulpError(
                f"recipe {by.name} needs formats that torch does not compute in: emulate it"
            )
        ranks.check_native(model, by, emulate)
        self.model, self.optimizer, self.recipe, self.seed = model, optimizer, by, seed
        self.module = ranks.unwrapped(model)  # what has the names, wrapped or not
        self.steps, self.skipped = 0, 0
        device = next(model.parameters()).device
        self._is_sharded = bool(ranks.sharded_modules(model))
        slow = by.weights == "float16" and device.type == "cpu"
        slow = slow or (self._is_sharded and by.weights != FLOAT32)
        emulated = (slow or not is_native(by)) if emulate is None else emulate
        native = by.is_float32 or by.autocast  # which is torch's in any case
        self.emulation = Emulation(by) if emulated and not native else None
        if self.emulation is not None:
            self.emulation.gathers = self._is_sharded
        self.dtype = NATIVE[FLOAT32 if emulated else by.weights]
        self.scaler = Scaler(by.loss_scale, device.type)
        self.weights = self._taken_apart()
        self._stepping = self._unscaled = self._backward = False
        kept = kept_modules(self.module, by)
        self._borders = Borders(self.module, by, self.emulation, self.dtype, kept)
        if self.dtype is not torch.float32 and ranks.is_wrapped(model):
            ranks.rebuild_buckets(model)
        self.reduction = Reduction(model, by, emulated=self.emulation is not None)
        optimizer.register_step_pre_hook(self._only_here)

    def __repr__(self) -> str:
        how = "emulated" if self.emulation is not None else str(self.dtype)
        name = type(self.module).__name__
        return f"<Prepared {name} under {self.recipe.name}, {how}: {self.steps} steps taken>"

    # The training loop.

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, scaled and rounded as the recipe says; they add up until a step.

        Raises HalfulpError within torch.autocast, for what is no single number, for a loss that
        depends on no parameter, and for one that is NaN because the model's input has NaN.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            found = (
                f"{tuple(loss.shape)} tensor" if isinstance(loss, Tensor) else type(loss).__name__
            )
            raise HalfulpError(
                f"backward needs a loss: one number that depends on the parameters; found {found}"
            )
        if torch.is_autocast_enabled(loss.device.type):
            raise HalfulpError(
                "backward was called within torch.autocast, which would choose the dtypes of "
                "gradients again: leave its with block before backward"
            )
        if self._unscaled:
            raise HalfulpError(
                "backward was called between unscale_ and step: gradients of two scales do not add "
                "up; accumulate first"
            )
        if bool(ranks.sharded_modules(self.module)) != self._is_sharded:
            raise HalfulpError(
                "fully_shard was called after prepare, and has put other parameters in the place "
                "of those that are trained: call it first, then make the optimizer and prepare"
            )
        if bool(loss.isnan()):
            self._borders.check_inputs()
        scaled = self.scaler.scaled(loss)
        self._backward = True
        with nullcontext() if self.emulation is None else self.emulation.backward_pass():
            scaled.backward()  # type: ignore[no-untyped-call]  # torch's own
        self.reduction.settle()

    def unscale_(self) -> None:
        """Hand the gradients to the optimizer in float32, divided by the loss scale; once a step.

        After it :meth:`parameters` hold them, for clipping and for looking at.
        """
        if self._unscaled:
            raise HalfulpError("unscale_ was called twice since the last step: once is enough")
        if not self._backward:
            raise HalfulpError(
                "there are no gradients of prepared.backward(loss) since the last step: call it in "
                "place of loss.backward()"
            )
        self._put_together()
        self.scaler.unscale_(self.optimizer)
        self._unscaled = True

    @property
    def is_unscaled(self) -> bool:
        """Whether the optimizer has this step's gradients."""
        return self._unscaled

    def step(self) -> bool:
        """The optimizer's step; whether it was taken, or skipped for a gradient that is not finite.

        Gradients are gone after it.
        """
        if not self._unscaled:
            self.unscale_()
        self._stepping = True
        try:
            taken = self._stepped()
        finally:
            self._stepping = False
        if taken:
            self._round_states()
        for i, weight in enumerate(self.weights):
            seed = _seed_of(self.seed, self.steps, i, weight.shard)
            weight.apart(seed) if taken else weight.drop()
        self.reduction.count()
        self.steps += 1
        self.skipped += not taken
        self.zero_grad()
        return taken

    def _put_together(self) -> None:
        sizes = [local(weight.parameter).numel() for weight in self.weights]
        if not sizes:
            return
        device = local(self.weights[0].parameter).device
        values = float32_room(0 if self.weights[0].is_whole else sum(sizes), device)
        gradients = float32_room(sum(sizes) if self.dtype is not torch.float32 else 0, device)
        at = 0
        for weight, size in zip(self.weights, sizes, strict=True):
            weight.together(values[at : at + size], gradients[at : at + size])
            at += size

    def _stepped(self) -> bool:
        emulation = None if self.recipe.optimizer == FLOAT32 else self.emulation
        with nullcontext() if emulation is None else emulation.optimizer_step():
            return self.scaler.step(self.optimizer)

    def zero_grad(self) -> None:
        """Drop gradients that no step has taken."""
        self.model.zero_grad(set_to_none=True)
        self.optimizer.zero_grad(set_to_none=True)
        self._unscaled = self._backward = False

    def parameters(self) -> Iterator[Parameter]:
        """What the optimizer updates: float32 values of the weights."""
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def clip_grad_norm_(self, most: float) -> float:
        """Scale all gradients so that their norm is ``most`` at most; the norm they had."""
        if not self._unscaled:
            self.unscale_()
        return float(whole(torch.nn.utils.clip_grad_norm_(self.parameters(), most)))

    @property
    def scale(self) -> float:
        """The loss scale now."""
        return self.scaler.scale

    @property
    def reduction_loss(self) -> ReductionLoss:
        """What the recipe's reduction has cost up to the last step: the same on every rank."""
        return self.reduction.loss

    # Stopping and going on.

    def state_dict(self) -> dict[str, Any]:
        """All that the training has come to, for torch.save; to be loaded after ``prepare``.

        Raises HalfulpError between unscale_ and step.
        """
        if self._unscaled:
            raise HalfulpError(
                "state_dict was called between unscale_ and step: take the step first"
            )
        return {
            "recipe": self.recipe.to_json(),
            "model": self.module.state_dict(),
            "values": {w.name: w.value.detach() for w in self.weights if w.is_whole},
            "rest": {w.name: w.saved_rest() for w in self.weights if w.rest is not None},
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "emulation": {} if self.emulation is None else self.emulation.operands.state_dict(),
            "reduction": self.reduction.state_dict(),
            "steps": self.steps,
            "skipped": self.skipped,
            "seed": self.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state: the next steps have the bits they would have had.

        Raises HalfulpError, and changes nothing, where the state is of another recipe or model.
        """
        check_state(state, self)
        self.module.load_state_dict(state["model"])
        for weight in self.weights:
            weight.load(state["values"].get(weight.name), state["rest"].get(weight.name))
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.emulation is not None:
            self.emulation.operands.load_state_dict(state["emulation"])
        self.reduction.load_state_dict(state["reduction"])
        self.steps, self.skipped, self.seed = state["steps"], state["skipped"], state["seed"]
        self.zero_grad()

    # Setting up.

    def _taken_apart(self) -> list[Weight]:
        """All weights in their format, and float32 values of them given to the optimizer."""
        by = self.recipe
        kept = kept_names(self.module, by)
        in_format = {
            id(p): (name, p)
            for name, p in self.module.named_parameters()
            if by.weights != FLOAT32 and name not in kept and p.is_floating_point()
        }
        weights = []
        for group in self.optimizer.param_groups if by.optimizer == FLOAT32 else ():
            for at, p in enumerate(group["params"]):
                if id(p) in in_format and p.requires_grad:
                    weights.append(Weight(*in_format.pop(id(p)), by, self.dtype))
                    group["params"][at] = value = weights[-1].value
                    if p in self.optimizer.state:
                        self.optimizer.state[value] = self.optimizer.state.pop(p)
        for _, p in in_format.values():
            put_in_format(p, by.weights, self.dtype)
        put_buffers_in_format(self.module, by, self.dtype)
        return weights

    @torch.no_grad()
    def _round_states(self) -> None:
        target = self.recipe.optimizer_state
        if target == FLOAT32 or self.recipe.optimizer != FLOAT32:
            return  # in the optimizer's own format it is so already
        for p, state in self.optimizer.state.items():
            for value in state.values():
                if isinstance(value, Tensor) and value.shape == p.shape and value.ndim:
                    here = local(value)
                    here.copy_(rounded(here, target))

    def _only_here(self, *_: Any) -> None:
        if not self._stepping:
            raise HalfulpError(
                "optimizer.step() was called on a prepared training: call prepared.step(), which "
                "calls it with the weights it updates"
            )


def _seed_of(seed: int, step: int, index: int, shard: int) -> int:
    """A seed for one weight's stochastic update in one step; replicas must all have the same."""
    return (seed * 0x9E3779B1 + step * 65_537 + index + (shard << 44)) % (1 << 62)
