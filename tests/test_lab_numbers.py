"""The page and the command line give the same numbers: one table of cases drives both.

Each case is a view and its fields. The page says the command that gives the same; that very line is
run, and what it prints as JSON is what the page holds.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from fractions import Fraction
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.testclient import TestClient

import halfulp as hu
from halfulp.cli.app import run
from halfulp.lab.app import make_app
from halfulp.lab.server import hosts_of
from halfulp.promotion import RULES
from halfulp.rounding import DECISIONS

pytestmark = pytest.mark.extra


class Case(NamedTuple):
    view: str
    fields: dict[str, str]
    command: str  # what the page is to say


def bits(x: str, target: str) -> Case:
    return Case(
        "bits", {"x": x, "format": target}, f"halfulp bits {shlex.quote(x)} --format {target}"
    )


def convert(x: str, via: str, to: str, rounding: str = "nearest_even") -> Case:
    command = f"halfulp explain {shlex.quote(x)}"
    command += f" --via {via}" * bool(via) + f" --to {to}"
    command += f" --rounding {rounding}" * (rounding != "nearest_even")
    return Case("convert", {"x": x, "via": via, "to": to, "rounding": rounding}, command)


def operate(operation: str, a: str, b: str, **options: str) -> Case:
    (x, of_x), (y, of_y) = a.split(":"), b.split(":")
    command = f"halfulp {operation} {a} {b}"
    command += "".join(f" --{name} {value}" for name, value in options.items())
    fields = {"a": x, "a_format": of_x, "b": y, "b_format": of_y, "operation": operation}
    return Case("operate", fields | options, command)


def walk(weight: str, gradient: str, steps: int, target: str, **options: str) -> Case:
    command = (
        f"halfulp walk --weight {weight} --gradient {gradient} --steps {steps} --format {target}"
    )
    names = {"rate": "learning-rate", "gradient_format": "gradient-format"}
    command += "".join(f" --{names[name]} {value}" for name, value in options.items())
    fields = {"weight": weight, "gradient": gradient, "steps": str(steps), "format": target}
    return Case("walk", fields | options, command)


def base(x: str, source: int, target: int) -> Case:
    command = f"halfulp digits {shlex.quote(x)} --from {source} --base {target} --steps"
    if x == "-zz":  # no option
        command = f"halfulp digits --from {source} --base {target} --steps -- -zz"
    return Case("base", {"x": x, "from": str(source), "to": str(target)}, command)


CASES: list[Case] = [
    *(bits("1.12156456132", f.name) for f in hu.formats()),
    *(bits(x, "float16") for x in ("1/3", "-2^-25", "65519.99", "65520", "inf", "nan", "-0",
                                   "0x1.8p3", "float16:0x0001", "float32:0x3f8f8f6d", "1e999")),
    bits("0.1", "e4m3b7"), bits("0.1", "p3109_k8p4se"),
    # The article's: conversions, ties, double rounding.
    convert("1.12156456132", "float32", "float16"), convert("0.12457275190625", "", "float16"),
    convert("0.00041999", "", "float16"), convert("1.00048828125", "", "float16"),
    convert("1.00146484375", "", "float16"),
    convert("1.000488282181322574615478515625", "float32", "float16"),
    *(convert("-0.1", "float32", "bfloat16", mode) for mode in DECISIONS if mode != "stochastic"),
    convert("1e6", "", "float8_e4m3fn"), convert("448.5", "bfloat16", "float8_e5m2"),
    # Sums and products, in one format and in two.
    operate("add", "1.125:float16", "0.12457275190625:float16"),
    operate("add", "1.125:float32", "0.12457275190625:float16"),
    operate("add", "1.125:float16", "0.00048828125:float16"),
    operate("add", "1:float16", "-0.99951171875:float16"),
    operate("multiply", "1.9:float16", "-1.9:bfloat16"),
    operate("multiply", "300:float16", "300:float16"),
    operate("add", "1:float8_e4m3fn", "0.1:bfloat16", **{"in": "float16"}),
    *(operate("add", "1:float16", "0.1:bfloat16", promotion=r) for r in RULES if r != "halfulp"),
    # Walks: the article's, learning rates, other formats.
    walk("1.125", "0.00041999", 100, "float16"), walk("1.125", "0.00041999", 101, "float16"),
    walk("1.125", "-0.00041999", 100, "float16"), walk("1.125", "0.12457275190625", 101, "float16"),
    walk("1.125", "0.00041999", 100, "float16", gradient_format="float32"),
    walk("1", "0.001", 1000, "bfloat16"), walk("0.02", "1", 50, "bfloat16", rate="3e-6"),
    walk("1", "3", 20, "float8_e4m3fn"), walk("0.5", "0.25", 10, "float4_e2m1fn"),
    # Bases.
    base("0.1", 10, 2), base("0.0(0011)", 2, 10), base("ff.8", 16, 10), base("-zz", 36, 7),
    base("0.(142857)", 10, 7), base("1.12156456132", 10, 2),
    # Loss scales.
    Case("scale", {"source": "digits", "scale": "2^10", "formats": "float16,float8_e4m3fn"},
         "halfulp scale digits --scale 2^10 --formats float16,float8_e4m3fn --keep 0.999"),
    Case("scale", {"source": "gpt", "scale": "1", "keep": "0.99"},
         "halfulp scale gpt --scale 1 --formats float16,bfloat16,float8_e5m2,float8_e4m3fn "
         "--keep 0.99"),
]  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("none").resolve()
    app = make_app(hosts_of("127.0.0.1", 8765), Path(folder))
    with TestClient(app, base_url="http://127.0.0.1:8765") as made:
        yield made


def held(text: str, name: str) -> list[str]:
    """What a page holds under ``data-name``, in order."""
    return [unescape(found) for found in re.findall(rf'data-{name}="([^"]*)"', text)]


def on_page(view: str, text: str) -> dict[str, Any]:
    """The numbers of a page."""
    if view == "bits":
        return {"code": held(text, "code")[0], "value": held(text, "value")[0]}
    if view == "convert":
        steps = re.findall(r'data-format="[^"]*" data-code="([^"]*)" data-value="([^"]*)"', text)
        return {"steps": steps, "double": held(text, "double")}
    if view == "operate":
        return {"exact": held(text, "exact")[0], "value": held(text, "value")[0]}
    if view == "walk":
        return {"final": held(text, "final"), "lost": held(text, "lost")}
    if view == "base":
        return {"result": held(text, "result")[0], "value": Fraction(held(text, "value")[0])}
    return {name: held(text, name) for name in ("zero", "subnormal", "overflow")}


def in_json(view: str, found: Any) -> dict[str, Any]:
    """The same numbers of what the command prints."""
    if view == "bits":
        return {"code": found["code"], "value": found["value"]}
    if view == "convert":
        doubled = found["double_rounding"]
        steps = [(step["code"], step["value"]) for step in found["results"]]
        return {"steps": steps, "double": [doubled["value"]] if doubled else []}
    if view == "operate":
        return {"exact": found["exact"], "value": found["result"]["value"]}
    if view == "walk":
        rows = found["strategies"]
        return {"final": [r["final"] for r in rows], "lost": [str(r["lost"]) for r in rows]}
    if view == "base":
        return {"result": digits(found["result"]), "value": Fraction(found["value"])}
    return {n: [str(r[n]) for r in found["rows"]] for n in ("zero", "subnormal", "overflow")}


def digits(found: dict[str, Any]) -> str:
    whole = "-" * found["negative"] + found["whole"]
    rest = found["fraction"] + (f"({found['repeating']})" if found["repeating"] else "")
    return whole + (f".{rest}" if rest else "") + "…" * found["truncated"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.command)
def test_both_give_the_same(
    client: TestClient, capsys: pytest.CaptureFixture[str], case: Case, language: str
) -> None:
    answer = client.get(f"/{case.view}", params={**case.fields, "lang": language})
    assert answer.status_code == 200
    said = re.search(r'<code id="command">([^<]*)</code>', answer.text)
    assert said, answer.text
    line = shlex.split(unescape(said[1]))
    assert line == shlex.split(case.command)
    assert run([line[1], "--json", *line[2:]]) == 0
    found = json.loads(capsys.readouterr().out)
    page = on_page(case.view, answer.text)
    assert all(page.values()) or case.view == "convert"
    assert page == in_json(case.view, found)
