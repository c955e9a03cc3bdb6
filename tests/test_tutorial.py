"""The tutorial is true: executed anew, it says what is kept in it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from html_reader import Reader
from tutorial import PATH, executed, read

pytestmark = pytest.mark.extra

MOST_BYTES = 600_000


def said(cell: Any) -> list[dict[str, str]]:
    """The outputs of a cell, to compare: what they say, not how it is styled."""
    return [
        {
            kind: re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
            for kind, text in (output.get("data") or {output["name"]: output["text"]}).items()
        }
        for output in cell.get("outputs", ())
    ]


def test_it_says_what_is_kept_in_it() -> None:
    kept = read()
    anew = executed(kept)
    for before, after in zip(kept.cells, anew.cells, strict=True):
        assert said(after) == said(before), f"make tutorial: {before.source}"


def test_it_is_the_same_on_every_machine() -> None:
    text = PATH.read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    assert not re.search(r"object at 0x|/(?:home|root|tmp|usr|Users)/|[A-Z]:\\\\|widget-view", text)
    notebook = read()
    assert [cell.id for cell in notebook.cells] == [
        f"cell-{i:02}" for i in range(1, len(notebook.cells) + 1)
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert {output.get("name", "stdout") for cell in code for output in cell.outputs} == {"stdout"}


def test_it_needs_nothing_from_elsewhere() -> None:
    shown = [
        output.data["text/html"]
        for cell in read().cells
        for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    ]
    assert len(shown) > 8
    for html in shown:
        assert "button" not in Reader.of(html).tags
    assert 'class="hu-cell' in shown[-2], "the widgets, as they are without a kernel"
    assert "hu-trajectories" in shown[-1]
