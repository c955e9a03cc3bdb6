"""The widgets: messages to the kernel, what it answers, and the module of the page in a browser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from comm.base_comm import BaseComm
from playwright.sync_api import Browser, Page, expect

import halfulp as hu
from halfulp.explanations.walk_fields import DEFAULTS, MOST_STEPS
from halfulp.language import use
from halfulp.widgets import Panel

pytestmark = pytest.mark.extra
pytest_plugins = ["browser"]


class Kernel(BaseComm):
    """The kernel's end of a widget: takes messages as it would, and keeps what is answered."""

    def __init__(self, widget: Panel) -> None:
        super().__init__()
        self.widget, self.sent = widget, []
        widget.comm = self

    def publish_msg(self, msg_type: str, data: Any = None, **about: Any) -> None:
        if msg_type == "comm_msg" and data["method"] in ("update", "echo_update"):
            self.sent.append(data["state"])

    def told(self, content: Any) -> list[dict[str, Any]]:
        """What is answered to a message."""
        data = {"method": "custom", "content": content}
        self.widget._handle_msg({"content": {"data": data}, "buffers": []})
        return self.answers()

    def answers(self) -> list[dict[str, Any]]:
        """What was answered since it was asked last."""
        found = self.sent[:]
        self.sent.clear()
        return found


# The Python side.


def test_bits_are_flipped_set_and_stepped_over() -> None:
    widget = hu.widgets.bits("1", "float16")
    kernel = Kernel(widget)
    (answer,) = kernel.told({"flip": "0"})
    assert answer["x"] == widget.x == "float16:0x3c01"
    assert answer["answered"] == 2
    assert 'data-code="0x3c01"' in answer["html"]
    kernel.told({"places": "0.1.2", "to": "1"})
    assert widget.record.code == "0x3c07"
    kernel.told({"places": "0.1", "to": "0"})
    assert widget.record.code == "0x3c04"
    kernel.told({"step": "-1"})
    assert (widget.record.code, str(widget.record.value)) == ("0x3c03", "1.0029296875")
    kernel.told({"go": "float16:0x7bff"})
    assert str(widget.record.value) == "65504"
    kernel.told({"into": "bfloat16"})
    assert (widget.format, widget.x, str(widget.record.value)) == (
        "bfloat16", "float16:0x7bff", "65536",
    )  # fmt: skip


def test_every_bit_of_every_format_can_be_flipped() -> None:
    for target in hu.formats():
        kernel = Kernel(hu.widgets.bits(f"{target}:{target.least_code}", target))
        for place in range(target.width):
            before = kernel.widget.record.number
            kernel.told({"flip": str(place)})
            assert kernel.widget.record.number == before ^ 1 << place


