"""Languages: every text is translated and keeps its values, lines fit, and no choice leaks."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
from chinese import check, width
from halfulp.cli.app import COMMANDS, run
from halfulp.errors import HalfulpError
from halfulp.explanations.columns import CLOSING, OPENING, columns, cut, padded, wrapped
from halfulp.explanations.page import Page, woven
from halfulp.language import (
    LANGUAGES,
    chosen,
    from_environment,
    from_header,
    in_context,
    joined,
    plural,
    spoken,
    told,
    told_many,
    translate,
    use,
)

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "src" / "halfulp"
CATALOGUE = SOURCES / "locale" / "zh" / "LC_MESSAGES" / "halfulp.po"

Text = str | tuple[str, str]  # or the one and the many


# What is marked, and the catalogue.


def marked(tree: ast.AST) -> Iterator[list[ast.expr]]:
    """What is marked as text, in Python: one expression, or the one and the many."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("_", "N_", "told"):
                yield node.args
            if node.func.id in ("plural", "told_many") and len(node.args) == 3:
                yield node.args[:2]


class Missing(NullTranslations):
    def gettext(self, message: str) -> str:
        return ""

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return ""


def translations() -> GNUTranslations:
    """What is loaded, which answers nothing to what it does not have."""
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        found = GNUTranslations(file)
    found.add_fallback(Missing())
    return found


PYTHON = {path: ast.parse(path.read_text()) for path in sorted(SOURCES.rglob("*.py"))}


def test_every_text_in_python_is_translated() -> None:
    catalogue, found, missing = translations(), 0, set()
    for tree in PYTHON.values():
        for parts in marked(tree):
            texts = [part.value for part in parts if isinstance(part, ast.Constant)]
            made = catalogue.gettext(*texts) if len(texts) == 1 else "a constant, marked elsewhere"
            made = catalogue.ngettext(*texts, 2) if len(texts) == 2 else made
            found += bool(texts)
            if not made:
                missing.add(texts[0])
    assert not missing, "make translations, and translate what is new in the .po"
    assert found > 150


def test_every_mark_is_seen() -> None:
    """Extraction does not look into f-strings; and values are filled in after translation."""
    for path, tree in PYTHON.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                texts = [p.value for parts in marked(node) for p in parts if hasattr(p, "value")]
                texts = [text for text in texts if isinstance(text, str)]
                assert not texts, f"{path}:{node.lineno}: a text within an f-string"
        for text, *_ in marked(tree):
            filled = isinstance(text, (ast.JoinedStr, ast.BinOp))
            assert not filled, f"{path}:{text.lineno}: fill values in by .format, after _()"


def read_catalogue() -> Any:
    from babel.messages.pofile import read_po

    with CATALOGUE.open("rb") as file:
        return read_po(file, locale="zh")


def extracted() -> set[Text]:
    """What ``make translations`` finds: in templates, too."""
    from babel.messages.extract import extract_from_dir

    mappings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(m["pattern"], m["method"]) for m in mappings]
    options = {m["pattern"]: m for m in mappings}
    several = {"plural": (1, 2), "told_many": (1, 2), "in_context": ((1, "c"), 2)}
    keywords = {"_": None, "N_": None, "told": None, **several}
    found = extract_from_dir(str(SOURCES), methods, options, keywords)
    return {message for _, _, message, _, _ in found}


@pytest.mark.extra
def test_the_catalogue_is_what_the_sources_and_templates_say() -> None:
    kept = {m.id if isinstance(m.id, str) else tuple(m.id): m for m in read_catalogue() if m.id}
    assert set(kept) == extracted(), "make translations, and translate what is new in the .po"
    for message in read_catalogue():  # some texts stand in several contexts
        made = [message.string] if isinstance(message.string, str) else message.string
        assert all(made) or not message.id, message.id
        assert not message.fuzzy or not message.id, message.id


