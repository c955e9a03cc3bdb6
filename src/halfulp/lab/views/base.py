"""Base: a number from one base to another, fractions exact, and every step by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halfulp.errors import HalfulpError
from halfulp.explanations.base_steps import base_conversion
from halfulp.explanations.fields import check_length, whole
from halfulp.lab.state import State
from halfulp.lab.view import Content, View, command
from halfulp.language import N_
from halfulp.language import translate as _

LIMIT, STEPS = 1000, 64  # digits after the point, and rows of steps


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The conversion; the button turns it round."""
    source, target = whole(state, "from", 2, 36), whole(state, "to", 2, 36)
    if "turn" in pressed:
        found = base_conversion(state["x"], source, target, limit=LIMIT, steps=0)
        if found.result.truncated:
            raise HalfulpError(
                _(
                    "in base {base} the digits go on beyond {limit} places: there is no turning "
                    "round"
                ).format(base=target, limit=LIMIT)
            )
        check_length("x", str(found.result))
        state = state.with_(x=str(found.result), **{"from": state["to"], "to": state["from"]})
        source, target = target, source
    found = base_conversion(state["x"], source, target, limit=LIMIT, steps=STEPS)
    bases = {"from": state["from"], "base": state["to"]}
    said = command("digits", state["x"], flags=["steps"], **bases)
    return Content(state, {"found": found}, said)


VIEW = View(
    name="base",
    title=N_("Base"),
    about=N_(
        "Any number from one base to another: exact, the repeating part marked, step by step."
    ),
    defaults={"x": "0.1", "from": "10", "to": "2"},
    build=build,
    choices={"bases": tuple(str(base) for base in range(2, 37))},
    keys=("turn",),
)
