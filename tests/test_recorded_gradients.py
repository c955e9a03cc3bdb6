"""The gradients that come with halfulp: recorded again, and drawn under loss scales."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from halfulp.cli.app import run
from halfulp.gradients import recordings
from halfulp.loss_scales.elements import Elements, of_arrays
from halfulp.loss_scales.shares import scale_shares
from halfulp.loss_scales.sources import built_in
from halfulp.npy import read_file
from halfulp.report.scale_shares import curves_figure, histogram_figure, histogram_plain
from halfulp.training.examples.record import STEPS, record

# Bits are those of one processor: kernels of another sum products in another order, and a training
# carries that on from step to step; the text that gpt reads grows with Python's releases, too. What
# a loss scale does to the gradients stays the same but for a few elements in a hundred.
APART = {"digits": 0.02, "gpt": 0.06}


@pytest.fixture(scope="module", params=sorted(STEPS))
def again(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("recorded")
    about, known = record(request.param, folder), recordings()[request.param]
    assert (about.name, about.steps, about.of_steps) == (known.name, known.steps, known.of_steps)
    assert [part.name for part in about.parts] == [part.name for part in known.parts]
    return request.param, folder


def of_folder(name: str, step: int, folder: Path) -> Elements:
    """One step as it was recorded again, all tensors as one."""
    return of_arrays(name, {"all": read_file(folder / f"{name}-{step}.npy")})


def apart(a: Elements, b: Elements) -> float:
    """The share of elements that are in other binades."""
    ours, theirs = dict(a.binades), dict(b.binades)
    wholes = a.looked.nonzero, b.looked.nonzero
    return (
        sum(abs(ours.get(e, 0) / wholes[0] - theirs.get(e, 0) / wholes[1]) for e in ours | theirs)
        / 2
    )


def test_they_are_what_the_examples_give(again: tuple[str, Path]) -> None:
    name, folder = again
    for step in recordings()[name].steps:
        new, kept = of_folder(name, step, folder), built_in(name, step)
        assert apart(new, kept) < APART[name]
        zeros = new.looked.zero / new.looked.elements, kept.looked.zero / kept.looked.elements
        assert zeros[0] == pytest.approx(zeros[1], abs=APART[name])
        for scale in (1, 2**16):
            for a, b in zip(scale_shares(new, scale), scale_shares(kept, scale), strict=True):
                for what in ("zero", "subnormal", "overflow"):
                    share = getattr(a, what) / new.looked.nonzero
                    assert share == pytest.approx(getattr(b, what) / kept.looked.nonzero,
                                                  abs=APART[name])  # fmt: skip


def test_pages_have_both_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "scale.html"
    assert run(["scale", "gpt", "--scale", "1000", "--html", str(page)]) == 0
    text = page.read_text()
    assert text.count("Plotly.newPlot") == 2
    assert "gradients × 1000" in text
    assert f"wrote {page}" in capsys.readouterr().err
    assert run(["scale", "gpt", "--html", "/no/such/folder/x.html"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_figures_show_the_counts() -> None:
    found = scale_shares(built_in("digits"), 3, curves=True)
    bars = histogram_figure(found).data
    assert len(bars) == len(found)
    assert sum(bars[0].y) == pytest.approx(100)
    assert bars[0].x[0] == pytest.approx(found.binades[0][0] + 0.5 + np.log2(3))
    curves = curves_figure(found)
    areas = [trace for trace in curves.data if trace.stackgroup]
    assert len(areas) == 4 * len(found)
    for row in range(len(found)):
        total = np.sum([area.y for area in areas[4 * row : 4 * row + 4]], 0)
        np.testing.assert_allclose(total, 100)
    shown = {shape.fillcolor for shape in curves.layout.shapes}
    assert "#009e73" in shown  # a window
    names = {note.text for note in histogram_figure(found).layout.annotations}
    assert {"becomes zero", "subnormal", "normal", "overflows"} <= names


def test_what_cannot_be_drawn_is_not() -> None:
    nothing = scale_shares(of_arrays("x", {"a": np.zeros(3, np.float32)}), 1, curves=True)
    assert histogram_figure(nothing) is curves_figure(nothing) is None
    one = scale_shares(of_arrays("x", {"a": np.float64([5e-324])}), "2^1000", ["float64"])
    assert curves_figure(one) is None
    assert histogram_plain(one) is not None
    far = scale_shares(of_arrays("x", {"a": np.float64([1e300])}), "2^-1000", curves=True)
    assert not [s for s in curves_figure(far).layout.shapes if s.fillcolor == "#009e73"]
