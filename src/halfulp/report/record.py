"""The page of one result: its text, and the figures its kind has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from halfulp.files import write_text
from halfulp.report import figures, format_figures, scale_shares
from halfulp.report.document import Section, document

# The figures of each kind of record; the kinds that are not here have none. A figure may be None:
# there is nothing to draw.
FIGURES: dict[str, tuple[Callable[[Any], Any], ...]] = {
    "WalkComparison": (figures.walk_figure,),
    "Comparison": (figures.loss_figure, figures.lost_figure),
    "Attribution": (figures.cost_figure,),
    "Memory": (figures.memory_figure,),
    "ScaleShares": (scale_shares.histogram_figure, scale_shares.curves_figure),
    "CatalogueTable": (format_figures.catalogue_ranges, format_figures.catalogue_density),
    "FormatSheet": (
        format_figures.sheet_ranges,
        format_figures.sheet_density,
        format_figures.sheet_numbers,
    ),
    "Ranges": (format_figures.compared_ranges, format_figures.compared_density),
    "CodeTable": (format_figures.table_numbers,),
}


def section(record: Any, title: str = "", prose: str = "") -> Section:
    """A record with its figures as a section."""
    drawn = (draw(record) for draw in FIGURES.get(type(record).__name__, ()))
    return Section(title, prose, (record,), tuple(f for f in drawn if f is not None))


def write_record(record: Any, path: str, title: str) -> None:
    """Write the page of one result, whole or not at all."""
    write_text(path, document(title, [section(record)]))
