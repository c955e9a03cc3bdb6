"""Add and multiply: two operands, aligned bit by bit, and the one rounding of the exact result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halfulp.explanations.operation import explain_operation
from halfulp.lab.state import State
from halfulp.lab.view import Content, View, command
from halfulp.lab.views.convert import ROUNDINGS
from halfulp.language import N_
from halfulp.promotion import RULES


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The operation on operands that may name their formats themselves."""
    a, b = (_operand(state, side) for side in ("a", "b"))
    work = explain_operation(
        state["operation"], a, b, state["in"] or None, rounding=state["rounding"],
        promotion=state["promotion"],
    )  # fmt: skip
    rounding = state["rounding"] if state["rounding"] != "nearest_even" else None
    promotion = state["promotion"] if state["promotion"] != "halfulp" else None
    said = command(
        state["operation"], a, b, **{"in": state["in"]}, rounding=rounding, promotion=promotion
    )
    return Content(state, {"work": work}, said)


def _operand(state: State, side: str) -> str:
    text, target = state[side], state[f"{side}_format"]
    return text if ":" in text or not target else f"{text}:{target}"


VIEW = View(
    name="operate",
    title=N_("Add and multiply"),
    about=N_("Two numbers, in one format or two: aligned, added or multiplied, rounded once."),
    defaults={
        "a": "1.125", "a_format": "float16", "b": "0.12457275190625", "b_format": "float16",
        "operation": "add", "in": "", "promotion": "halfulp", "rounding": "nearest_even",
    },
    build=build,
    choices={"operations": ("add", "multiply"), "roundings": ROUNDINGS, "promotions": tuple(RULES)},
)  # fmt: skip
