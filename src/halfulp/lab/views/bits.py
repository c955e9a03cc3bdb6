"""Bits: one number in one format, bit by bit, and the same number in all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halfulp.explanations.bit_buttons import BUTTONS, pressed_sheet
from halfulp.lab.state import State
from halfulp.lab.view import Content, View, command
from halfulp.language import N_


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The sheet of a number, after what was pressed."""
    sheet = pressed_sheet(state["x"], state["format"], pressed)
    if pressed:
        state = state.with_(x=sheet.input, format=sheet.format.name)
    said = command("bits", sheet.input, format=sheet.format.name)
    return Content(state, {"sheet": sheet}, said)


VIEW = View(
    name="bits",
    title=N_("Bits"),
    about=N_("A number in a format: every bit, what it means, and where it stands."),
    defaults={"x": "1.12156456132", "format": "float16"},
    build=build,
    keys=BUTTONS,
)
