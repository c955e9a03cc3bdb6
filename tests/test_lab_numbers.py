"""The page and the command line give the same numbers: one table of cases drives both.

Each case is a view and its fields. The page says the command that gives the same; that very line is
run, and what it prints as JSON is what the page holds.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
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
from test_runs import written

pytestmark = pytest.mark.extra


class Case(NamedTuple):
    view: str
    fields: dict[str, str]
    command: str  # what the page is to say


def bits(x: str, target: str) -> Case:
    return Case(
        "bits", {"x": x, "format": target}, f"halfulp bits {shlex.quote(x)} --format {target}"
    )


def convert(x: str, via: str, to: str, rounding: str = "nearest_even", profile: str = "") -> Case:
    command = f"halfulp explain {shlex.quote(x)}"
    before, _, last = (via, "", to) if to else via.rpartition(",")
    command += f" --via {before}" * bool(before) + f" --to {last}"
    command += f" --rounding {rounding}" * (rounding != "nearest_even")
    command += f" --profile {profile}" * bool(profile)
    fields = {"x": x, "via": via, "to": to, "rounding": rounding, "profile": profile}
    return Case("convert", fields, command)


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


def formats(name: str) -> Case:
    return Case("formats", {"name": name}, f"halfulp formats {name}")


def base(x: str, source: int, target: int) -> Case:
    command = f"halfulp digits {shlex.quote(x)} --from {source} --base {target} --steps"
    if x == "-zz":  # no option
        command = f"halfulp digits --from {source} --base {target} --steps -- -zz"
    return Case("base", {"x": x, "from": str(source), "to": str(target)}, command)


CASES: list[Case] = [
    *(bits("1.12156456132", f.name) for f in hu.formats()),
    *(bits(x, "float16") for x in ("1/3", "-2^-25", "65519.99", "65520", "inf", "nan", "-0",
                                   "0x1.8p3", "float16:0x0001", "float32:0x3f8f8f6d", "1e999")),
    *(bits(x, f) for f in ("float8_e4m3fn", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn")
      for x in ("inf", "-inf", "nan", "-0", "0", "464", "465", "3", "-3", "2^-127", "1/7")),
    bits("0.1", "e4m3b7"), bits("0.1", "p3109_k8p4se"), bits("0.1", "e4m3b7_nosub"),
    bits("1/3", "ue5m3fn"), bits("float16:0x7e01", "float16"),
    bits("float16:0xfc00", "float8_e4m3"), bits("-1.5", "bfloat16"), bits("2^-1074", "float64"),
    bits("1e19999", "e16m112"),
    *(formats(f.name) for f in hu.formats() if f.width > 8), formats("e6m9"),
    formats("p3109_k12p5se"),
    # The article's: conversions, ties, double rounding.
    convert("1.12156456132", "float32", "float16"), convert("0.12457275190625", "", "float16"),
    convert("0.00041999", "", "float16"), convert("1.00048828125", "", "float16"),
    convert("1.00146484375", "", "float16"),
    convert("1.000488282181322574615478515625", "float32", "float16"),
    *(convert("-0.1", "float32", "bfloat16", mode) for mode in DECISIONS if mode != "stochastic"),
    *(convert("1e6", "", "float8_e4m3fn", "nearest_even", stack)
      for stack in ("torch", "ml_dtypes", "onnx", "jax")),
    *(convert(x, "", "float8_e8m0fnu", "nearest_even", stack)
      for stack in ("", "torch") for x in ("3", "0", "-1", "nan")),
    *(convert(x, "float32,bfloat16,float16", "float8_e5m2") for x in ("1/3", "-65519", "2^-16")),
    convert("1.00048828125", "float16", ""), convert("0.3", "float32,float16", ""), convert("0.3", "float32", "bfloat16,float16"),
    convert("2^-25", "", "float16"), convert("3e-8", "", "float16"),
    convert("inf", "", "float6_e2m3fn"), convert("nan", "float64", "float8_e5m2fnuz"),
    convert("-0", "float32", "float8_e4m3fnuz"), convert("1e6", "", "float8_e4m3fn"), convert("448.5", "bfloat16", "float8_e5m2"),
    # Sums and products, in one format and in two.
    operate("add", "1.125:float16", "0.12457275190625:float16"),
    operate("add", "1.125:float32", "0.12457275190625:float16"),
    operate("add", "1.125:float16", "0.00048828125:float16"),
    operate("add", "1:float16", "-0.99951171875:float16"),
    operate("multiply", "1.9:float16", "-1.9:bfloat16"),
    operate("multiply", "300:float16", "300:float16"),
    operate("multiply", "0:float16", "inf:float16"), operate("add", "inf:float32", "-inf:float32"),
    operate("add", "-0:float16", "0:float16"),
    operate("add", "1:float16", "-1:float16", rounding="down"),
    operate("multiply", "2^-14:float16", "0.5:float16"),
    operate("multiply", "1/3:float64", "3:float64"), operate("add", "1e16:float64", "1:float32"),
    *(operate("add", "2048:float16", "1:float16", rounding=mode)
      for mode in DECISIONS if mode not in ("stochastic", "nearest_even")),
    operate("add", "1:float8_e4m3fn", "0.1:bfloat16", **{"in": "float16"}),
    *(operate("add", "1:float16", "0.1:bfloat16", promotion=r) for r in RULES if r != "halfulp"),
    # Walks: the article's, learning rates, other formats.
    walk("1.125", "0.00041999", 100, "float16"), walk("1.125", "0.00041999", 101, "float16"),
    walk("1.125", "-0.00041999", 100, "float16"), walk("1.125", "0.12457275190625", 101, "float16"),
    walk("1.125", "0.00041999", 100, "float16", gradient_format="float32"),
    walk("1", "0.001", 1000, "bfloat16"), walk("0.02", "1", 50, "bfloat16", rate="3e-6"),
    walk("1.125", "0.00041999", 1, "float16"), walk("1.125", "0.00041999", 10, "float16"),
    walk("1.125", "0.00041999", 50, "float16"), walk("1.125", "0.00041999", 100, "float32"),
    walk("1", "0.001", 10000, "float16"), walk("1", "0.001", 9999, "float8_e5m2fnuz"),
    walk("1", "1/3", 500, "float16", gradient_format="none"),
    walk("-1e-3", "1e-6", 2000, "float64"), walk("60000", "900", 20, "float16"),
    walk("0", "-1/8", 30, "float8_e4m3fn"), walk("1.5", "2^-20", 1000, "e5m2"),
    walk("1", "1", 100, "bfloat16", rate="-0.001", gradient_format="float32"),
    walk("1", "3", 20, "float8_e4m3fn"), walk("0.5", "0.25", 10, "float4_e2m1fn"),
    # Bases.
    base("0.1", 10, 2), base("0.0(0011)", 2, 10), base("ff.8", 16, 10), base("-zz", 36, 7),
    base("0.(142857)", 10, 7), base("1.12156456132", 10, 2), base("-255", 10, 16),
    base("0", 2, 36), base("zz.zz(z)", 36, 2), base("0.00041999", 10, 2), base("1e400", 16, 10),
    base("1.(9)", 10, 3),
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
    if view in ("bits", "formats"):  # of bits the code itself, landmarks, and all formats
        return {"codes": held(text, "code"), "values": held(text, "value")}
    if view == "convert":
        steps = re.findall(r'data-format="[^"]*" data-code="([^"]*)" data-value="([^"]*)"', text)
        return {"steps": steps, "double": held(text, "double")}
    if view == "operate":
        return {name: held(text, name) for name in ("exact", "code", "value")}
    if view == "walk":
        return {name: held(text, name) for name in ("final", "lost", "stall", "predicted")}
    if view == "base":
        return {"result": held(text, "result")[0], "value": held(text, "value")[0]}
    return {name: held(text, name) for name in ("zero", "subnormal", "overflow")}


def in_json(view: str, found: Any) -> dict[str, Any]:
    """The same numbers of what the command prints."""
    if view in ("bits", "formats"):
        rows = [found] * (view == "bits") + found["landmarks"] + found.get("beside", [])
        return {"codes": [r["code"] for r in rows], "values": [r["value"] for r in rows]}
    if view == "convert":
        doubled = found["double_rounding"]
        steps = [(step["code"], step["value"]) for step in found["results"]]
        return {"steps": steps, "double": [doubled["value"]] if doubled else []}
    if view == "operate":
        result = found["result"]
        return {"exact": [found["exact"]], "code": [result["code"]], "value": [result["value"]]}
    if view == "walk":
        rows = found["strategies"]
        stalls = ["" if r["stall_step"] is None else str(r["stall_step"]) for r in rows]
        return {
            "final": [r["final"] for r in rows], "lost": [str(r["lost"]) for r in rows],
            "stall": stalls, "predicted": [found["prediction"]["final"]],
        }  # fmt: skip
    if view == "base":
        return {"result": digits(found["result"]), "value": found["value"]}
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


@pytest.mark.parametrize(
    "case",
    [
        convert("1.12156456132", "float32", "float16"), convert("-1/3", "", "float8_e4m3fn"),
        convert("1e6", "bfloat16", "float8_e5m2"), convert("2^-25", "", "float16"),
        convert("3", "", "float8_e8m0fnu", profile="torch"), convert("nan", "", "float4_e2m1fn"),
        convert("-70000", "float32", "float8_e5m2", "up", "cuda-satfinite"),
    ],
    ids=lambda case: case.command,
)  # fmt: skip
def test_every_rounding_beside_a_conversion_is_the_commands(
    client: TestClient, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    text = client.get(f"/{case.view}", params=case.fields).text
    rows = re.findall(r'data-rounding="([^"]*)" data-value="([^"]*)" data-code="([^"]*)"', text)
    assert [name for name, _value, _code in rows] == [n for n in DECISIONS if n != "stochastic"]
    line = shlex.split(case.command)
    for name, value, code in rows:
        assert run([*line[1:], "--rounding", name, "--json"]) == 0
        last = json.loads(capsys.readouterr().out)["results"][-1]
        assert (value, code) == (last["value"], last["code"]), name


NAMES = ("run.db", "-run.db", "a b'c.db")


def test_the_line_of_a_run_gives_what_its_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        written(tmp_path / name, samples=3).close()
    app = make_app(hosts_of("127.0.0.1", 8765), tmp_path.resolve())
    monkeypatch.chdir(tmp_path)
    with TestClient(app, base_url="http://127.0.0.1:8765") as client:
        for name in NAMES:
            for view, fields in (("runs", {"run": name}), ("scale", {"source": f"run:{name}"})):
                text = client.get(f"/{view}", params=fields).text
                said = re.search(r'<code id="command">([^<]*)</code>', text)
                assert said, text
                line = shlex.split(unescape(said[1]))
                assert run([line[1], "--json", *line[2:]]) == 0, line
                found = json.loads(capsys.readouterr().out)
                if view == "scale":
                    assert on_page(view, text) == in_json(view, found)
                else:
                    assert Path(line[line.index("--html") + 1]).is_file()
