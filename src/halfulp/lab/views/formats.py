"""Formats: the catalogue, one format in full with all its codes, formats against one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halfulp import catalogue
from halfulp.explanations.code_table import WIDEST, CodeTable
from halfulp.explanations.formats import CatalogueTable, FormatSheet
from halfulp.explanations.ranges import Ranges
from halfulp.lab.state import State, few_formats
from halfulp.lab.view import Content, View, command
from halfulp.language import N_

MOST_FORMATS = 12


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The catalogue; of one name the sheet and its codes; of several, their ranges."""
    from halfulp.report.record import section

    if "code" in pressed:
        x, target = pressed["code"], pressed["code"].partition(":")[0]
        return Content(state, {}, "", elsewhere=state.elsewhere("bits", x=x, format=target))
    state = state.with_(name=pressed["open"]) if "open" in pressed else state
    chosen = few_formats(state, "name", MOST_FORMATS)
    record: Any = CatalogueTable.of(catalogue.formats())
    codes = None
    if len(chosen) == 1:
        record = FormatSheet.of(catalogue.format(chosen[0]))
        codes = CodeTable.of(record.format) if record.width <= WIDEST else None
    elif chosen:
        record = Ranges.of(chosen)
    figures = {str(i): drawn for i, drawn in enumerate(section(record).figures)}
    said = command("formats", *([",".join(chosen)] if chosen else []))
    return Content(state, {"record": record, "codes": codes}, said, figures)


VIEW = View(
    name="formats",
    title=N_("Formats"),
    about=N_("What each format can hold: ranges, densities, and every code of the small ones."),
    defaults={"name": ""},
    build=build,
    keys=("open", "code"),
    is_slow=True,
)