def fields(text: str) -> set[str]:
    """Placeholders: {x} with what belongs to it, and %(x)s."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError:  # a brace that stands for itself, in a text that nothing is filled into
        parts = []
    braces = {f"{{{name}!{kind}:{spec}}}" for _, name, spec, kind in parts if name is not None}
    return braces | set(re.findall(r"%\(\w+\)[a-z]", text))


@pytest.mark.extra
def test_translations_keep_the_values_and_the_punctuation() -> None:
    for message in read_catalogue():
        if not message.id:
            continue
        single = isinstance(message.id, str)
        text = message.id if single else message.id[1]
        made = message.string if single else message.string[0]
        assert fields(made) == fields(text), text
        lead = re.match(r"(  +)?", text)  # one space alone parts sentences, which Chinese does not
        assert re.match(r"(  +)?", made).group() == lead.group(), text
        assert not re.search(r"[\u4e00-\u9fff][,;:.?!(]", made), made  # Chinese has its own


@pytest.mark.extra
def test_the_loaded_catalogue_is_the_committed_one() -> None:
    from io import BytesIO

    from babel.messages.mofile import write_mo

    compiled = BytesIO()
    write_mo(compiled, read_catalogue())
    compiled.seek(0)
    fresh, kept = GNUTranslations(compiled)._catalog, translations()._catalog
    assert {k: v for k, v in fresh.items() if k} == {k: v for k, v in kept.items() if k}


# The choice of a language.


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"), ("zh", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("ZH-hans", "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"), ("en;q=0.3, zh;q=0.7", "zh"), ("de,fr;q=0.9", "en"),
        ("de, zh;q=0.1", "zh"), ("*", "en"), ("zh;q=0", "en"), ("zh;q=0.5, *;q=0.1", "zh"),
        ("zh;q=nan", "en"), ("zh;q=2", "en"), ("zh;q=x, en;q=0.1", "en"), ("zh;level=1", "en"),
        ("zhx", "en"), (",;=,q=1;zh", "en"), ("zh ; q = 0.5", "zh"),
    ],
)  # fmt: skip
def test_headers_are_negotiated(header: str, language: str) -> None:
    assert from_header(header) == language


@given(st.text() | st.from_regex(r"((zh|en|\*)(-[A-Z]+)?(;q=[0-9.]+)?,? ?)*", fullmatch=True))
def test_any_header_is_answered(header: str) -> None:
    assert from_header(header) in LANGUAGES


ENVIRONMENTS = [
    ({}, "en"), ({"LANG": "C"}, "en"), ({"LANG": "en_US.UTF-8"}, "en"), ({"LANG": "de_DE"}, "en"),
    ({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LANG": "zh_TW"}, "zh"), ({"LANG": ""}, "en"),
    ({"LC_ALL": "C", "LANG": "zh_CN"}, "en"), ({"LC_MESSAGES": "zh_CN", "LANG": "en_US"}, "zh"),
    ({"LANGUAGE": "zh", "LC_ALL": "en_US"}, "zh"), ({"LANGUAGE": "", "LANG": "zh_CN"}, "zh"),
    ({"LANGUAGE": "de:zh:en"}, "zh"), ({"LANGUAGE": "en:zh"}, "en"), ({"LC_CTYPE": "zh_CN"}, "en"),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "language"), ENVIRONMENTS)
def test_environments_are_understood(environment: dict[str, str], language: str) -> None:
    assert from_environment(environment) == language


@given(st.dictionaries(st.sampled_from(["LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"]), st.text()))
def test_any_environment_is_answered(environment: dict[str, str]) -> None:
    assert from_environment(environment) in LANGUAGES


def test_a_language_holds_within_its_block_and_thread() -> None:
    seen: list[str] = []
    with use("zh"):
        assert (chosen(), translate("weight")) == ("zh", "权重")
        with use("en"):
            assert translate("weight") == "weight"
        assert chosen() == "zh"
        other = threading.Thread(target=lambda: seen.append(chosen()))
        other.start()
        other.join()
    assert (seen, chosen()) == (["en"], "en")
    with pytest.raises(ZeroDivisionError), use("zh"):
        1 / 0  # noqa: B018
    assert chosen() == "en"
    with pytest.raises(HalfulpError, match="unknown language 'fr': known are en, zh"), use("fr"):
        pass


def test_what_the_catalogue_lacks_stays_as_it_is() -> None:
    with use("zh"):
        assert translate("no such text") == "no such text"
        assert translate("") == ""
        assert plural("{n} such text", "{n} such texts", 2).format(n=2) == "2 such texts"
    assert plural("one", "many", 1) == "one"
    assert plural("one", "many", 0) == "many"


# The command line.


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of languages."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 0
    return capsys.readouterr().out


EXPLAIN = ("explain", "1.12156456132", "--to", "float16")


def test_lang_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    english = printed(capsys, *EXPLAIN)
    chinese = printed(capsys, "--lang", "zh", *EXPLAIN)
    assert "because" in english
    assert "原因" in chinese
    assert printed(capsys, *EXPLAIN, "--lang", "zh") == chinese
    assert printed(capsys, "explain", "--lang=zh", *EXPLAIN[1:]) == chinese
    assert printed(capsys, "--lang", "zh", *EXPLAIN, "--lang", "en") == english
    assert printed(capsys, "--lang", "en", *EXPLAIN, "--lang", "zh") == chinese
    assert "次正规数" in printed(capsys, "explain", "--lang", "zh", "-2^-24", "--to", "float16")


def test_the_language_does_not_outlive_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    english = printed(capsys, *EXPLAIN)
    for arguments in (
        ("--lang", "zh", *EXPLAIN), (*EXPLAIN, "--lang", "zh"), ("explain", "x", "--lang", "zh"),
        ("--lang", "zh", "explain", "--no-such-option"), ("--lang", "zh", "--no-such-option"),
        ("--lang", "zh", "explain", "1", "--lang", "zh"), ("--lang", "zh"),
    ):  # fmt: skip
        run(list(arguments))
        capsys.readouterr()
        assert chosen() == "en"
        assert printed(capsys, *EXPLAIN) == english


@pytest.mark.parametrize("arguments", [("--lang", "fr", *EXPLAIN), (*EXPLAIN, "--lang", "fr")])
def test_a_wrong_language_is_said(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert run(list(arguments)) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert "'fr' is not one of 'en', 'zh'" in found.err


def test_every_command_has_the_option_once(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        if command not in ("compare", "demo", "lint", "memory", "watch", "report", "lab"):
            for _ in range(2):
                assert printed(capsys, command, "--help").count("--lang") == 1
    assert printed(capsys, "--help").count("--lang") == 1


@pytest.mark.parametrize(("environment", "language"), ENVIRONMENTS)
def test_the_environment_is_the_default(
    capsys: pytest.CaptureFixture[str], bare: pytest.MonkeyPatch, environment: dict[str, str],
    language: str,
) -> None:  # fmt: skip
    for name, value in environment.items():
        bare.setenv(name, value)
    assert ("原因" in printed(capsys, *EXPLAIN)) == (language == "zh")
    assert "because" in printed(capsys, *EXPLAIN, "--lang", "en")


def test_json_is_the_same_in_every_language(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        (*EXPLAIN, "--json"), ("add", "1:float16", "2:float16", "--json"), ("formats", "--json"),
        ("formats", "float16", "--json"), ("digits", "1/3", "--json"),
        ("walk", "--weight", "1", "--gradient", "0.1", "--steps", "3", "--json"),
        ("explain", "1e6", "--profile", "torch", "--against", "ml_dtypes", "--json"),
    ):  # fmt: skip
        assert printed(capsys, *arguments, "--lang", "zh") == printed(capsys, *arguments)


def test_english_imports_no_gettext() -> None:
    code = (
        "import halfulp as hu, sys; print(hu.explain('1.1', to='float16'));"
        "from halfulp.language import plural; plural('a', 'b', 2);"
        "print('gettext' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert ran.stdout.splitlines()[-1] == "False"


# Chinese on a terminal.

SHOWN = [
    ("explain", "1.12156456132", "--via", "float32", "--to", "float16"),
    ("explain", "-1.1", "--to", "float16"), ("explain", "-inf", "--to", "float16"),
    ("explain", "nan", "--via", "float64,float32", "--to", "float16,float8_e4m3fn"),
    ("explain", "1/3", "--to", "e11m100"), ("explain", "1e300", "--to", "float64"),
    ("explain", "1.12548828125", "--to", "float16"), ("explain", "3", "--to", "float8_e8m0fnu"),
    ("explain", "2^-25", "--to", "float16"), ("explain", "-3.5", "--to", "float8_e8m0fnu"),
    ("explain", "1.00048828218", "--via", "float32", "--to", "float16"),
    ("explain", "1e6", "--to", "float16", "--rounding", "toward_zero"),
    ("explain", "5e-8", "--to", "float16", "--rounding", "toward_zero"),
    ("explain", "1.1", "--to", "float16", "--rounding", "to_odd"),
    ("explain", "2^-130", "--to", "float8_e8m0fnu"),
    ("add", "1.125:float16", "0.12457275190625:float16"), ("add", "--in", "float16", "-1", "-2"),
    ("add", "1.1:float64", "1e-5:float32"), ("add", "1e30:float32", "1e-20:float32"),
    ("add", "1.5:float16", "-1.499:float16"), ("add", "inf:float16", "-inf:float16"),
    ("multiply", "1.9:float16", "-1.9:float16"),
    ("walk", "--weight", "1.125", "--gradient", "0.00041999", "--steps", "100"),
    ("walk", "--weight", "-1", "--gradient", "-0.1", "--steps", "3", "--learning-rate", "0.1"),
    ("walk", "--weight", "1e300", "--gradient", "1e-300", "--steps", "3", "--format", "float64"),
    ("walk", "--weight", "65000", "--gradient", "40", "--steps", "30"),
    ("walk", "--weight", "1", "--gradient", "0", "--steps", "3"),
    ("formats",), ("formats", "float16"), ("formats", "float8_e8m0fnu"), ("formats", "e15m112"),
    ("digits", "0.1", "--base", "2"),
    ("explain", "1e6", "--profile", "torch", "--against", "ml_dtypes"),
    ("explain", "0", "--profile", "halfulp", "--against", "onnx"),
]  # fmt: skip


@pytest.mark.parametrize("arguments", SHOWN)
def test_chinese_fits_and_is_chinese(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    check(printed(capsys, *arguments, "--lang", "zh"))


def test_chinese_records_fit() -> None:
    import numpy as np

    x = np.array([1e6, 1.1, np.nan, 448.0, 0, -3, 1e-9], "float32")
    with use("zh"):
        for record in (
            hu.tally(x, "float16", errors=True), hu.tally(x, ["float16", "bfloat16"], errors=True),
            hu.profile_diff("torch", "ml_dtypes", x), hu.profile_diff("torch", "jax", x[:1]),
            hu.predict("1.125", "0.00041999", "float16", 5000), hu.predict(1, 0, "float16"),
            hu.predict("65000", "40", "float16", 10**6), hu.predict(1, "1e-9", "float32", 1),
        ):  # fmt: skip
            check(str(record))


@pytest.mark.extra
def test_chinese_trainings_fit() -> None:
    """Comparisons, lints and memory, of which JSON is English all the same."""
    import torch

    from halfulp.training import RECIPES, attribute, compare, lint, memory
    from halfulp.training.linting.records import Lint

    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)).half()
    model[1].bias.requires_grad_(False)
    optimizer = torch.optim.AdamW([*model.parameters(), torch.ones(3)], lr=1e-5)
    by_size = torch.optim.SGD(model.parameters(), lr=1e-7)

    def made() -> list[Any]:
        return [
            compare("digits", ["float32", "mixed-float16"], seeds=(1, 2), steps=3),
            compare("gpt", ["float32"], steps=1),
            attribute("digits", "pure-bfloat16", steps=3, seeds=(1, 2)),
            memory("7b"), memory(model, optimizer="adafactor"), memory(10, optimizer="adafactor"),
            lint(model, optimizer, formats=["bfloat16", "float8_e5m2"], steps=3),
            lint(model, by_size, gradients=[[torch.ones_like(p) for p in model.parameters()]],
                 schedule=lambda step: step % 3, steps=9),
            lint(model, by_size),
        ]  # fmt: skip

    names = {*re.findall("[a-z]+", " ".join(RECIPES)), "digits", "gpt", "adamw", "adafactor", "Adafactor",
             "AdamW", "SGD", "Linear", "Sequential", "KiB", "GiB", "MiB"}  # fmt: skip
    arguments = {"False", "eps", "betas", "lr", "dtype", "batches", "loss", "gradients", "backward"}
    for record in (english := made()):
        with use("zh"):
            text = re.sub(r"^\S+  [a-z0-9-]+$", "", str(record), flags=re.MULTILINE)  # rules' names
        check(text, *names, *(arguments if isinstance(record, Lint) else ()))
    with use("zh"):
        pairs = zip(english, made(), strict=True)
    for one, other in pairs:
        assert untimed(one) == untimed(other)


def untimed(record: Any) -> str:
    return re.sub(r'"seconds": [0-9.e-]+', "", record.to_json())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("explain", "1", "--to", "floot16"), "未知的格式 'floot16'：您是指 float16"),
        (("explain", "1..5", "--to", "float16"), "'1..5' 不是数：请给出小数如 1.5"),
        (("explain", "1/0", "--to", "float16"), "'1/0' 除以了零"),
        (("digits", "12", "--base", "99"), "不支持 99 进制：只能是 2 到 36"),
        (("add", "1", "2"), "操作数没有指定运算的格式"),
        (("add", "1:float8_e5m2", "1:float64", "--promotion", "jox"), "未知的类型提升规则 'jox'"),
        (("scale", "nothing"), "没有梯度 'nothing'：请给出"),
        (("report", "nothing.db"), "没有日志 nothing.db：请给出由 halfulp.training.watch"),
    ],
)
def test_mistakes_are_said_in_chinese(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run([*arguments, "--lang", "zh"]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n")) == ("", 1)
    assert says in found.err


def test_what_was_told_is_spoken_later() -> None:
    kept = told(
        "{names} or {last}", names=told("weight"), last=told_many("{n} zero", "{n} zeros", 2)
    )
    copy = pickle.loads(pickle.dumps(kept))
    assert kept == copy == "weight or 2 zeros"
    assert spoken("weight") == "weight"
    with use("zh"):
        assert spoken(kept) == spoken(copy) == "权重 或 2 zeros"
        assert spoken(joined(["a", told("weight")], told("; "))) == "a；权重"
        assert str(kept) == "weight or 2 zeros"
        assert json.dumps({"x": kept}) == '{"x": "weight or 2 zeros"}'
        assert (in_context("severity", "error"), translate("error")) == ("错误", "误差")
    assert (spoken(kept), in_context("severity", "error")) == ("weight or 2 zeros", "error")


def test_pages_line_up_in_columns() -> None:
    page = Page()
    page.labelled("weight", "1.5")
    page.labelled("权重", "1.5")
    page.labelled("一个很长的标签", "1.5")
    page.table(["数", "value"], [["最大数", "12"], ["one", "7"]], right="1")
    lines = page.plain().splitlines()
    assert lines[:3] == ["  weight     1.5", "  权重       1.5", "  一个很长的标签 1.5"]
    assert lines[3:] == ["  数      value", "  最大数     12", "  one         7"]
    assert page.html().count('<span class="hu-wide">') == 4


def test_sentences_are_woven() -> None:
    parts = woven("{b}，{a}（{a}）", "dim", a="x", b=("y", "title"))
    assert parts == [("y", "title"), ("，", "dim"), ("x", "dim"), ("（", "dim"), ("x", "dim"), ("）", "dim")]  # fmt: skip


TEXTS = st.text(st.sampled_from("abc 1.5权重更新，。：（）“”≈→"), max_size=120)


@given(TEXTS, st.integers(2, 40))
def test_wrapping_loses_nothing_and_fits(text: str, most: int) -> None:
    lines = wrapped(text, most)
    assert all(width(line) <= most for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


@given(TEXTS)
def test_lines_break_where_chinese_may(text: str) -> None:
    runs = re.findall(rf"[{OPENING}{CLOSING}a-z0-9.]+", text)
    if text.isascii() or any(width(piece) > 30 for piece in runs):
        return  # what is too long is broken anywhere
    spaced = [piece for piece in text.split(" ") if piece]
    for line in wrapped(text, 40)[1:]:
        begins_so = any(piece.startswith(line[0]) for piece in spaced)
        assert line[0] not in CLOSING or begins_so


@given(TEXTS, st.integers(1, 40))
def test_cutting_and_padding_count_columns(text: str, most: int) -> None:
    assert columns(text) == width(text)
    assert width(cut(text, most)) <= max(most, 1)
    assert cut(text, width(text) + 1) == text
    assert width(padded(text, 130)) == max(130, width(text))
    assert padded(text, 130, right=True).endswith(text)
