"""The weights of a prepared model: which take the recipe's format, and how each is kept."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module, Parameter

from halfulp.errors import HalfulpError
from halfulp.training.recipes import FLOAT32, Recipe
from halfulp.training.storage import MASTER, rounded, storage_of


def kept_modules(model: Module, by: Recipe) -> list[tuple[str, Module]]:
    """The modules that a recipe keeps in float32, by the name of their class or their own."""
    found: list[tuple[str, Module]] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer, _ in found)
        if not inside and _matches(by, type(module).__name__, name):
            found.append((name, module))
    return found


def kept_names(model: Module, by: Recipe) -> set[str]:
    """The names of the parameters and buffers that stay float32."""
    modules = kept_modules(model, by)
    names = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    inside = tuple(f"{outer}." if outer else "" for outer, _ in modules)
    return {name for name in names if _matches(by, name) or (inside and name.startswith(inside))}


def _matches(by: Recipe, *names: str) -> bool:
    return any(fnmatchcase(name, p) for name in names if name for p in by.keep_float32)


def local(x: Tensor) -> Tensor:
    """The part of a tensor that lies on this rank: of a DTensor its shard, else itself."""
    made: Tensor = x.to_local() if hasattr(x, "to_local") else x
    return made


def whole(x: Tensor) -> Tensor:
    """All of a tensor, put together from the ranks that have parts of it."""
    made: Tensor = x.full_tensor() if hasattr(x, "full_tensor") else x
    return made


def check_real(model: Module) -> None:
    """All parameters of a model are real floating-point numbers.

    Raises HalfulpError for the first that is not.
    """
    for name, p in model.named_parameters():
        if not p.is_floating_point():  # complex numbers are none either
            raise HalfulpError(
                f"parameter {name} is {dtype_name(p)}: recipes are about real floating-point "
                "weights, so register it as a buffer, or keep it out"
            )


def dtype_name(x: Tensor) -> str:
    """A dtype without its library."""
    return str(x.dtype).removeprefix("torch.")


@torch.no_grad()
def put_in_format(parameter: Tensor, target: str, dtype: torch.dtype) -> None:
    """A parameter or buffer rounded to a format, in place, and held in a dtype."""
    values = rounded(local(parameter).float(), target)
    hold_in(parameter, dtype)
    local(parameter).copy_(values)


def hold_in(parameter: Tensor, dtype: torch.dtype) -> None:
    """Change a parameter's dtype; one that stays is not touched, since shards are views."""
    if parameter.dtype is not dtype:
        parameter.data = parameter.data.to(dtype)


def float32_room(count: int, device: torch.device) -> Tensor:
    """Memory for so many float32, not yet written.

    On the CPU NumPy's: of huge pages, where torch's many small pieces fault page by page, which
    costs ten times what is then done with them.
    """
    if device.type == "cpu":
        return torch.from_numpy(np.empty(count, np.float32))
    return torch.empty(count, dtype=torch.float32, device=device)


class Weight:
    """A parameter of the model in the recipe's format, and the float32 value of it.

    The optimizer has the value. Between steps it is there only where it is a master; else it is
    put together from the weight and from what is kept beside it.
    """

    def __init__(self, name: str, parameter: Parameter, by: Recipe, dtype: torch.dtype) -> None:
        self.name, self.parameter, self.target = name, parameter, by.weights
        self.storage = storage_of(by)
        self.value = Parameter(parameter.detach().clone())
        hold_in(parameter, dtype)
        self.rest = self.storage.room(local(parameter).detach())
        self.apart(None)

    @torch.no_grad()
    def together(self, values: Tensor, gradients: Tensor) -> None:
        """The value for the optimizer's step, with the gradient that the parameter has.

        ``values`` and ``gradients`` are room for the elements that lie here; a master needs none
        of the former.
        """
        weight = self.parameter.detach()
        if not self.is_whole and self.value.data.numel() == 0:
            self.value.data = values.view(weight.shape)
            self.storage.join(weight, self.rest, self.value.data)
        elif not self.is_whole:
            self.storage.join(local(weight), self.rest, local(self.value))
        given = self.parameter.grad
        if given is None:
            return
        if given.dtype is torch.float32 or hasattr(given, "to_local"):
            self.value.grad = given.float()
        else:
            self.value.grad = gradients.view(weight.shape).copy_(given)
        self.parameter.grad = None

    @torch.no_grad()
    def apart(self, seed: int | None) -> None:
        """The value after a step as it is kept; ``seed`` is for what is rounded by chance."""
        value, weight = local(self.value).detach(), local(self.parameter).detach()
        self.storage.split(value, self.target, weight, self.rest, seed)
        self.drop()

    @torch.no_grad()
    def joined(self) -> Tensor:
        """The value as it is kept, of the elements that lie here."""
        if self.is_whole:
            return local(self.value).detach()
        weight = local(self.parameter).detach()
        value = torch.empty_like(weight, dtype=torch.float32)
        self.storage.join(weight, self.rest, value)
        return value

    @property
    def is_whole(self) -> bool:
        """Whether the value is there between steps: it is a master."""
        return self.storage is MASTER

    @property
    def shard(self) -> int:
        """Which part of the weight lies here; 0 on all ranks that have the same."""
        weight: Any = self.parameter
        number = 0
        for axis, placement in enumerate(getattr(weight, "placements", ())):
            if placement.is_shard():
                mesh = weight.device_mesh
                number = number * mesh.size(axis) + mesh.get_local_rank(axis)
        return number

    def saved_rest(self) -> Tensor:
        """What is kept beside the weight, laid out across ranks as the weight is."""
        assert self.rest is not None, "asked by those that keep something"
        weight: Any = self.parameter
        if not hasattr(weight, "placements"):
            return self.rest
        from torch.distributed.tensor import DTensor

        shape, stride = weight.shape, weight.stride()
        mesh, placements = weight.device_mesh, weight.placements
        return DTensor.from_local(self.rest, mesh, placements, shape=shape, stride=stride)

    @torch.no_grad()
    def load(self, value: Tensor | None, rest: Tensor | None) -> None:
        """A saved value, or what was kept beside the weight."""
        if value is not None:
            self.value.copy_(value)
        if rest is not None and self.rest is not None:
            self.rest.copy_(local(rest))

    @torch.no_grad()
    def drop(self) -> None:
        """Forget the value where it can be put together again."""
        if not self.is_whole and not hasattr(self.value, "to_local"):
            self.value.data = self.value.data.new_empty(0)
            self.value.grad = None


@torch.no_grad()
def put_buffers_in_format(model: Module, by: Recipe, dtype: torch.dtype) -> None:
    """Buffers of floats, as model.half() casts them too, but those that are kept."""
    kept = kept_names(model, by)
    for name, buffer in model.named_buffers():
        if name not in kept and buffer.is_floating_point() and by.weights != FLOAT32:
            put_in_format(buffer, by.weights, dtype)
