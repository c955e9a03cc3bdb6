"""Figures of formats: they draw what the formats are, and their pages hold them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, SMALL, by_name
from halfulp.cli.app import run
from halfulp.report.format_figures import density_figure, number_line_figure, ranges_figure

pytestmark = pytest.mark.extra
ALL = [*CATALOGUE, *CUSTOMS]
FAR = [hu.format(name) for name in ("e4m3b60000", "e4m3b-60000", "e1m6")]


def test_bars_reach_from_the_least_number_to_the_largest() -> None:
    subnormal, normal = ranges_figure(ALL).data
    for i, f in enumerate(ALL):
        assert subnormal.y[i] == normal.y[i] == f.name
        assert oracle.two_to(subnormal.base[i]) == oracle.meaning(f, oracle.least_codes(f)[f.zero])
        middle = subnormal.base[i] + subnormal.x[i]
        top = oracle.meaning(f, oracle.largest_code(f))
        assert [middle, normal.base[i]] == pytest.approx([min(f.emin, log2(top))] * 2)
        assert normal.base[i] + normal.x[i] == pytest.approx(log2(top))


def log2(value: Any) -> float:
    return math.log2(value.numerator) - math.log2(value.denominator)


def test_far_formats_get_buttons_and_near_ones_do_not() -> None:
    far = ranges_figure(["float64", "float16", "float32"])
    assert far.layout.xaxis.range[0] > -200
    low, high = far.layout.updatemenus[0].buttons[1].args[0]["xaxis.range"]
    assert (low < -1074, high > 1024) == (True, True)
    assert not ranges_figure(["float16", "float32"]).layout.updatemenus
    assert not ranges_figure(["float64", "e11m10"]).layout.updatemenus


@pytest.mark.parametrize("f", [f for f in ALL if f.width <= 16], ids=by_name)
def test_densities_are_the_gaps_of_the_numbers(f: hu.Format) -> None:
    (line,) = density_figure([f]).data
    codes = range(oracle.least_codes(f)[f.zero], oracle.largest_code(f) + 1)
    least, top = (oracle.meaning(f, code) for code in (codes[0], codes[-1]))
    assert (line.x[0], line.x[-1]) == pytest.approx((log2(least), log2(top)))
    at_starts = dict(zip(line.x, line.y, strict=True))  # of two at one place, the tooth's tip
    for code in codes:
        value = oracle.meaning(f, code)
        exponent = log2(value)
        if exponent in at_starts and exponent >= f.emin and code != codes[-1]:
            gap = (oracle.value_after(f, code) - value) / value
            assert at_starts[exponent] == log2(gap)


@pytest.mark.parametrize("f", [*SMALL, *FAR], ids=by_name)
def test_number_lines_have_every_number_in_order(f: hu.Format) -> None:
    figure = number_line_figure(f)
    found = {code: oracle.meaning(f, code) for code in range(f.codes)}
    finite = [0 if v == "-0" else v for v in found.values() if v not in ("nan", "inf", "-inf")]
    for axis in ("x", "x2"):
        places = sorted(x for t in figure.data if t.xaxis == axis for x in t.x)
        assert len(places) == len(finite)
        assert len(set(places)) == len(set(finite))
        assert min(places) == -max(places) or not f.signed
    kinds = {t.name for t in figure.data if len(t.x)}
    assert ("subnormal" in kinds) == any(0 < abs(v) < oracle.two_to(f.emin) for v in finite)


def test_the_spread_axis_is_linear_and_then_logarithmic() -> None:
    figure = number_line_figure("float8_e4m3fn")
    normal = sorted(figure.data[1].x)
    assert (normal[-1], max(figure.data[3].x)) == (1 + math.log2(448 * 2**6), 7 / 8)
    assert 1.0 in normal


@pytest.mark.parametrize("draw", [ranges_figure, density_figure])
def test_what_cannot_be_drawn_is_refused(draw: Any) -> None:
    with pytest.raises(hu.HalfulpError, match="no format to compare"):
        draw([])
    with pytest.raises(hu.HalfulpError, match="unknown format"):
        draw(["float16", "fp9"])
    with pytest.raises(hu.HalfulpError, match="at most 8 bits"):
        number_line_figure("float16")


@pytest.mark.parametrize(
    ("arguments", "figures"),
    [((), 2), (("float8_e4m3fn",), 3), (("float16",), 2), (("float16,bfloat16",), 2),
     (("e8m0", "--codes"), 1), (("e16m112",), 2), (("e4m3b60000",), 3)],
)  # fmt: skip
def test_pages(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    figures: int,
) -> None:
    page = tmp_path / "page.html"
    assert run(["formats", *arguments, "--html", str(page)]) == 0
    assert capsys.readouterr().out.strip()
    assert page.read_text().count("Plotly.newPlot") == figures
