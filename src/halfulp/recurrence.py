"""L2: the operands of w ← round(w + g): as given, and as they are in their formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from halfulp.arithmetic import exact_product, operand
from halfulp.casting import cast_to
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.records import Record

# What counters of 64 bits hold with room to spare.
MOST_STEPS = 10**18


@dataclass(frozen=True)
class Update(Record):
    """The operands of a walk: as given, and as they really are in their formats."""

    format: Format
    gradient_format: Format | None  # None: the gradient is exact
    weight: Number
    gradient: Number  # with the learning rate, unrounded
    stored_weight: Number  # weight in the format
    learning_rate: Number | None  # in the gradient's format
    added: Number  # what each step adds: the gradient in its format, times the learning rate there


def update_of(
    weight: Any,
    gradient: Any,
    target: str | Format,
    learning_rate: Any = None,
    gradient_format: str | Format | None = None,
) -> Update:
    """The operands of a walk in ``target``, checked and rounded once.

    The gradient is first rounded to ``gradient_format`` (default: the walk's format; ``"none"``:
    kept exact). A learning rate is rounded to that format too and multiplies it there, rounded, as
    optax, NumPy and MindSpore do; PyTorch's SGD keeps the product in float32, which
    ``gradient_format="float32"`` shows.
    """
    found = walkable(format(target))
    inner = gradient_format_of(found, gradient_format)
    w, g = operand(weight).number, operand(gradient).number
    for name, value in (("weight", w), ("gradient", g)):
        if not value.is_finite:
            raise HalfulpError(f"the {name} is {value}: a walk needs finite numbers")
    given, added = g, within(g, inner)
    rate = None
    if learning_rate is not None:
        exact_rate = operand(learning_rate).number
        if not exact_rate.is_finite:
            raise HalfulpError(f"the learning rate is {exact_rate}: a walk needs finite numbers")
        rate = within(exact_rate, inner)
        given = exact_product(g, exact_rate)
        added = within(exact_product(added, rate), inner)
    if not added.is_finite:
        raise HalfulpError(
            f"the update {given} is beyond {inner}: choose another --gradient-format"
        )
    return Update(found, inner, w, given, within(w, found), rate, added)


def walkable(target: Format) -> Format:
    """A format that can hold weights, or an error."""
    if not (target.signed and target.zero):
        raise HalfulpError(
            f"{target} has no {'zero' if target.signed else 'sign'}: weights need one"
        )
    return target


def state_format(target: Format, strategy: str) -> Format:
    """What a strategy keeps its weight in: a master is a float32, or as wide as the target."""
    master = format("float32")
    return master if strategy == "master" and master.holds(target) else target


def gradient_format_of(target: Format, name: str | Format | None) -> Format | None:
    """What the gradient is rounded to: the walk's own format, the one named, or (none) nothing."""
    if name is None:
        return target
    return None if name == "none" else walkable(format(name))


def within(value: Number, target: Format | None) -> Number:
    """A number rounded to a format; as it is where there is none."""
    return value if target is None else cast_to(target).number(value)


def check_steps(steps: int | None) -> None:
    """Steps are counted: whole, and not negative."""
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int)):
        raise HalfulpError(f"steps is {steps!r}: give a whole number")
    if steps is not None and not 0 <= steps <= MOST_STEPS:
        shown = steps if abs(steps) <= MOST_STEPS**2 else "far more"
        raise HalfulpError(f"steps is {shown}: allowed are 0 to {MOST_STEPS}")
