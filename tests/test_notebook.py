"""Results in notebooks: well-formed HTML whose styles stay at home, with Jinja and without it."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from fractions import Fraction
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser

import halfulp as hu
from halfulp.explanations.base_steps import base_conversion
from halfulp.explanations.bits import bits_sheet
from halfulp.explanations.code_table import CodeTable
from halfulp.explanations.columns import columns
from halfulp.explanations.density import Density
from halfulp.explanations.formats import CatalogueTable, FormatSheet
from halfulp.explanations.markup import environment, markup, style_sheet
from halfulp.explanations.page import STYLE_SHEET, WIDTH
from halfulp.explanations.ranges import Ranges
from halfulp.language import use
from halfulp.loss_scales.shares import scale_shares
from halfulp.loss_scales.sources import of_array
from halfulp.records import PLAIN, Record
from halfulp.runs.glance import glance
from halfulp.runs.scale_window import windows
from halfulp.training import attribute, compare, lint, memory, recipe, watch
from html_reader import Reader

pytestmark = pytest.mark.extra
pytest_plugins = ["browser"]

EVIL = """<script>alert("1")</script>&'"""


# One of every record that has a page of its own, as users get it.


def build(seed: int) -> hu.training.Experiment:
    model = torch.nn.Linear(4, 1)
    data = [(torch.ones(2, 4), torch.ones(2, 1))] * 3
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    return hu.training.Experiment(model, optimizer, data, torch.nn.functional.mse_loss)


def watched() -> Iterator[Record]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    with watch(model, optimizer, every=1) as watcher:
        for _ in range(2):
            model(torch.ones(8, 4)).sum().backward()
            optimizer.step()
    yield watcher.findings()
    yield glance(watcher.run)
    yield windows(watcher.run)


def linted() -> Record:
    made = build(0)
    return lint(made.model, made.optimizer, batches=made.batches, loss=made.loss)


@cache
def results() -> tuple[Record, ...]:
    x = np.float32([1.0, 0.1, 1e-9, 70000.0])
    walk = ("1.125", "0.00041999", 100, "float16")
    return (
        hu.explain("1.12156456132", via=["float32", "float16"]),
        hu.explain("nan", to="float16"), hu.explain("1e9", to=["float16"]), hu.explain("2049", to=["float16"]),
        hu.explain_operation("add", "1.125:float16", "0.12457275190625:float16"),
        hu.explain_operation("multiply", "-1.9:float16", "1.9:bfloat16"),
        hu.explain_operation("add", "inf:float16", "-inf:float16"),
        hu.walk_all(*walk), hu.walk_all("1", "2", 3, "float16", learning_rate="-1e-3"),
        hu.walk_all("65504", "65504", 3, "float16"), hu.walk(*walk), hu.walk("1", [0.5, "1/3"]),
        hu.walk(*walk, "master"), hu.walk(x[:2], 1e-4, 10, "float16"),
        hu.predict(*walk[:2], "float16", 10**6), hu.predict("1", "1", "float16"),
        *(bits_sheet(text, "float16") for text in ("1.12156456132", "nan", "-inf", "1e-9", "-0")),
        bits_sheet("0", "float8_e8m0fnu"), CatalogueTable.of(hu.formats()),
        *(FormatSheet.of(f) for f in hu.formats()), Density.of(hu.format("float16")),
        CodeTable.of(hu.format("float8_e4m3fn")), Ranges.of(["float16", "bfloat16"]),
        base_conversion("0.1", 10, 2), base_conversion("ff.8", 16, 10),
        hu.profile_diff("torch", "ml_dtypes", 1e6), hu.profile_diff("torch", "onnx", x),
        hu.tally(x, "float16", errors=True), hu.tally(x, ["float16", "bfloat16"]),
        hu.sum(x, "float16", report=True), hu.dot(x, x, report=True),
        hu.number("1/3"), hu.digits("1/7"), hu.format("float16"), hu.format("e5m10"),
        hu.block_format("nvfp4"), hu.encode(x, "mxfp4"), scale_shares(of_array("x", x)),
        compare(build, ["float32", "bfloat16-kahan"], seeds=[0, 1]),
        attribute(build, "pure-bfloat16"), memory(torch.nn.Linear(4, 4)), recipe("mixed-float16"),
        linted(), *watched(),
    )  # fmt: skip


def found_in(value: Any) -> Iterator[Record]:
    """A value and all records that it holds."""
    if isinstance(value, Record):
        yield value
        for field in fields(value):
            yield from found_in(getattr(value, field.name))
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from found_in(part)


