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
from fractions import Fraction
from numbers import Real
from typing import Any, NamedTuple

from torch.nn import Module, Parameter, UninitializedParameter
from torch.optim import Optimizer

from halfulp.catalogue import format
from halfulp.errors import HalfulpError, unknown
from halfulp.language import translate as _
from halfulp.records import Record, data_frame
from halfulp.training.recipes import FLOAT32, RECIPES, Recipe, recipe
from halfulp.training.weights import check_real, kept_names

#: How many tensors of the parameter's size an optimizer keeps, by its class in torch and the
#: settings that add some (lion is not in torch). Adafactor keeps two vectors for a matrix, which
#: only a model's shapes tell.
STATES = {
    "sgd": 0, "sgd-momentum": 1, "adam": 2, "adamw": 2, "adam-amsgrad": 3, "adamw-amsgrad": 3,
    "nadam": 2, "radam": 2, "adamax": 2, "adagrad": 1, "rmsprop": 1, "rmsprop-centered": 2,
    "rmsprop-momentum": 2, "rmsprop-centered-momentum": 3, "adadelta": 2, "rprop": 2, "asgd": 1,
    "muon": 1, "adafactor": 0, "lion": 1,
}  # fmt: skip
_SETTINGS = ("centered", "momentum", "amsgrad")
MOST = 10**15
_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_COUNT = re.compile(
    r"((?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)?(?:\.\d+)?)(e\+?\d{1,3})?\s*([kmbt]?)",
    re.ASCII | re.IGNORECASE,
)
_LONGEST = 60  # characters of a count: no more are read


class Bytes(NamedTuple):
    """Bytes of one trained parameter by role, exactly: formats of few bits take fractions."""

    weights: Fraction
    master: Fraction
    rest: Fraction  # kept beside the weight: Kahan's compensation, split's 16 bits
    state: Fraction  # of the optimizer
    gradients: Fraction
    at_step: Fraction  # more while a step is taken: float32 values and gradients of it


class _Part(NamedTuple):
    """Parameters of a model that a recipe treats alike."""

    every: int
    trained: int
    states: int  # elements of optimizer state


@dataclass(frozen=True)
class MemoryRow(Record):
    """Bytes under a recipe: of a trained parameter by role (in a model on average), and in all."""

    name: str
    weights: float
    master: float
    rest: float  # kept beside the weight: Kahan's compensation, split's 16 bits
    state: float  # of the optimizer
    gradients: float
    kept: float  # all of these roles together
    at_step: float  # more while a step is taken: float32 values and gradients of it
    total: int  # bytes in all that are kept, frozen parameters included
    peak: int  # and while a step is taken


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
    recipes: str | Recipe | Sequence[str | Recipe] = tuple(RECIPES),
    *,
    optimizer: str | Optimizer | type[Optimizer] = "adamw",
    target: str | None = None,
) -> Memory:
    """Bytes that a model, or so many parameters, take under each recipe.

    A count may be a text such as ``"7b"`` or ``"350M"``. Of a model each parameter counts once,
    tied or not; frozen ones have no gradient, state or master, and all others are taken to be
    updated; what a recipe keeps in float32 counts as such. ``optimizer`` is a name in
    :data:`STATES`, one of torch's, or its class, with the settings that it has by default.

    Raises HalfulpError for unknown names, for what is no count, and for parameters that are not
    floating-point numbers.

    >>> rows = memory(7e9, ["mixed-float16"]).recipes
    >>> rows[0].weights, rows[0].master, rows[0].state, rows[0].gradients, rows[0].kept
    (2.0, 4.0, 8.0, 2.0, 16.0)
    """
    chosen = [recipes] if isinstance(recipes, (str, Recipe)) else [*recipes]
    if not chosen:
        raise HalfulpError(f"no recipe was named: choose from {', '.join(RECIPES)}")
    every = [recipe(name) for name in chosen]
    name = optimizer_name(optimizer)
    if isinstance(parameters, Module):
        _check_model(parameters)
        rows = [_row(by, _parts(parameters, by, name)) for by in every]
        counted, target = [*parameters.parameters()], target or type(parameters).__name__
        count = sum(p.numel() for p in counted)
        trained = sum(p.numel() for p in counted if p.requires_grad)
    else:
        count = trained = count_of(parameters)
        rows = [_row(by, [_Part(count, count, STATES[name] * count)]) for by in every]
    return Memory(target or f"{count:,} parameters", count, trained, name, tuple(rows))


def bytes_by_role(
    by: str | Recipe, optimizer: str | Optimizer | type[Optimizer] = "adamw"
) -> Bytes:
    """The bytes of one trained parameter, exactly; Adafactor's state counts as nothing.

    Raises HalfulpError for unknown names.

    >>> [float(part) for part in bytes_by_role("bfloat16-kahan", "sgd-momentum")]
    [2.0, 0.0, 2.0, 4.0, 2.0, 6.0]
    """
    return _bytes(recipe(by), Fraction(STATES[optimizer_name(optimizer)]))


def bytes_per_parameter(by: Recipe, optimizer: Optimizer, model: Module) -> float:
    """The bytes kept of a trained parameter of a model under a recipe.

    For comparisons, which take any optimizer: what one of the user's own keeps is not known, and
    counts as Adam's.
    """
    found = _name_of(optimizer)
    return _row(by, _parts(model, by, found if found in STATES else "adam")).kept


