"""Reports: one file, everything inside, and the demo's whole story."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import halfulp as hu
from halfulp.cli.app import run
from halfulp.explanations.formats import CatalogueTable
from halfulp.report.document import Section, document
from halfulp.report.figures import walk_figure
from halfulp.report.story import TRAINED
from halfulp.training.examples.digits import build

# What would fetch something: a source or a style sheet that is not inside.
OUTSIDE = re.compile(r"""(?:<script[^>]*\ssrc|<link[^>]*\shref|<img[^>]*\ssrc|@import)\s*=?""")


def own(text: str) -> str:
    """The page without plotly's script, whose text speaks of addresses it never asks."""
    return re.sub(r"<script>.*?</script>", "", text, count=1, flags=re.DOTALL)


def test_the_demo_tells_the_story_and_leaves_one_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "demo.html"
    assert run(["demo", "--steps", "200", "--html", str(page)]) == 0
    told = capsys.readouterr().out
    for number in (
        "1.12156450748443603515625", "1.12109375", "0.12457275390625", "1.24957275390625", "1.25",
        "0.000420093536376953125", "1.1670093536376953125", "1.166999", "0.00048828125",
    ):  # fmt: skip
        assert number in told
    for recipe in TRAINED:
        assert recipe in told
    text = page.read_text()
    assert text.count("Plotly.newPlot") >= 3
    assert not OUTSIDE.search(own(text))
    assert [p.name for p in tmp_path.iterdir()] == ["demo.html"]
    assert max(map(len, told.splitlines())) <= max(80, len(str(page)) + 40)


def test_a_demo_that_cannot_be_written_says_so_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--html", "/no/such/folder/demo.html"]) == 2
    found = capsys.readouterr()
    assert (found.out, "does not exist" in found.err) == ("", True)


def test_pages_escape_what_they_are_given() -> None:
    text = document("<script>alert(1)</script>", [Section("<b>", "a & b <i>")])
    assert "<script>alert" not in text
    assert "&lt;b&gt;" in text
    assert "<script" not in text


def test_tables_become_data_frames() -> None:
    walks = hu.walk_all("1.125", "0.00041999", 100, "float16").to_pandas()
    assert walks.loc["nearest", "lost"] == 100
    assert walks.loc["master", "final"] == "1.1670093536376953125"
    catalogue = CatalogueTable.of(hu.formats()).to_pandas()
    assert catalogue.loc["float16", "max"] == "65504"
    trained = hu.training.compare(build, ["float32"], steps=2).to_pandas()
    assert list(trained.index) == ["float32"]
    assert trained.loc["float32", "skipped"] == 0


def test_the_figure_draws_what_was_walked() -> None:
    walks = hu.walk_all("1.125", "0.00041999", 100, "float16")
    figure = walk_figure(walks)
    assert [t.name for t in figure.data] == [w.name for w in walks.strategies]
    for trace, walk in zip(figure.data, walks.strategies, strict=True):
        assert trace.y[-1] == walk.final.to_float()
        assert trace.x[-1] == 100


def test_a_missing_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    page = tmp_path / "x.html"
    status = run(["walk", "--weight", "1", "--gradient", "1", "--steps", "3", "--html", str(page)])
    found = capsys.readouterr()
    assert (status, page.exists(), found.out) == (2, False, "")
    assert "pip install 'halfulp[report]'" in found.err


@pytest.mark.parametrize("package", ["torch", "sklearn.datasets"])
def test_compare_names_the_extra_it_needs(package: str) -> None:
    import subprocess
    import sys

    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from halfulp.cli.app import main; sys.argv = ['halfulp', 'compare', 'digits']; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'halfulp[" in ran.stderr
