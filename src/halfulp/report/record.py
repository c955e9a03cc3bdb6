"""The page of one result: its text, and the figures its kind has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from halfulp.files import write_text
from halfulp.report import figures
from halfulp.report.document import Section, document

# The figures of each kind of record; the kinds that are not here have none.
FIGURES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "WalkComparison": (figures.walk_figure,),
    "Comparison": (figures.loss_figure, figures.lost_figure),
    "Attribution": (figures.cost_figure,),
    "Memory": (figures.memory_figure,),
}


def section(record: Any, title: str = "", prose: str = "") -> Section:
    """A record with its figures as a section."""
    drawn = tuple(draw(record) for draw in FIGURES.get(type(record).__name__, ()))
    return Section(title, prose, (record,), drawn)


def write_record(record: Any, path: str, title: str) -> None:
    """Write the page of one result, whole or not at all."""
    write_text(path, document(title, [section(record)]))