def optimizer_name(optimizer: str | Optimizer | type[Optimizer]) -> str:
    """The name of an optimizer in :data:`STATES`, with the settings that its state depends on.

    Raises HalfulpError for one that is not there.

    >>> optimizer_name("AdamW")
    'adamw'
    """
    if isinstance(optimizer, str):
        name = optimizer.strip().lower().replace("_", "-")
    elif isinstance(optimizer, Optimizer):
        name = _name_of(optimizer)
    elif isinstance(optimizer, type) and issubclass(optimizer, Optimizer):
        name = optimizer.__name__.lower()
    else:
        raise HalfulpError(
            f"optimizer is {optimizer!r}: give a name such as adamw, or an optimizer of torch"
        )
    if name not in STATES:
        raise unknown(_("optimizer"), optimizer if isinstance(optimizer, str) else name, STATES)
    return name


def _name_of(optimizer: Optimizer) -> str:
    """The name of its class, and of settings that make it keep more, in any of its groups."""
    name = type(optimizer).__name__.lower()
    for setting in _SETTINGS:
        used = any(group.get(setting) for group in optimizer.param_groups)
        name += f"-{setting}" if used and f"{name}-{setting}" in STATES else ""
    return name


def count_of(parameters: Any) -> int:
    """A number of parameters: an int, a float, or a text such as ``1.5B``.

    Raises HalfulpError for anything else, for what is not whole, and beyond 10^15.

    >>> count_of("1.5B"), count_of(7e9), count_of("125k")
    (1500000000, 7000000000, 125000)
    """
    found: Any = _read(parameters) if isinstance(parameters, str) else parameters
    is_number = isinstance(found, Real) and not isinstance(found, bool)
    if not is_number or not 1 <= found <= MOST or found != int(found):
        # Python writes no int of thousands of digits.
        is_long = isinstance(found, int) and found.bit_length() > 1000
        asked = "an int of hundreds of digits" if is_long else repr(parameters)
        raise HalfulpError(
            f"{asked} is no number of parameters: give a whole one from 1 to 10^15, such as "
            "7e9, 350M or 1.5B"
        )
    return int(found)


def _read(text: str) -> Fraction | None:
    """The number that a text names, exactly: 1.1e9 as a float times a suffix need not be whole."""
    match = _COUNT.fullmatch(text.strip()) if len(text) <= _LONGEST else None
    if not match or not match[1]:
        return None
    digits = match[1].replace(",", "").replace("_", "")
    return Fraction(digits + (match[2] or "")) * _SUFFIXES[match[3].lower()]


def _check_model(model: Module) -> None:
    """All parameters of a model can be counted, and there are some."""
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise HalfulpError(f"parameter {name} has no shape yet: run the model once before")
    check_real(model)
    if not any(p.numel() for p in model.parameters()):
        raise HalfulpError(f"{type(model).__name__} has no parameters")


def _parts(model: Module, by: Recipe, optimizer: str) -> list[_Part]:
    """A model's parameters in the recipe's formats, and those that it keeps in float32."""
    kept = kept_names(model, by)
    sides: tuple[list[Parameter], list[Parameter]] = ([], [])
    for name, p in model.named_parameters():
        sides[name in kept].append(p)
    return [_part(side, optimizer) for side in sides]


def _part(parameters: list[Parameter], optimizer: str) -> _Part:
    trained = [p for p in parameters if p.requires_grad]
    count = sum(p.numel() for p in trained)
    states = STATES[optimizer] * count
    if optimizer == "adafactor":
        states = sum(map(_factored, trained))
    return _Part(sum(p.numel() for p in parameters), count, states)


def _factored(p: Parameter) -> int:
    """Elements that Adafactor keeps: rows and columns of a matrix, all of a vector."""
    if p.ndim < 2:
        return p.numel()
    *stack, rows, columns = p.shape
    return math.prod(stack) * (rows + columns)


def size_of(name: str) -> Fraction:
    """Bytes of a number of a format.

    >>> size_of("float16"), size_of("float4_e2m1fn")
    (Fraction(2, 1), Fraction(1, 2))
    """
    return Fraction(format(name).width, 8)


def _bytes(by: Recipe, tensors: Fraction) -> Bytes:
    """Bytes of one trained parameter, with so many elements of optimizer state."""
    weights, gradients, single = size_of(by.weights), size_of(by.gradients), size_of(FLOAT32)
    is_put_together = by.weights != FLOAT32 and by.optimizer == FLOAT32
    at_step = max(single - gradients, Fraction(0)) if is_put_together else Fraction(0)
    return Bytes(
        weights=weights,
        master=size_of(by.master) if by.master else Fraction(0),
        rest={"kahan": weights, "split": Fraction(2)}.get(by.update, Fraction(0)),
        state=tensors * size_of(by.optimizer_state),
        gradients=gradients,
        at_step=at_step + (single if is_put_together and by.master is None else 0),
    )


def _in_float32(by: Recipe) -> Recipe:
    """What a recipe is to the weights that it keeps in float32."""
    in_format = by.optimizer != FLOAT32  # its state has the dtype of each weight
    return Recipe(by.name, optimizer_state=FLOAT32 if in_format else by.optimizer_state)


def _row(by: Recipe, parts: Sequence[_Part]) -> MemoryRow:
    sums, frozen = [Fraction(0)] * len(Bytes._fields), Fraction(0)
    for treated, part in zip((by, _in_float32(by)), parts, strict=False):
        one = _bytes(treated, Fraction(part.states, part.trained or 1))
        sums = [s + part.trained * size for s, size in zip(sums, one, strict=True)]
        frozen += (part.every - part.trained) * one.weights
    trained = sum(part.trained for part in parts) or 1
    mean = {role: float(s / trained) for role, s in zip(Bytes._fields, sums, strict=True)}
    kept = sum(sums[:-1])  # all but at_step
    return MemoryRow(
        name=by.name,
        **mean,
        kept=float(kept / trained),
        total=math.ceil(kept + frozen),
        peak=math.ceil(sum(sums) + frozen),
    )
