"""Walk: does the weight move? Every strategy on one figure, the closed form, the error budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halfulp.explanations.walk_fields import DEFAULTS, REACH, asked_walk
from halfulp.lab.state import State
from halfulp.lab.view import Content, View, command
from halfulp.language import N_


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The walk of one weight under every strategy."""
    from halfulp.report.figures import walk_figure

    asked = asked_walk(state, pressed.get("share"))
    state = state.with_(gradient=asked.gradient)
    said = command(
        "walk", weight=state["weight"], gradient=state["gradient"], steps=state["steps"],
        format=state["format"], learning_rate=state["rate"],
        gradient_format=state["gradient_format"],
    )  # fmt: skip
    shown = {"walk": asked.walk, "share_of_update": asked.share, "reach": REACH}
    return Content(state, shown, said, {"walk": walk_figure(asked.walk)})


VIEW = View(
    name="walk",
    title=N_("Walk"),
    about=N_("The same update again and again: does the weight move, and where does it stall?"),
    defaults=DEFAULTS,
    build=build,
    keys=("share",),
    is_slow=True,
)