@cache
def classes() -> tuple[type[Record], ...]:
    """Every class of records in the package."""
    for module in pkgutil.walk_packages(hu.__path__, "halfulp."):
        if not module.name.endswith("__main__") and ".adapters." not in module.name:
            importlib.import_module(module.name)
    todo, every = [Record], []
    while todo:
        for made in todo.pop().__subclasses__():
            todo.append(made)
            every.append(made)
    return tuple(c for c in every if c.__module__.startswith("halfulp.") and is_dataclass(c))


def filled(kind: Any) -> Any:
    """A value of a type, with texts that want to be markup."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return filled(next(part for part in parts if part is not NoneType))
    if origin is tuple:
        return tuple(filled(part) for part in parts if part is not Ellipsis)
    if origin is dict:
        return {filled(parts[0]): filled(parts[1])}
    if kind is hu.Format or kind is hu.BlockFormat:
        return hu.format("float16") if kind is hu.Format else hu.block_format("mxfp4")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if isinstance(kind, type) and issubclass(kind, Record):
        return example(kind)
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return kind(*(filled(get_type_hints(kind)[name]) for name in kind._fields))
    known = {int: 3, float: 0.5, str: EVIL, bool: True, Fraction: Fraction(1, 3), object: None}
    return known.get(kind, np.zeros((2, 3)))


@cache
def example(kind: type[Record]) -> Record:
    """A record of a class: a real one where results have it, else one of any values."""
    real = next((r for result in results() for r in found_in(result) if type(r) is kind), None)
    assert real or kind.renderer == PLAIN, f"{kind.__name__} has a page: add one to results()"
    hints = get_type_hints(kind)
    return real or kind(**{field.name: filled(hints[field.name]) for field in fields(kind)})


def test_every_result_is_well_formed_html() -> None:
    for record in results():
        reader = Reader.of(record._repr_html_())
        assert reader.tags[:2] == ["style", "div"], type(record).__name__
        assert not {"button", "input", "select"} & set(reader.tags), "nobody would answer"
        assert reader.ids == [], "the same result may be shown twice"
        assert len(reader.text.strip()) > 2


def test_every_class_of_records_is_well_formed_html() -> None:
    assert len(classes()) > 70
    for kind in classes():
        record = example(kind)
        reader = Reader.of(record._repr_html_())
        assert "<script>" not in record._repr_html_()
        assert "object at 0x" not in reader.text
        Reader.of(record.page().notebook())
        if kind.renderer == PLAIN:
            assert max(map(columns, record.page().plain().splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("Explanation", "input"), ("BitsSheet", "input"), ("BaseConversion", "input"),
        ("ProfileDiff", "subject"), ("Tally", "source"), ("Comparison", "target"),
        ("Memory", "optimizer"), ("Findings", "model"), ("Walk", "name"), ("Site", "name"),
    ],
)  # fmt: skip
def test_what_was_typed_is_no_markup(kind: str, field: str) -> None:
    every = (r for result in results() for r in found_in(result))
    found = next(r for r in every if type(r).__name__ == kind)
    reader = Reader.of(replace(found, **{field: EVIL})._repr_html_())
    assert "alert(" in reader.text, "it is there, as a text"


def test_text_is_what_str_says() -> None:
    """What IPython prints, and what notebooks keep beside the HTML."""
    from IPython.lib.pretty import pretty

    walk = hu.walk("1.125", "0.00041999", 100, "float16")
    for record in (hu.explain("0.1", to="float16"), walk, hu.number("1/3"), hu.format("float16")):
        assert pretty(record) == str(record)
    assert pretty([hu.number("0.5"), hu.format("float16")]) == "[0.5, float16]"
    assert "\n " in pretty([hu.explain("0.1", to="float16")]), (
        "lines of a list's element are indented"
    )


def test_templates_say_what_pages_say() -> None:
    """A result's numbers are the same by template and as text."""
    record = hu.walk_all("1.125", "0.00041999", 100, "float16")
    html, text = Reader.of(record._repr_html_()).text, str(record)
    for number in (
        "1.1670093536376953125",
        "0.000420093536376953125",
        "0.00048828125",
        "57 of 100",
    ):
        assert number in html
        assert number in text


def test_buttons_are_there_where_somebody_answers_them() -> None:
    for record in (bits_sheet("1", "float16"), CatalogueTable.of(hu.formats()),
                   CodeTable.of(hu.format("float4_e2m1fn"))):  # fmt: skip
        live = Reader.of(markup(record, live=True, prefix="a-"))
        still = Reader.of(markup(record))
        assert "button" in live.tags
        assert "button" not in still.tags
        assert all(name.startswith("a-") for name in live.ids)
    assert "click one" in markup(bits_sheet("1", "float16"), live=True)
    assert "click one" not in markup(bits_sheet("1", "float16"))


