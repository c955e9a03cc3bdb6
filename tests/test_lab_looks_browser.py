"""How the lab looks in a browser: by day and night, on a phone, and to those who hear pages."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from browser import Visit
from halfulp.lab.views import VIEWS

pytestmark = pytest.mark.extra
pytest_plugins = ["browser"]

# Pages of every kind that views have: as they come, with another result, and with a mistake.
PAGES = {view: [""] for view in VIEWS} | {
    "convert": ["", "profile=torch&against=jax"],
    "formats": ["", "name=float8_e4m3fn", "name=float16,bfloat16"],
    "runs": ["", "run=run.db"],
}
MISTAKES = {
    "bits": "x=1.5.5", "convert": "x=ten", "operate": "b=two", "base": "x=0.2z",
    "walk": "gradient=much", "scale": "scale=0", "formats": "name=float9", "runs": "run=gone.db",
}  # fmt: skip
LINKS = [f"/{view}?{query}" for view in VIEWS for query in (*PAGES[view], MISTAKES[view])]
PLAIN = [f"/{view}?{query}" for view in VIEWS for query in ("", MISTAKES[view])]
PHONE = {"width": 390, "height": 844}


def violations(page: Page, *rules: str) -> list[Any]:
    """What axe finds to be serious or worse: rule, and where."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = page.evaluate("options => axe.run(options)", options)["violations"]
    return [
        (v["id"], [node["html"][:200] for node in v["nodes"]][:3])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def drawn(page: Page) -> None:
    """Wait for the figures, where their script is there to draw them."""
    for figure in page.locator("html:has(.js-plotly-plot) .figure").all():
        expect(figure.locator("svg.main-svg").first).to_be_attached()


def width(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize(
    ("link", "language"), [*((link, "en") for link in LINKS), *((link, "zh") for link in PLAIN)]
)
def test_pages_are_accessible_by_day_and_night_and_on_phones(
    link: str, language: str, visit: Visit
) -> None:
    page = visit(f"{link}&lang={language}", color_scheme="light", figures=language == "en")
    page.evaluate(Axe().axe_script)
    drawn(page)
    assert violations(page) == []
    page.emulate_media(color_scheme="dark")
    assert violations(page, "color-contrast") == []
    page.set_viewport_size(PHONE)
    drawn(page)
    assert width(page) <= PHONE["width"]
    assert violations(page, "scrollable-region-focusable", "target-size") == []


def test_nights_are_dark(visit: Visit) -> None:
    page = visit("/walk", color_scheme="light")
    drawn(page)
    colours = """() => ['body', 'h1', 'input', '.js-plotly-plot']
      .map((part) => getComputedStyle(document.querySelector(part)))
      .map((style) => [style.color, style.backgroundColor, style.filter].join())"""
    day = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    night = page.evaluate(colours)
    assert not set(day) & set(night)
    assert ("none" in day[-1], "invert" in night[-1]) == (True, True)


@pytest.mark.parametrize("view", VIEWS)
def test_fields_of_a_line_stand_on_one_line(view: str, visit: Visit) -> None:
    page = visit(f"/{view}", viewport={"width": 1280, "height": 900}, figures=False)
    lines: dict[int, set[int]] = {}
    for field in page.locator(".field:visible").all():
        box = field.bounding_box()
        entry = field.locator("input:not([type=range]):not([type=file]), select")
        inner = entry.bounding_box() if entry.count() else None
        if box and inner:
            lines.setdefault(round(box["y"]), set()).add(round(inner["y"]))
    assert lines
    assert [places for places in lines.values() if len(places) > 1] == []
