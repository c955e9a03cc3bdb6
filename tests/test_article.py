"""The article's script as each framework runs it, held to walk."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

import halfulp as hu

EXAMPLES = Path(__file__).parent.parent / "examples" / "the_article"
RECORDED = Path(__file__).parent / "golden" / "mindspore-2.10.txt"


def lines(text: str) -> dict[tuple[str, int], Fraction]:
    """(case, step) -> value, of what a script prints."""
    found = {}
    for line in text.splitlines()[1:]:
        name, rest = line.split(",")
        step, value = rest.split(":")
        found[name, int(step)] = Fraction(value)
    return found


def run(name: str) -> str:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    "script",
    [
        "with_numpy.py",
        pytest.param("with_pytorch.py", marks=pytest.mark.extra),
        "recorded MindSpore",
    ],
)
def test_each_framework_walks_as_walk_does(script: str) -> None:
    text = RECORDED.read_text() if script.startswith("recorded") else run(script)
    assert text.splitlines()[0] == "gradient in float16: 0.00042009353637695312500"
    found = lines(text)
    assert len(found) == 30
    for (name, step), value in found.items():
        weight, sign, gradient = name.split()
        walked = hu.walk(
            "1.125", "0.00041999" if sign == "+" else "-0.00041999", step, weight,
            gradient_format=gradient,
        )  # fmt: skip
        # The scripts print 23 decimals, which is all there are but for the exact longer ones.
        assert f"{float(walked.final.value):.23f}" == f"{float(value):.23f}", name


def test_the_articles_lines_are_the_published_ones() -> None:
    found = lines(run("with_numpy.py"))
    published = {
        ("float16 + float16", 100): "1.125", ("float32 + float16", 1): "1.12542009353637695312500",
        ("float32 + float16", 10): "1.12920093536376953125000",
        ("float32 + float16", 50): "1.14600467681884765625000",
        ("float32 + float16", 100): "1.16700935363769531250000",
        ("float32 + float16", 101): "1.16742944717407226562500",
        ("float32 + float32", 100): "1.16699743270874023437500",
        ("float16 - float16", 100): "1.125", ("float32 - float16", 100): "1.08299064636230468750000",
    }  # fmt: skip
    assert {key: found[key] for key in published} == {k: Fraction(v) for k, v in published.items()}