def test_every_template_is_of_a_record() -> None:
    names = {name for name in environment().list_templates() if not name.startswith("_")}
    known = {f"{kind.__name__}.html" for kind in classes()}
    assert {name for name in names if name.endswith(".html")} <= known


def test_results_speak_the_language_in_use() -> None:
    with use("zh"):
        html = hu.walk_all("1.125", "0.00041999", 100, "float16")._repr_html_()
    assert "权重" in html


# Styles.


def selectors(css: str) -> Iterator[str]:
    """Every selector of a style sheet, those within @media too."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r"@media[^{]*\{((?:[^{}]*\{[^{}]*\})*)[^{}]*\}", r"\1", css)
    for rule in re.findall(r"([^{}]+)\{[^{}]*\}", css):
        yield rule.strip()


@pytest.mark.parametrize("sheet", ["page", "templates", "widgets"])
def test_every_rule_is_about_our_results_alone(sheet: str) -> None:
    from halfulp.widgets import Panel

    css = {"page": STYLE_SHEET, "templates": style_sheet(), "widgets": Panel._css}[sheet]
    found = list(selectors(css))
    assert len(found) > 8
    for selector in found:
        outside_brackets = re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "()", selector)
        for one in outside_brackets.split(","):
            assert re.match(r"(:is\(\) )?\.hu-record\b", one.strip()), selector


HOST = """<!doctype html><html lang="en"><head><title>notebook</title></head><body>
<h3>heading</h3><p>text <code>code</code></p><pre>pre</pre><dl><dt>term</dt><dd>what</dd></dl>
<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>
<button>press</button><ol><li>one</li></ol><svg width="10" height="10"><line x2="9"/></svg>
<div id="here"></div></body></html>"""

STYLES = """() => [...document.querySelectorAll('body, body > :not(#here), body > :not(#here) *')]
  .map((e) => { const s = getComputedStyle(e); return [...s].map((n) => s.getPropertyValue(n)).join(); })"""


def test_the_page_around_results_stays_as_it_was(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(HOST)
    page.evaluate("document.getElementById('here').style.height = '2000px'")
    before = page.evaluate(STYLES)
    html = "".join(record._repr_html_() for record in results()[:12])
    page.evaluate("html => { document.getElementById('here').innerHTML = html; }", html)
    assert page.evaluate(STYLES) == before
    assert len(before) > 15
    page.close()


@pytest.mark.parametrize("system", ["light", "dark"])
@pytest.mark.parametrize(
    ("around", "dark"),
    [
        ("", None),
        ('<body data-jp-theme-light="true">', False),
        ('<body data-jp-theme-light="false">', True),
        ('<body class="vscode-light">', False),
        ('<body class="vscode-dark">', True),
        ('<body class="vscode-high-contrast">', True),
        ('<body class="vscode-high-contrast vscode-high-contrast-light">', False),
        ('<html theme="dark"><body>', True),
        ('<html data-theme="dark"><body>', True),
        ('<html data-theme="light"><body>', False),
    ],
)
def test_results_take_the_theme_of_the_notebook(
    browser: Browser, system: Any, around: str, dark: bool | None
) -> None:
    page = browser.new_page(color_scheme=system)
    for html in (
        hu.explain("0.1", to="float16")._repr_html_(),
        hu.explain("0.1", to="float16").page().notebook(),
    ):
        page.set_content(f"<!doctype html>{around}{html}")
        colours = page.evaluate(
            "() => { const s = getComputedStyle(document.querySelector('.hu-record'));"
            " return [s.color, s.backgroundColor]; }"
        )
        expected = ["rgb(28, 32, 36)", "rgb(255, 255, 255)"]
        if dark or (dark is None and system == "dark"):
            expected = ["rgb(230, 233, 236)", "rgb(20, 23, 26)"]
        assert colours == expected
    page.close()


# Without Jinja.


@pytest.mark.parametrize("hidden", ["jinja2", "markupsafe"])
def test_without_jinja_results_are_pages_of_text(hidden: str) -> None:
    code = (
        f"import sys; sys.modules[{hidden!r}] = None\n"
        "import halfulp as hu\n"
        "for r in (hu.explain('0.1', to='float16'), hu.walk('1', '1e-4', 9), hu.format('float16'),\n"
        "          hu.number('1/3'), hu.block_format('mxfp4'), hu.walk('1', '1e-4', 9).update):\n"
        "    print(r._repr_html_())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Reader.of(ran.stdout).tags.count("pre") == 6
    assert 'class="hu-steps"' in ran.stdout
    assert "0.0999755859375" in ran.stdout


def test_other_missing_modules_are_not_taken_for_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "halfulp.explanations.markup"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2.runtime", None)
    with pytest.raises(ModuleNotFoundError):
        hu.number("1")._repr_html_()
