"""The lab in a browser: every view answers to what is typed, and its URL tells all of it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect

from browser import CHINESE, Visit, Watched, give, is_same_document, result
from halfulp.lab.views import VIEWS

pytestmark = pytest.mark.extra
pytest_plugins = ["browser"]


class Case(NamedTuple):
    """What is typed into a view, what it says to that, and a mistake."""

    field: str
    typed: str
    shown: str
    wrong: str


CASES = {
    "bits": Case("x", "1.5", "0x3e00", "1.5.5"),
    "convert": Case("x", "0.1", "0x2e66", "ten"),
    "operate": Case("b", "2", "3.125", "two"),
    "base": Case("x", "0.2", "0.(0011)", "0.2z"),
    "walk": Case("gradient", "0.001", "0.001000404", "much"),
    "scale": Case("scale", "2^10", "halfulp scale gpt --scale '2^10'", "0"),
    "formats": Case("name", "float4_e2m1fn", "halfulp formats float4_e2m1fn", "float9"),
    "runs": Case("run", "run.db", "SGD", "gone.db"),
}
EACH = pytest.mark.parametrize("view", VIEWS)
LANGUAGES = pytest.mark.parametrize("language", ["en", "zh"])


def follows(page: Page, case: Case) -> None:
    """Type what is right: the view answers without being loaded anew, and its URL follows."""
    give(page, case.field, case.typed)
    expect(page.locator("#result")).to_contain_text(case.shown)
    expect(page).to_have_url(re.compile(rf"[?&]{case.field}="))


def mistaken(page: Page, case: Case) -> str:
    """Type what is wrong, or choose what is there no more; what the page says to it."""
    if page.locator(f"select[name={case.field}]").count():
        page.evaluate(
            "wrong => document.querySelector('select').options[0].value = wrong", case.wrong
        )
        page.locator(f"select[name={case.field}]").select_option(case.wrong)
    else:
        give(page, case.field, case.wrong)
    alert = page.get_by_role("alert")
    expect(alert).to_be_visible()
    return alert.inner_text()


def test_every_view_has_a_case() -> None:
    assert set(CASES) == set(VIEWS)


@EACH
@LANGUAGES
def test_what_is_typed_is_answered(view: str, language: str, visit: Visit) -> None:
    page, case = visit(f"/{view}?lang={language}", figures=False), CASES[view]
    follows(page, case)
    said = result(page)
    assert "\n" not in mistaken(page, case).strip()
    follows(page, case)
    assert (result(page), page.get_by_role("alert").count()) == (said, 0)
    assert is_same_document(page)
    expect(page).to_have_url(re.compile(f"[?&]lang={language}"))
    again = page.context.new_page()
    again.goto(page.url)
    assert result(again) == said


@EACH
def test_a_browser_in_chinese_reads_chinese(view: str, visit: Visit) -> None:
    page = visit(f"/{view}", locale="zh-CN", figures=False)
    texts = page.locator("h1, .about, label, #languages [aria-current], nav [aria-current]")
    told = texts.all_inner_texts()
    assert [text for text in told if not CHINESE.search(text)] == []
    page.get_by_role("link", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("h1")).to_have_text(VIEWS[view].title)
    assert len(told) == texts.count()
    assert not set(told) & set(texts.all_inner_texts())


def test_the_language_changes_and_what_was_typed_stays(visit: Visit) -> None:
    page = visit("/convert")
    give(page, "x", "0.1")
    expect(page.locator("#result")).to_contain_text("0x2e66")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("h1")).to_have_text(CHINESE)
    expect(page.locator("#x")).to_have_value("0.1")
    page.locator("nav a").first.click()
    expect(page.locator("h1")).to_have_text(CHINESE)


@LANGUAGES
def test_back_and_forward(language: str, visit: Visit) -> None:
    page = visit(f"/bits?x=1&lang={language}")
    code = page.locator("[data-row=code] dd")
    for bit, then in ((0, "0x3c01"), (4, "0x3c11"), (9, "0x3e11")):
        page.locator(f"#bit-{bit}").click()
        expect(code).to_have_text(then)
    for move, then in (
        (page.go_back, "0x3c11"), (page.go_back, "0x3c01"), (page.go_forward, "0x3c11"),
        (page.go_back, "0x3c01"), (page.go_back, "0x3c00"),
    ):  # fmt: skip
        move()
        expect(code).to_have_text(then)
        expect(page.locator("html")).to_have_attribute("lang", language)
    page.locator("#bit-1").click()
    expect(code).to_have_text("0x3c02")


def test_enter_asks_for_what_is_typed_and_presses_nothing(visit: Visit) -> None:
    page = visit("/base")
    give(page, "x", "0.2")
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_contain_text("0.(0011)")
    assert (page.locator("#from").input_value(), page.locator("#to").input_value()) == ("10", "2")
    page.locator("#turn").click()
    expect(page.locator("#x")).to_have_value("0.(0011)")
    expect(page.locator("#from")).to_have_value("2")
    expect(page.locator("#turn")).to_be_focused()


def test_what_is_typed_while_an_answer_comes_stays(visit: Visit) -> None:
    page = visit("/bits")
    give(page, "x", "1.5")
    page.keyboard.press("Enter")
    page.keyboard.type("625")
    expect(page.locator("[data-row=code] dd")).to_have_text("0x3e40")
    expect(page.locator("#x")).to_have_value("1.5625")
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.type("0")
    expect(page.locator("[data-row=code] dd")).to_have_text("0x3c3a")
    assert page.locator("#x").evaluate("field => field.selectionStart") == 3
    expect(page.locator("#x")).to_be_focused()


def test_sliders_write_their_field_and_stay_out_of_what_is_typed(visit: Visit) -> None:
    page = visit("/walk")
    slider = page.locator("#share")
    slider.focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#gradient")).not_to_have_value("0.00041999")
    expect(page.locator("#result")).to_contain_text("0 of 100")
    expect(slider).to_be_focused()
    before = slider.input_value()
    follows(page, CASES["walk"])
    expect(page.locator("#share")).not_to_have_value(before)


def test_a_button_leads_from_a_code_to_its_bits(visit: Visit) -> None:
    page = visit("/formats?name=float8_e5m2&lang=zh")
    page.get_by_role("button", name="0x3d = 1.25").click()
    expect(page.locator("[data-row=code] dd")).to_have_text("0x3d")
    expect(page.locator("h1")).to_have_text(CHINESE)


@EACH
def test_everything_is_reached_by_tab(view: str, visit: Visit) -> None:
    page = visit(f"/{view}")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#view")).to_be_focused()
    page.evaluate("document.activeElement.blur(); scroll(0, 0)")
    page.evaluate("""() => {
      window.reached = new Set();
      document.addEventListener("focusin", (event) => reached.add(event.target));
    }""")
    for _ in range(page.locator("a, button, input, select, [tabindex='0']").count()):
        page.keyboard.press("Tab")
    missed = page.evaluate("""() =>
      [...document.querySelectorAll("a, button, input, select, [tabindex='0']")]
        .filter((part) => part.checkVisibility() && part.type !== "hidden" && !reached.has(part))
        .map((part) => part.outerHTML)""")
    assert missed == []


def test_the_command_is_copied(visit: Visit) -> None:
    page = visit("/bits?x=1.5", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("[data-copied]")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "halfulp bits 1.5 --format float16"


def test_where_pages_may_not_copy_the_command_is_selected(visit: Visit) -> None:
    page = visit("/bits?x=1.5")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("String(getSelection())") == "halfulp bits 1.5 --format float16"


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    """``halfulp lab`` as a process of its own."""
    said = "from halfulp.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", said, "lab", "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def test_the_command_serves_until_ctrl_c(
    command: subprocess.Popen[str], visit: Visit, watched: Watched
) -> None:
    assert command.stdout is not None
    found = re.search(r"http://[^/\s]+", command.stdout.readline())
    assert found
    watched.home = found[0]
    page = visit("/bits?x=2")
    expect(page.locator("[data-row=code] dd")).to_have_text("0x4000")
    command.send_signal(signal.SIGINT)
    _, complaints = command.communicate(timeout=30)
    assert command.returncode in (0, 2)
    assert "Traceback" not in complaints
