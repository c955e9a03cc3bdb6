"""L3: any result as a page of text; the page of each kind of record is found by its name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from halfulp.explanations.page import Page

# record -> module:function; imported when first asked for, so that one kind does not load the rest
RENDERERS = {
    "Explanation": "steps_text:explanation_page",
    "Operation": "steps_text:operation_page",
    "CatalogueTable": "formats_text:catalogue_page",
    "FormatSheet": "formats_text:sheet_page",
    "WalkComparison": "walk_text:walk_page",
}


def page(record: Any) -> Page:
    """A result as styled lines."""
    module, _, function = RENDERERS[type(record).__name__].partition(":")
    made = getattr(import_module(f"halfulp.explanations.{module}"), function)(record)
    assert isinstance(made, Page)
    return made


def plain_text(record: Any) -> str:
    """A result as text without styles."""
    return page(record).plain()
