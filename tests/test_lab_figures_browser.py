"""Figures, saved pages and runs of the lab in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from browser import CHINESE, Visit, Watched, give, is_same_document, served, swipe, train
from halfulp.lab.views import VIEWS

pytestmark = pytest.mark.extra
pytest_plugins = ["browser"]

WITH_FIGURES = ["/walk?", "/scale?", "/formats?", "/formats?name=float8_e4m3fn", "/runs?run=run.db"]
SAVED = [*(f"/{view}?" for view in VIEWS if view != "runs"), "/runs?run=run.db"]


def drawn(page: Page) -> int:
    """How many figures a page has, all of them drawn."""
    figures = page.locator(".figure")
    for figure in figures.all():
        expect(figure.locator("svg.main-svg").first).to_be_visible()
        expect(figure.locator("[role=img]")).to_have_attribute("aria-label", re.compile(r"\S"))
    expect(page.locator(".js-plotly-plot")).to_have_count(figures.count())
    return figures.count()


def numbers(page: Page) -> list[str]:
    """What the tables, lists and texts of a result say."""
    return page.locator("#result").locator("td, th, dd, section:not(#glance) pre").all_inner_texts()


@pytest.mark.parametrize("link", WITH_FIGURES)
def test_figures_are_drawn_by_day_and_night(link: str, visit: Visit) -> None:
    page = visit(link, color_scheme="light")
    assert drawn(page) > 0
    before = page.locator(".figure").count()
    page.emulate_media(color_scheme="dark")
    assert drawn(page) == before


def test_figures_follow_what_is_typed(visit: Visit) -> None:
    page = visit("/walk")
    drawn(page)
    line = page.locator(".scatterlayer path.js-line").first
    before = line.get_attribute("d")
    give(page, "gradient", "0.001")
    expect(line).not_to_have_attribute("d", before or "")
    assert drawn(page) == 1
    assert is_same_document(page)


def test_figures_come_to_a_page_that_had_none(visit: Visit) -> None:
    page = visit("/runs")
    assert page.locator("script[src*=plotly]").count() == 0
    page.get_by_role("button", name="run.db").click()
    expect(page.locator("#run")).to_have_value("run.db")
    assert drawn(page) > 0
    assert is_same_document(page)


def test_figures_are_saved_as_images(visit: Visit, tmp_path: Path) -> None:
    page = visit("/walk?lang=zh")
    drawn(page)
    for kind, begin in (("PNG", b"\x89PNG\r\n\x1a\n"), ("SVG", b"<svg")):
        with page.expect_download() as download:
            page.get_by_role("button", name=kind).click()
        assert download.value.suggested_filename == f"halfulp-walk.{kind.lower()}"
        download.value.save_as(tmp_path / kind)
        assert (tmp_path / kind).read_bytes().startswith(begin)


def test_fingers_on_a_figure_scroll_the_page(visit: Visit) -> None:
    page = visit("/walk", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844})
    drawn(page)
    page.locator(".nsewdrag").scroll_into_view_if_needed()
    box, before = page.locator(".figure").bounding_box(), page.evaluate("scrollY")
    assert box is not None
    swipe(page, [(200, box["y"] + 100 + 20 * i) for i in range(8)])
    page.wait_for_function("before => scrollY < before", arg=before)


@pytest.mark.parametrize("link", SAVED)
def test_a_saved_page_shows_the_same_by_itself(
    link: str, visit: Visit, watched: Watched, tmp_path: Path
) -> None:
    page = visit(f"{link}&lang=zh")
    shown, figures = numbers(page), drawn(page)
    with page.expect_download() as download:
        page.locator("a[download]").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)
    page.close()  # it may ask how a run goes on
    watched.asked.clear()
    saved = visit(file.as_uri())
    kept = numbers(saved)
    assert [number for number in shown if number not in kept] == []
    assert drawn(saved) == figures
    assert watched.asked == [file.as_uri()]
    assert saved.locator("html").get_attribute("lang") == "zh"
    assert saved.locator("#result button:visible:not(.figure-tools *)").count() == 0


def test_gradients_of_a_file_are_looked_at(visit: Visit, watched: Watched, tmp_path: Path) -> None:
    page = visit("/scale?scale=2^10")
    wrong, right = tmp_path / "wrong.npy", tmp_path / "right.npy"
    wrong.write_text("no array")
    np.save(right, np.float32([2**-30, 2**-10, 1, 0]))
    page.locator("#file").set_input_files(wrong)
    expect(page.get_by_role("alert")).to_be_visible()
    assert "400" in watched.wrong.pop()  # the browser tells of it, too
    page.locator("#file").set_input_files(right)
    expect(page).to_have_url(re.compile("source=upload"))
    expect(page.locator("[data-nonzero]")).to_have_attribute("data-nonzero", "3")
    expect(page.locator("#scale")).to_have_value("2^10")
    assert drawn(page) == 2


def test_a_file_that_does_not_arrive_is_said(
    visit: Visit, watched: Watched, tmp_path: Path
) -> None:
    page = visit("/scale")
    file = tmp_path / "x.npy"
    np.save(file, np.float32([1]))
    page.route("**/upload", lambda route: route.abort())
    page.locator("#file").set_input_files(file)
    expect(page.get_by_role("alert")).to_contain_text("did not arrive")
    assert "ERR_FAILED" in watched.wrong.pop()  # the browser tells of it, too


def test_a_run_is_followed_while_it_goes_on(visit: Visit, watched: Watched, tmp_path: Path) -> None:
    steps = train(tmp_path / "live.db", steps=12)
    for _ in range(3):
        next(steps)
    with served(tmp_path) as address:
        watched.home = address
        page = visit("/runs?lang=zh")
        page.get_by_role("button", name="live.db").click()
        stands = page.locator("#glance pre")
        expect(stands).to_be_visible()
        drawn(page)
        page.locator("#run").focus()
        before, url = stands.inner_text(), page.url
        list(steps)
        expect(stands).not_to_have_text(before)
        expect(stands).to_contain_text("12")
        expect(page.locator("#glance h2")).to_have_text(CHINESE)
        expect(page.locator("#run")).to_be_focused()
        assert (page.url, is_same_document(page)) == (url, True)
        page.context.close()
