"""L2: the operands of w ← round(w + g): as given, and as they are in their formats."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from halfulp.arithmetic import exact_product, operand
from halfulp.casting import cast_to
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import Number, neighbours
from halfulp.language import N_
from halfulp.language import translate as _
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


def half_gap(update: Update) -> Fraction | None:
    """Half the gap to the next number where an update goes; None at the end of the range.

    A smaller update is lost, a larger one moves the weight; equal to it, the even number wins.

    >>> half_gap(update_of("1.125", "0.00041999", "float16"))
    Fraction(1, 2048)
    """
    below, above = neighbours(update.stored_weight.value, update.format)
    next_one = below if update.added.negative else above
    return None if next_one is None else abs(next_one - update.stored_weight.value) / 2


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
    for text, value in (
        (N_("the weight is {value}: a walk needs finite numbers"), w),
        (N_("the gradient is {value}: a walk needs finite numbers"), g),
    ):
        if not value.is_finite:
            raise HalfulpError(_(text).format(value=value))
    given, added = g, within(g, inner)
    rate = None
    if learning_rate is not None:
        exact_rate = operand(learning_rate).number
        if not exact_rate.is_finite:
            raise HalfulpError(
                _("the learning rate is {value}: a walk needs finite numbers").format(
                    value=exact_rate
                )
            )
        rate = within(exact_rate, inner)
        given = exact_product(g, exact_rate)
        added = within(exact_product(added, rate), inner)
    if not added.is_finite:
        raise HalfulpError(
            _("the update {update} is beyond {format}: choose another --gradient-format").format(
                update=given, format=inner
            )
        )
    return Update(found, inner, w, given, within(w, found), rate, added)


def walkable(target: Format) -> Format:
    """A format that can hold weights, or an error."""
    if not (target.signed and target.zero):
        raise HalfulpError(
            _("{target} has no {lacking}: weights need one").format(
                target=target, lacking=_("zero") if target.signed else _("sign")
            )
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
        raise HalfulpError(_("steps is {steps!r}: give a whole number").format(steps=steps))
    if steps is not None and not 0 <= steps <= MOST_STEPS:
        shown = steps if abs(steps) <= MOST_STEPS**2 else _("far more")
        raise HalfulpError(
            _("steps is {shown}: allowed are 0 to {most}").format(shown=shown, most=MOST_STEPS)
        )
