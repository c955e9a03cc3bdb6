"""What a recipe keeps in memory: bytes a parameter by role, and in all, for a model or a count.

Counted is what a training keeps of its parameters between steps, and what a step takes beside it.
Activations are not: they depend on the batch. Operands that products read in 8 bits or fewer are
made when they are read, so that they add nothing; formats without a dtype count as if packed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.nn import Module, Parameter
from torch.optim import Optimizer

from halfulp.catalogue import format
from halfulp.errors import HalfulpError, unknown
from halfulp.records import Record, data_frame
from halfulp.training.recipes import FLOAT32, RECIPES, Recipe, recipe

#: How many tensors of the parameter's size an optimizer of torch keeps. Adafactor keeps two vectors
#: for a matrix, which only a model's shapes tell.
STATES = {
    "sgd": 0, "sgd-momentum": 1, "adam": 2, "adamw": 2, "adam-amsgrad": 3, "adamw-amsgrad": 3,
    "nadam": 2, "radam": 2, "adamax": 2, "adagrad": 1, "rmsprop": 1, "adadelta": 2, "adafactor": 0,
    "lion": 1,
}  # fmt: skip
MOST = 10**15
_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT = re.compile(r"([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([kmbt]?)", re.IGNORECASE)


@dataclass(frozen=True)
class MemoryRow(Record):
    """Bytes a trained parameter takes under one recipe, by role."""

    name: str
    weights: float
    master: float
    rest: float  # kept beside the weight: Kahan's compensation, split's 16 bits
    state: float  # of the optimizer
    gradients: float
    at_step: float  # more while a step is taken: float32 values and gradients of it
    total: float  # bytes in all that are kept, frozen parameters included
    peak: float  # and while a step is taken

    @property
    def kept(self) -> float:
        """Bytes of a trained parameter, all roles together."""
        return self.weights + self.master + self.rest + self.state + self.gradients


@dataclass(frozen=True)
class Memory(Record):
    """What each recipe keeps in memory."""

    renderer = "halfulp.training.footprint_text:memory_page"

    target: str
    parameters: int
    trained: int
    optimizer: str
    recipes: tuple[MemoryRow, ...]

    def to_pandas(self) -> Any:
        """One row a recipe."""
        return data_frame(self.recipes)


def memory(
    parameters: int | float | str | Module,
    recipes: Sequence[str | Recipe] = tuple(RECIPES),
    *,
    optimizer: str | Optimizer = "adamw",
    target: str | None = None,
) -> Memory:
    """Bytes that a model, or so many parameters, take under each recipe.

    A count may be a text such as ``"7b"`` or ``"350M"``. Of a model each parameter counts once,
    tied or not; frozen ones have no gradient, state or master. ``optimizer`` is a name or one of
    torch's.

    Raises HalfulpError for unknown names, for what is no count, and for parameters that are not
    floating-point numbers.

    >>> rows = memory(7e9, ["mixed-float16"]).recipes
    >>> rows[0].weights, rows[0].master, rows[0].state, rows[0].gradients, rows[0].kept
    (2.0, 4.0, 8.0, 2.0, 16.0)
    """
    chosen = [recipe(name) for name in recipes]
    if not chosen:
        raise HalfulpError(f"no recipe was named: choose from {', '.join(RECIPES)}")
    name = optimizer_name(optimizer)
    model = parameters if isinstance(parameters, Module) else None
    counts = _counted(model) if model is not None else (count_of(parameters),) * 2
    tensors = _state_tensors(name, model)
    return Memory(
        target or (type(model).__name__ if model is not None else f"{counts[0]:,} parameters"),
        *counts,
        name,
        tuple(_row(by, name, counts, tensors) for by in chosen),
    )


def bytes_per_parameter(by: Recipe, optimizer: str | Optimizer, model: Module) -> float:
    """The bytes kept of a trained parameter of a model under a recipe."""
    name = optimizer_name(optimizer)
    return _row(by, name, _counted(model), _state_tensors(name, model)).kept


def optimizer_name(optimizer: str | Optimizer) -> str:
    """The name of an optimizer in :data:`STATES`, with the settings that its state depends on.

    Raises HalfulpError for one that is not there.
    """
    if isinstance(optimizer, str):
        name = optimizer.strip().lower().replace("_", "-")
    else:
        name, settings = type(optimizer).__name__.lower(), optimizer.defaults
        name += "-momentum" if name == "sgd" and settings.get("momentum") else ""
        name += "-amsgrad" if settings.get("amsgrad") else ""
        if name not in STATES:
            return name  # of the user's own: its state is not known, and counts as Adam's
    if name not in STATES:
        raise unknown("optimizer", str(optimizer), STATES)
    return name


def count_of(parameters: Any) -> int:
    """A number of parameters: an int, a float, or a text such as ``1.5B``.

    Raises HalfulpError for anything else, and beyond 10^15.

    >>> count_of("1.5B"), count_of(7e9), count_of("125k")
    (1500000000, 7000000000, 125000)
    """
    found = parameters
    if isinstance(parameters, str):
        match = _COUNT.fullmatch(parameters.strip().replace(",", "").replace("_", ""))
        found = float(match[1]) * _SUFFIXES[match[2].lower()] if match else math.nan
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 1 <= found <= MOST:
        raise HalfulpError(
            f"{parameters!r} is no number of parameters: give one from 1 to 10^15, such as 7e9, "
            "350M or 1.5B"
        )
    return round(found)


def _counted(model: Module) -> tuple[int, int]:
    """How many parameters a model has, and how many are trained."""
    for name, p in model.named_parameters():
        if p.is_complex() or not p.is_floating_point():
            raise HalfulpError(
                f"parameter {name} is {str(p.dtype).removeprefix('torch.')}: recipes are about "
                "real floating-point weights"
            )
    every = [*model.parameters()]
    if not every:
        raise HalfulpError(f"{type(model).__name__} has no parameters")
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


def _state_tensors(name: str, model: Module | None) -> float:
    """How many elements of state there are for a trained parameter."""
    if name != "adafactor" or model is None:
        return STATES.get(name, STATES["adam"])
    trained = [p for p in model.parameters() if p.requires_grad]
    return sum(map(_factored, trained)) / max(1, sum(p.numel() for p in trained))


def _factored(p: Parameter) -> int:
    """Elements that Adafactor keeps: rows and columns of a matrix, all of a vector."""
    if p.ndim < 2:
        return p.numel()
    rows, columns = p.numel() // p.shape[-1], p.numel() // p.shape[-2]
    return rows + columns


def size_of(name: str) -> float:
    """Bytes of a number of a format.

    >>> size_of("float16"), size_of("float4_e2m1fn")
    (2.0, 0.5)
    """
    return format(name).width / 8


def _row(by: Recipe, optimizer: str, counts: tuple[int, int], tensors: float) -> MemoryRow:
    every, trained = counts
    weights, single = size_of(by.weights), size_of(FLOAT32)
    rest = {"kahan": weights, "split": 2.0}.get(by.update, 0.0)
    gradients = size_of(by.gradients)
    narrow = by.weights != FLOAT32 and by.optimizer == FLOAT32
    at_step = (single - gradients if gradients < single else 0.0) if narrow else 0.0
    at_step += single if narrow and by.master is None else 0.0
    parts = (
        weights, size_of(by.master) if by.master else 0.0, rest,
        tensors * size_of(by.optimizer_state), gradients,
    )  # fmt: skip
    total = trained * sum(parts) + (every - trained) * weights
    return MemoryRow(by.name, *parts, at_step, total, total + trained * at_step)