def test_fields_are_set_by_messages_and_from_python() -> None:
    widget = hu.widgets.bits(0.5)
    kernel = Kernel(widget)
    (answer,) = kernel.told({"x": "17/23"})
    assert answer["x"] == "17/23", "the page's model has to know it too"
    assert str(widget.record.given) == "17/23"
    widget.format = "float8_e4m3fn"
    (update, answer) = kernel.answers()
    assert update == {"format": "float8_e4m3fn"}
    assert str(widget.record.value) == "0.75"
    assert answer["html"] == widget.html
    widget.x = "0 1000 000"  # all bits
    assert widget.record.code == "0x40"


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ({"x": "<i>1,5</i>"}, "&#39;&lt;i&gt;1,5&lt;/i&gt;&#39; is no number: give a decimal"),
        ({"x": "1" * 401}, "x has 401 characters"),
        ({"format": "floot16"}, "unknown format &#39;floot16&#39;: did you mean"),
        ({"flip": "16"}, "float16 has no bit 16"),
        ({"flip": "first"}, "&#39;first&#39; is no place of a bit"),
        ({"places": "1.x", "to": "1"}, "&#39;x&#39; is no place of a bit"),
        ({"step": "9" * 30}, "step is"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(message: dict[str, str], sentence: str) -> None:
    widget = hu.widgets.bits("1", "float16")
    (answer,) = Kernel(widget).told(message)
    assert answer["html"].startswith('<p class="hu-note" role="alert">')
    assert sentence in answer["html"]
    assert widget.record is None
    widget.x, widget.format = "2", "float16"
    assert str(widget.record.value) == "2"


@pytest.mark.parametrize(
    "message", [None, [], "flip", {"flip": 3}, {"html": "<b>"}, {"answered": "9"}, {"nothing": "1"}]
)
def test_other_messages_change_nothing(message: Any) -> None:
    widget = hu.widgets.bits("1", "float16")
    before = widget.html
    (answer,) = Kernel(widget).told(message)
    assert answer == {"answered": 2}, "it is answered, or the page would wait for ever"
    assert widget.html == before


def test_a_walk_follows_its_fields_and_the_slider() -> None:
    widget = hu.widgets.walk("1.125", "0.00041999", 100, "float16")
    kernel = Kernel(widget)
    nearest = widget.record.strategies[0]
    assert (str(nearest.final), nearest.lost, widget.share) == ("1.125", 100, "-0.25")
    kernel.told({"share": "1"})
    assert (widget.gradient, widget.share) == ("9.76562e-4", "1")
    assert widget.record.strategies[0].lost == 0
    kernel.told({"gradient": "-0.001", "steps": "1000"})
    assert widget.record.steps == 1000
    assert widget.share == "1", "a gap is twice its half, and as wide below 1.125 as above"
    kernel.told({"weight": "65504", "gradient": "32"})
    assert widget.share == "", "beyond the largest number there is no gap"
    kernel.told({"steps": "0"})
    assert f"give a whole number from 1 to {MOST_STEPS}" in widget.html


def test_widgets_take_what_the_functions_take() -> None:
    from fractions import Fraction

    import numpy as np

    assert hu.widgets.bits(np.float32(0.1), hu.format("float16")).x == str(
        hu.number(np.float32(0.1))
    )
    assert hu.widgets.bits(Fraction(1, 3)).x == "1/3"
    widget = hu.widgets.walk(1, -0.5, 3, "bfloat16", learning_rate="1e-3", gradient_format="none")
    found = hu.walk_all(1, -0.5, 3, "bfloat16", learning_rate="1e-3", gradient_format="none")
    assert widget.record == found
    fields = {name: getattr(hu.widgets.walk(), name) for name in DEFAULTS}
    assert fields == DEFAULTS


def test_widgets_speak_the_language_they_were_made_in() -> None:
    with use("zh"):
        widget = hu.widgets.walk()
    assert "权重" in widget.form
    widget.steps = "10"
    assert "权重" in widget.html


def test_where_there_is_no_kernel_the_widget_is_what_it_shows() -> None:
    widget = hu.widgets.bits("1.5", "float16")
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert "<button" not in data["text/html"]
    assert data["text/plain"] == str(widget.record)
    widget.x = "?"
    data, _ = widget._repr_mimebundle_()
    assert "is no number" in data["text/html"]
    assert data["text/plain"] == repr(widget) == "BitsPanel(x='?', format='float16')"


def test_without_anywidget_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['anywidget'] = None\n"
        "import halfulp as hu\n"
        "try: hu.widgets\n"
        "except hu.HalfulpError as error: print(error)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == (
        "halfulp.widgets needs anywidget, which is not installed: pip install 'halfulp[notebook]'"
    )


# The page's side: the real module, in a browser, with a real widget behind it.

# What anywidget gives to render: updates arrive whole, and fire for each name that changed.
MODEL = """
window.shows = async (name, source, css, state) => {
  const listeners = {};
  const model = {
    get: (key) => state[key],
    set: (key, value) => { state[key] = value; },
    save_changes: () => {},
    on: (event, callback) => { (listeners[event] ??= []).push(callback); },
    off: (event, callback) => {
      listeners[event] = (listeners[event] ?? []).filter((one) => one !== callback);
    },
    send: async (content) => {
      window.sent.push(content);
      const updates = await window.toKernel(name, content);
      await window.held; // a kernel that is slow
      model.receive(updates);
    },
    receive: (updates) => {
      for (const update of updates) {
        const changed = Object.keys(update).filter((key) => state[key] !== update[key]);
        Object.assign(state, update);
        for (const key of changed) for (const f of listeners[`change:${key}`] ?? []) f();
      }
    },
  };
  window.sent ??= [];
  window.models = { ...window.models, [name]: model };
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const el = document.createElement("div");
  el.id = name;
  document.body.append(el);
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: module } = await import(url);
  window.cleanup = await module.render({ model, el });
};
"""

