"""The bits of a number in a browser: clicked, dragged across, touched, and stepped by keys."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from browser import Visit, Watched, is_same_document, swipe

pytestmark = pytest.mark.extra
pytest_plugins = ["browser"]

Point = tuple[float, float]


def coded(page: Page, code: str) -> None:
    """The page comes to show a code."""
    expect(page.locator("[data-row=code] dd")).to_have_text(code)
    assert page.locator(".hu-bitsheet").get_attribute("data-code") == code
    assert is_same_document(page)


def middle(page: Page, bit: int) -> Point:
    box = page.locator(f"#bit-{bit}").bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def painted(watched: Watched) -> list[list[int]]:
    """The places that requests asked to be set, in order."""
    asked = [parse_qs(urlsplit(url).query) for url in watched.asked]
    return [sorted(map(int, q["places"][0].split("."))) for q in asked if "places" in q]


def flips(watched: Watched) -> int:
    return sum("flip=" in url for url in watched.asked)


@pytest.mark.parametrize("target", ["float16", "float8_e8m0fnu", "e5m10"])
def test_a_click_flips_its_bit_and_keeps_the_focus(target: str, visit: Visit) -> None:
    page = visit(f"/bits?x={target}:0x3c&format={target}")
    digits = 4 if target != "float8_e8m0fnu" else 2
    for bit in (0, 7):
        page.locator(f"#bit-{bit}").click()
        coded(page, f"0x{0x3C ^ (1 << bit):0{digits}x}")
        expect(page.locator(f"#bit-{bit}")).to_have_attribute("aria-pressed", "true")
        expect(page.locator(f"#bit-{bit}")).to_be_focused()
        page.keyboard.press("Space")
        coded(page, f"0x{0x3C:0{digits}x}")
        expect(page.locator(f"#bit-{bit}")).to_be_focused()


def test_dragging_sets_what_it_crosses_in_one_request(visit: Visit, watched: Watched) -> None:
    page = visit("/bits?x=1")
    for bits, steps, code in ((range(9, 1, -1), 1, "0x3ffc"), (range(10, 14), 8, "0x03fc")):
        page.mouse.move(*middle(page, bits[0]))
        page.mouse.down()
        page.mouse.move(*middle(page, bits[-1]), steps=steps)
        expect(page.locator(f"#bit-{bits[1]}")).to_have_attribute(
            "aria-pressed", str(steps == 1).lower()
        )
        page.mouse.up()
        coded(page, code)
    page.locator("#bit-0").click()
    coded(page, "0x03fd")
    assert painted(watched) == [list(range(2, 10)), list(range(10, 14))]
    assert flips(watched) == 1


def test_a_drag_that_comes_back_flips_nothing_else(visit: Visit, watched: Watched) -> None:
    page = visit("/bits?x=1")
    page.mouse.move(*middle(page, 3))
    page.mouse.down()
    page.mouse.move(*middle(page, 1), steps=4)
    page.mouse.move(*middle(page, 3), steps=4)
    page.mouse.up()
    coded(page, "0x3c0e")
    page.locator("#bit-1").click()
    coded(page, "0x3c0c")
    assert (painted(watched), flips(watched)) == ([[1, 2, 3]], 1)


def test_a_drag_that_ends_elsewhere_leaves_the_next_click_alone(visit: Visit) -> None:
    page = visit("/bits?x=1")
    page.mouse.move(*middle(page, 3))
    page.mouse.down()
    page.mouse.move(*middle(page, 2), steps=2)
    page.mouse.move(5, 5)
    page.mouse.up()
    coded(page, "0x3c0c")
    page.locator("#bit-0").click()
    coded(page, "0x3c0d")


def test_fingers_drag_too(visit: Visit, watched: Watched) -> None:
    page = visit(
        "/bits?x=1", has_touch=True, is_mobile=True, viewport={"width": 390, "height": 844}
    )
    swipe(page, [middle(page, bit) for bit in (9, 8, 7, 6)])
    coded(page, "0x3fc0")
    assert page.evaluate("scrollY") == 0
    page.locator("#bit-0").tap()
    coded(page, "0x3fc1")
    assert (painted(watched), flips(watched)) == ([[6, 7, 8, 9]], 1)


@pytest.mark.parametrize("place", ["x", "bit-3", "step-down"])
def test_arrow_keys_step_and_lose_no_press(place: str, visit: Visit) -> None:
    page = visit("/bits?x=1")
    page.locator(f"#{place}").focus()
    for _ in range(9):
        page.keyboard.press("ArrowUp")
    coded(page, "0x3c09")
    expect(page.locator(f"#{place}")).to_be_focused()
    for _ in range(11):
        page.keyboard.press("ArrowDown")
    coded(page, "0x3bfe")
    expect(page.locator(f"#{place}")).to_be_focused()


@pytest.mark.parametrize("place", ["around-0x3c02", "worth-4", "into-bfloat16"])
def test_links_keep_the_focus(place: str, visit: Visit) -> None:
    page = visit("/bits?x=1")
    before = page.url
    page.locator(f"#{place}").press("Enter")
    expect(page).not_to_have_url(before)
    expect(page.locator(f"#{place}")).to_be_focused()
    assert is_same_document(page)


def test_without_what_was_pressed_the_focus_goes_to_the_view(visit: Visit) -> None:
    page = visit("/formats")
    page.get_by_role("button", name="float16", exact=True).press("Enter")
    expect(page.locator("#name")).to_have_value("float16")
    expect(page.locator("#view")).to_be_focused()
