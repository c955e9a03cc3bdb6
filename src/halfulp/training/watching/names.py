"""What is watched, by name: the parameters an optimizer updates, and the modules that run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import Tensor
from torch.nn import Module, ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential
from torch.optim import Optimizer

from halfulp.errors import HalfulpError
from halfulp.training.prepared import Prepared
from halfulp.training.ranks import unwrapped
from halfulp.training.weights import Weight

# Modules that only hold others; what they return is what the last of these returned.
CONTAINERS = (Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict)
# What wrappers put before the names that users know.
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")


class Tracked(NamedTuple):
    """A parameter that the optimizer updates."""

    name: str
    parameter: Tensor  # the model's
    value: Tensor  # the optimizer's; of a prepared training the float32 value of the parameter
    weight: Weight | None  # how a prepared training keeps it
    group: int


class Names:
    """Which names are watched: those that match ``include``, but not ``exclude``."""

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        self.include, self.exclude = _patterns("include", include), _patterns("exclude", exclude)

    def __contains__(self, name: object) -> bool:
        text = str(name)
        chosen = not self.include or any(fnmatchcase(text, p) for p in self.include)
        return chosen and not any(fnmatchcase(text, p) for p in self.exclude)

    def tracked(
        self, model: Module, optimizer: Optimizer, prepared: Prepared | None
    ) -> list[Tracked]:
        """The parameters that are watched, in the optimizer's order.

        Raises HalfulpError where the optimizer updates none of the model's.
        """
        names = {id(p): plain_name(name) for name, p in unwrapped(model).named_parameters()}
        weights = {id(w.value): w for w in prepared.weights} if prepared else {}
        found = []
        for group, of in enumerate(optimizer.param_groups):
            for value in of["params"]:
                weight = weights.get(id(value))
                parameter = value if weight is None else weight.parameter
                name = names.get(id(parameter), "")
                if name and name in self and value.is_floating_point():
                    found.append(Tracked(name, parameter, value, weight, group))
        if not any(id(t.parameter) in names for t in found):
            raise HalfulpError(
                "the optimizer updates none of the model's parameters that are watched: make it "
                "from model.parameters(), and look at include and exclude"
            )
        return found

    def modules(self, model: Module) -> Iterator[tuple[str, Module]]:
        """The modules whose outputs are watched, compiled ones from outside."""
        compiled: list[str] = []
        for name, module in unwrapped(model).named_modules():
            inside = any(name.startswith(prefix) for prefix in compiled)
            if is_compiled(module):
                compiled.append(f"{name}." if name else "")
            text = plain_name(name)
            if not text or text not in self or isinstance(module, CONTAINERS):
                continue
            if not inside and not compiles_hooks(module):
                yield text, module


def compiles_hooks(module: Module) -> bool:
    """Whether module.compile() was called, in place: hooks would be traced too."""
    return getattr(module, "_compiled_call_impl", None) is not None


def is_compiled(module: Module) -> bool:
    """Whether torch.compile has a module in hand, where a hook would change what is computed."""
    return compiles_hooks(module) or hasattr(module, "_orig_mod")


def plain_name(name: str) -> str:
    """A name without what wrappers of torch put into it."""
    for prefix in WRAPPERS:
        name = name.replace(prefix, "")
    return name


def _patterns(which: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    patterns = tuple(given)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise HalfulpError(f"{which} has {pattern!r}: give patterns of names, such as '*.bias'")
    return patterns