Show = Callable[..., Page]


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Put widgets on a page, with their kernels; names are those of the elements."""
    context = browser.new_context(viewport={"width": 900, "height": 900})
    page = context.new_page()
    kernels: dict[str, Kernel] = {}
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url))
    page.expose_function("toKernel", lambda name, content: kernels[name].told(content))
    page.set_content("<!doctype html><title>notebook</title><main><p>before</p></main>")
    page.add_script_tag(content=MODEL)

    def shown(**widgets: Panel) -> Page:
        for name, widget in widgets.items():
            kernels[name] = Kernel(widget)
            state = {
                key: value
                for key, value in widget.get_state().items()
                if isinstance(value, (str, int))
            }
            script = "([name, source, css, state]) => window.shows(name, source, css, state)"
            page.evaluate(script, [name, widget._esm, widget._css, state])
        return page

    yield shown
    assert [text for text in wrong if not text.startswith("blob:")] == []
    context.close()


def push(page: Page, name: str, widget: Panel) -> None:
    """Send to the page what Python changed by itself."""
    page.evaluate(
        "([name, updates]) => window.models[name].receive(updates)", [name, widget.comm.answers()]
    )


def cell(page: Page, place: int) -> Any:
    return page.locator(f"button[name=flip][value='{place}']")


def has_focus(locator: Any) -> bool:
    return locator.evaluate("element => element === document.activeElement")


def test_a_click_on_a_bit_flips_it_and_keeps_the_focus(show: Show) -> None:
    widget = hu.widgets.bits("1", "float16")
    page = show(bits=widget)
    cell(page, 9).click()
    expect(page.locator("[data-row=value]")).to_contain_text("1.5")
    expect(page.locator("input[name=x]")).to_have_value("float16:0x3e00")
    assert widget.record.code == "0x3e00"
    assert has_focus(cell(page, 9))
    page.keyboard.press("Space")
    expect(page.locator("[data-row=code]")).to_contain_text("0x3c00")
    assert page.evaluate("window.sent") == [{"flip": "9"}, {"flip": "9"}]


def test_arrows_lead_along_the_number_line(show: Show) -> None:
    widget = hu.widgets.bits("1", "float16")
    page = show(bits=widget)
    cell(page, 3).focus()
    page.keyboard.press("ArrowUp")
    expect(page.locator("[data-row=code]")).to_contain_text("0x3c01")
    assert has_focus(cell(page, 3))
    page.locator("input[name=x]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    expect(page.locator("input[name=x]")).to_have_value("float16:0x3bfe")
    page.get_by_role("button", name="one ulp up").click()
    expect(page.locator("[data-row=code]")).to_contain_text("0x3bff")


def test_dragging_sets_what_it_crosses(show: Show) -> None:
    widget = hu.widgets.bits("1", "float16")
    page = show(bits=widget)
    boxes = [cell(page, place).bounding_box() for place in (6, 5, 4)]
    middle = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    page.mouse.move(*middle[0])
    page.mouse.down()
    for place in middle[1:]:
        page.mouse.move(*place, steps=6)
    page.mouse.move(middle[-1][0], middle[-1][1] + 400)  # and ends outside
    page.mouse.up()
    expect(page.locator("[data-row=code]")).to_contain_text("0x3c70")
    assert page.evaluate("window.sent") == [{"places": "6.5.4", "to": "1"}]
    cell(page, 0).click()  # a click after it is one again
    expect(page.locator("[data-row=code]")).to_contain_text("0x3c71")


def test_typing_shows_the_result_and_leaves_the_field_alone(show: Show) -> None:
    widget = hu.widgets.bits("1", "float16")
    page = show(bits=widget)
    field = page.locator("input[name=x]")
    field.fill("")
    field.press_sequentially("0.1", delay=5)
    expect(page.locator("[data-row=value]")).to_contain_text("0.0999755859375")
    expect(field).to_have_value("0.1")
    assert has_focus(field)
    assert len(page.evaluate("window.sent")) < 3, "keys are gathered"
    field.fill("one half")
    expect(page.get_by_role("alert")).to_contain_text("'one half' is no number")
    field.fill("1/2")
    expect(page.locator("[data-row=code]")).to_contain_text("0x3800")
    page.locator("input[name=format]").fill("bfloat16")
    expect(page.locator("[data-row=code]")).to_contain_text("0x3f00")
    page.get_by_role("button", name="float8_e4m3fn", exact=True).click()
    expect(page.locator("input[name=format]")).to_have_value("float8_e4m3fn")
    expect(page.locator("button.hu-cell")).to_have_count(8)


def test_the_slider_writes_the_gradient_and_draws_the_walk(show: Show) -> None:
    widget = hu.widgets.walk("1.125", "0.00041999", 100, "float16")
    page = show(walk=widget)
    lost = page.locator("tr[data-strategy=nearest]")
    expect(lost).to_have_attribute("data-lost", "100")
    before = page.locator(".hu-trajectories polyline").first.get_attribute("points")
    slider = page.get_by_role("slider")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("0.25")
    expect(lost).to_have_attribute("data-lost", "0")
    expect(page.locator("input[name=gradient]")).to_have_value("5.80668e-4")
    assert has_focus(slider)
    assert page.locator(".hu-trajectories polyline").first.get_attribute("points") != before
    page.locator("input[name=weight]").fill("65504")
    expect(slider).to_be_disabled()
    page.locator("input[name=steps]").fill("many")
    expect(page.get_by_role("alert")).to_contain_text("steps is 'many'")


def test_a_slow_kernel_is_asked_for_the_last_of_what_was_moved_and_typed(show: Show) -> None:
    widget = hu.widgets.walk("1.125", "0.00041999", 100, "float16")
    page = show(walk=widget)
    page.evaluate("() => { window.held = new Promise((free) => { window.free = free; }); }")
    page.get_by_role("slider").focus()
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.locator("input[name=steps]").fill("2000")
    page.wait_for_timeout(300)
    assert page.evaluate("window.sent") == [{"share": "-0.125"}]
    page.evaluate("window.free()")
    expect(page.locator(".hu-walk")).to_contain_text("after 2000 steps")
    assert page.evaluate("window.sent") == [
        {"share": "-0.125"}, {"share": "0.5"}, {"steps": "2000"},
    ]  # fmt: skip
    expect(page.locator("input[name=steps]")).to_have_value("2000")
    assert widget.share == "0.5"


def test_two_widgets_on_a_page_do_not_meet(show: Show) -> None:
    one, other = hu.widgets.bits("1", "float16"), hu.widgets.bits("2", "float16")
    page = show(one=one, other=other)
    page.locator("#other").locator("button[name=flip][value='0']").click()
    expect(page.locator("#other [data-row=code]")).to_contain_text("0x4001")
    expect(page.locator("#one [data-row=code]")).to_contain_text("0x3c00")
    twice = "() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);"
    assert page.evaluate(twice + " return ids.filter((id, i) => ids.indexOf(id) !== i); }") == []


def test_what_python_sets_is_shown(show: Show) -> None:
    widget = hu.widgets.bits("1", "float16")
    page = show(bits=widget)
    widget.x = "-2"
    push(page, "bits", widget)
    expect(page.locator("input[name=x]")).to_have_value("-2")
    expect(page.locator("[data-row=value]")).to_contain_text("-2")
    page.evaluate("window.cleanup()")
    widget.x = "3"
    push(page, "bits", widget)
    expect(page.locator("[data-row=value]")).to_contain_text("-2")


def test_keys_stay_in_the_widget(show: Show) -> None:
    page = show(bits=hu.widgets.bits("1", "float16"))
    page.evaluate("document.addEventListener('keydown', (e) => { window.heard = e.key; })")
    cell(page, 0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("d")
    assert page.evaluate("window.heard") is None
    page.keyboard.press("Control+s")
    assert page.evaluate("window.heard") == "s"
    assert page.locator("#bits").get_attribute("data-lm-suppress-shortcuts") == "true"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_widgets_can_be_used_by_everybody(show: Show, theme: str) -> None:
    page = show(bits=hu.widgets.bits("1.12156456132"), walk=hu.widgets.walk())
    page.evaluate("theme => { document.body.className = `vscode-${theme}`; }", theme)
    page.evaluate(
        "theme => { document.body.style.background = theme === 'dark' ? '#111' : '#fff' }", theme
    )
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa"]}, context="#bits, #walk")
    assert [
        (v["id"], [n["html"][:120] for n in v["nodes"]])
        for v in found.response["violations"]
        if v["id"] not in ("html-has-lang",)
    ] == []
