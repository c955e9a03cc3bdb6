"""Gradients under a loss scale: their histogram in the ranges of formats, and shares by scale.

Figures are made as plain data, as plotly's JSON has it, since sliders ask for them again and again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from halfulp.catalogue import Format, binade
from halfulp.language import spoken
from halfulp.language import translate as _
from halfulp.loss_scales.bounds import bounds
from halfulp.loss_scales.shares import FormatShares, ScaleCurve, ScaleShares
from halfulp.loss_scales.shares_text import power_text, window_text
from halfulp.report.figures import require_plotly
from halfulp.report.magnitudes import CHARACTER, switch, ticks
from halfulp.runs.finding import percent, share

ROW, GAP = 96, 34  # pixels of a format, and between two
TOP, BOTTOM = 95, 55  # pixels around all of them
BAR, INK, WINDOW = "#3d4650", "#1c2024", "#009e73"
BEHIND, OVER = 0.32, 0.5  # how much there is of a colour behind bars, and over areas
FAR = -100  # formats whose normal numbers begin below it reach far beyond what is drawn

Plain = dict[str, Any]


class Kind(NamedTuple):
    """What becomes of a number."""

    name: str
    colour: str


def _kinds() -> tuple[Kind, Kind, Kind, Kind]:
    return (
        Kind(_("becomes zero"), "#8d99a6"),
        Kind(_("subnormal"), "#56b4e9"),
        Kind(_("normal"), "#dcebf4"),
        Kind(_("overflows"), "#d55e00"),
    )


def histogram_figure(s: ScaleShares) -> Any | None:
    """Scaled gradients by magnitude, once a format, over what it does to them.

    None where there is no nonzero element.
    """
    return _figure(histogram_plain(s))


def curves_figure(s: ScaleShares) -> Any | None:
    """What each scale does in each format, and the scales that fit; None without curves."""
    return _figure(curves_plain(s))


def histogram_plain(s: ScaleShares) -> Plain | None:
    """:func:`histogram_figure` as ``{"data": …, "layout": …}``, in a millisecond."""
    if not s.binades:
        return None
    moved = _log2(s.scale)
    low, high = _range(s, moved)
    shapes: list[Plain] = []
    notes = _headings([_losses(row, s) for row in s])
    for number, row in enumerate(s, start=1):
        for begin, end, kind in _regions(row.format, low, high):
            shapes.append(_region(begin, end, kind, number))
            if (end - begin) / (high - low) > len(kind.name) * CHARACTER:
                notes.append(_region_name(begin, kind, number))
    title = _("{source}: {n} nonzero gradients × {scale}").format(
        source=s.looked.title, n=f"{s.looked.nonzero:,}", scale=_raised(power_text(s.scale))
    )
    # It is the tails that a scale loses, and they are seen on logarithmic axes alone.
    upright = {"showgrid": False, "ticksuffix": " %", "tickformat": "~g", **_logarithmic(s)}
    across = {"range": [low, high], "showgrid": False, **ticks(low, high)}
    layout = _laid_out(title, _("magnitude of a gradient times the scale"), len(s), across, upright)
    bars = [_bars(s, moved, number) for number in range(1, len(s) + 1)]
    layout |= {"shapes": shapes, "annotations": notes, "showlegend": False,
               "updatemenus": [_buttons(s)]}  # fmt: skip
    return {"data": bars, "layout": layout}


def curves_plain(s: ScaleShares) -> Plain | None:
    """:func:`curves_figure` as ``{"data": …, "layout": …}``, in a millisecond."""
    if not s.curves or not s.looked.nonzero:
        return None
    data: list[Plain] = []
    shapes: list[Plain] = []
    first, last, at = s.curves[0].first, s.curves[0].last, _log2(s.scale)
    for number, (row, curve) in enumerate(zip(s, s.curves, strict=True), start=1):
        data += _areas(curve, s.looked.nonzero, number)
        shapes += _window(row, curve, number)
    data += [_legend_of_windows()] if shapes else []
    for number in range(1, len(s) + 1):
        if first <= at <= last:
            shapes.append(_scale_line(at, number))
    across = {"range": [first, last], **ticks(first, last)}
    upright = {"range": [0, 100], "nticks": 3, "ticksuffix": " %", "gridcolor": "#e9edf0"}
    layout = _laid_out(
        _("What each scale does, and which fit"), _("scale"), len(s), across, upright
    )
    return {"data": data, "layout": layout | {
        "shapes": shapes, "annotations": _headings([_fits(row, s.scale) for row in s]),
        "hovermode": "x unified",
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "traceorder": "normal",
                   "y": 1 + 22 / _inside(len(s)), "yanchor": "bottom"},
    }}  # fmt: skip


def _figure(plain: Plain | None) -> Any | None:
    go = require_plotly()
    return None if plain is None else go.Figure(plain, layout_template="plotly_white")


# What both have: rows, a format each, below headings.


def _inside(rows: int) -> int:
    """Pixels of all rows, and between them."""
    return rows * (ROW + GAP) - GAP


def _top(row: int, rows: int) -> float:
    """Where a row begins, as a share of the height."""
    return 1 - (row - 1) * (ROW + GAP) / _inside(rows)


def _laid_out(title: str, axis: str, rows: int, across: Plain, upright: Plain) -> Plain:
    layout: Plain = {
        "title": {"text": title, "x": 0.01, "y": 0.985, "yanchor": "top"},
        "height": TOP + _inside(rows) + BOTTOM,
        "font": {"family": "system-ui, sans-serif", "color": INK},
        "margin": {"t": TOP, "r": 20, "b": BOTTOM, "l": 60},
        "plot_bgcolor": "#ffffff",
    }
    for row in range(1, rows + 1):
        number, top = "" if row == 1 else row, _top(row, rows)
        domain = [max(top - ROW / _inside(rows), 0), top]
        layout[f"yaxis{number}"] = {**upright, "domain": domain, "anchor": f"x{number}",
                                    "zeroline": False}  # fmt: skip
        layout[f"xaxis{number}"] = {
            **across, "anchor": f"y{number}", "zeroline": False, "showticklabels": row == rows,
            "matches": "x" if row > 1 else None, "title": {"text": axis if row == rows else ""},
        }  # fmt: skip
    return layout


def _headings(texts: Sequence[str]) -> list[Plain]:
    return [
        {
            "text": text, "x": 0, "xref": "paper", "xanchor": "left", "yref": "paper",
            "y": _top(row, len(texts)), "yanchor": "bottom", "showarrow": False,
            "font": {"size": 12},
        }
        for row, text in enumerate(texts, start=1)
    ]  # fmt: skip


def _axes(row: int) -> Plain:
    """The axes of a row, up whose height what is drawn goes."""
    number = "" if row == 1 else row
    return {"xref": f"x{number}", "yref": f"y{number} domain"}


def _on(row: int) -> Plain:
    """The axes of a trace in a row."""
    number = "" if row == 1 else row
    return {"xaxis": f"x{number}", "yaxis": f"y{number}"}


def _losses(row: FormatShares, s: ScaleShares) -> str:
    """A format, and the shares of what it loses; of counts that are not exact, the most."""
    text = (
        _("<b>{format}</b>: zero {zero}, subnormal {subnormal}, overflow {overflow}")
        if s.looked.exact
        else _("<b>{format}</b>, at most: zero {zero}, subnormal {subnormal}, overflow {overflow}")
    )
    shares = {
        kind: _escaped(f"{share(most, s.looked.nonzero)} ({most:,})")
        for kind, most in (
            ("zero", row.zero_most),
            ("subnormal", row.subnormal_most),
            ("overflow", row.overflow_most),
        )
    }
    return text.format(format=row.name, **shares)


def _fits(row: FormatShares, scale: Fraction) -> str:
    """A format, and which scales fit it."""
    return f"<b>{row.name}</b>: {_raised(window_text(row, scale)[0])}"


# The histogram.


def _range(s: ScaleShares, moved: float) -> tuple[float, float]:
    """From the least binade that is drawn to the end of the largest."""
    near = [row.format for row in s if row.format.emin > FAR]
    begins = [s.binades[0][0] + moved, *(binade(f.least_positive) for f in near)]
    ends = [s.binades[-1][0] + 1 + moved, *(f.emax + 1 for f in near)]
    return min(begins) - 3, max(ends) + 3


def _logarithmic(s: ScaleShares) -> Plain:
    """An axis of percents from below the lowest bar to above the names of regions."""
    percents = [100 * count / s.looked.nonzero for _exponent, count in s.binades]
    ends = [math.log10(min(percents)) - 0.3, math.log10(max(percents)) + 0.7]
    return {"type": "log", "dtick": 1, "range": ends}


def _linear(s: ScaleShares) -> Plain:
    """The same from nothing on."""
    most = max(100 * count / s.looked.nonzero for _exponent, count in s.binades)
    return {"type": "linear", "dtick": None, "nticks": 4, "range": [0, 1.3 * most]}


def _buttons(s: ScaleShares) -> Plain:
    """Those that choose between the two."""
    rows = range(1, len(s) + 1)
    made = switch(rows)
    for button, axis in zip(made["buttons"], (_linear(s), _logarithmic(s)), strict=True):
        button["args"] = [
            {f"yaxis{'' if row == 1 else row}.{key}": value for row in rows
             for key, value in axis.items()}
        ]  # fmt: skip
    return {**made, "active": 1, "pad": {"b": 22}}


def _bars(s: ScaleShares, moved: float, row: int) -> Plain:
    whole = s.looked.nonzero
    return {
        "type": "bar",
        "x": [exponent + 0.5 + moved for exponent, count in s.binades],
        "y": [100 * count / whole for exponent, count in s.binades],
        "customdata": [(f"{count:,}", e, e + 1) for e, count in s.binades],
        "hovertemplate": "2<sup>%{customdata[1]}</sup> … 2<sup>%{customdata[2]}</sup> × "
        f"{_raised(power_text(s.scale))}: %{{y:.4~f}} %<br>%{{customdata[0]}} / {whole:,}"
        "<extra></extra>",
        "marker": {"color": BAR, "line": {"width": 0}}, "width": 0.88, **_on(row),
    }  # fmt: skip


def _regions(f: Format, low: float, high: float) -> Iterator[tuple[float, float, Kind]]:
    """What a format does, from where to where; as far as it is drawn."""
    limits = bounds(f)
    ends = [low, *(_log2(bound.at) for bound in limits), high]
    for first, last, kind in zip(ends, ends[1:], _kinds(), strict=False):
        begin, end = max(first, low), min(last, high)
        if end > begin:
            yield begin, end, kind


def _region(begin: float, end: float, kind: Kind, row: int) -> Plain:
    """A coloured field behind the bars."""
    return {
        "type": "rect", "x0": begin, "x1": end, "y0": 0, "y1": 1, "fillcolor": kind.colour,
        "opacity": BEHIND, "line": {"width": 0}, "layer": "below", **_axes(row),
    }  # fmt: skip


def _region_name(begin: float, kind: Kind, row: int) -> Plain:
    return {
        "x": begin, "y": 1, "xanchor": "left", "yanchor": "top", "text": kind.name,
        "showarrow": False, "font": {"size": 11, "color": "#4a545e"}, **_axes(row),
    }  # fmt: skip


# The curves.


def _areas(curve: ScaleCurve, whole: int, row: int) -> Iterator[Plain]:
    """Shares over scales, stacked; of counts that are not exact, the middle of least and most."""
    zero = list(zip(curve.zero, curve.zero_most, strict=True))
    subnormal = list(zip(curve.subnormal, curve.subnormal_most, strict=True))
    over = list(zip(curve.overflow, curve.overflow_most, strict=True))
    normal = [
        (max(whole - z[1] - s[1] - o[1], 0), whole - z[0] - s[0] - o[0])
        for z, s, o in zip(zero, subnormal, over, strict=True)
    ]
    exponents = list(range(curve.first, curve.last + 1))
    for kind, spans in zip(_kinds(), (zero, subnormal, normal, over), strict=True):
        yield {
            "type": "scatter", "mode": "lines", "x": exponents,
            "y": [50 * (least + most) / whole for least, most in spans],
            "text": [_span(*span, whole) for span in spans], "hovertemplate": "%{text}",
            "name": kind.name, "legendgroup": kind.name, "showlegend": row == 1,
            "stackgroup": f"row {row}", "line": {"width": 0, "shape": "hvh"},
            "fillcolor": kind.colour, **_on(row),
        }  # fmt: skip


def _span(least: int, most: int, whole: int) -> str:
    """A count and its share, or both ends of it."""
    counts = (least,) if least == most else (least, most)
    return _escaped(" … ".join(spoken(percent(count, whole)) for count in counts))


def _window(row: FormatShares, curve: ScaleCurve, number: int) -> Iterator[Plain]:
    """The scales that fit, as a frame; one scale alone has a width, too."""
    if row.largest is None or (row.least is not None and row.least > row.largest):
        return
    low = curve.first if row.least is None else binade(row.least)
    begin = max(low - 0.4, curve.first)
    end = min(binade(row.largest) + 0.4, curve.last)
    if begin < end:
        yield {
            "type": "rect", "x0": begin, "x1": end, "y0": 0, "y1": 1, "fillcolor": WINDOW,
            "opacity": OVER, "line": {"color": WINDOW, "width": 3}, **_axes(number),
        }  # fmt: skip


def _legend_of_windows() -> Plain:
    """A trace of no points, for its line in the legend."""
    return {
        "type": "scatter", "x": [None], "y": [None], "mode": "markers", "name": _("fits"),
        "marker": {"symbol": "square", "size": 12, "color": WINDOW, "opacity": OVER},
        "legendrank": 2000,
    }  # fmt: skip


def _scale_line(at: float, row: int) -> Plain:
    return {
        "type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1,
        "line": {"color": INK, "width": 2, "dash": "dot"}, **_axes(row),
    }  # fmt: skip


def _log2(value: Fraction) -> float:
    """The logarithm of a positive number of any size; of powers of two exactly."""
    exponent = binade(value)
    return exponent + math.log2(value / Fraction(2) ** exponent)


def _raised(text: str) -> str:
    """A text whose powers of two have their exponents raised."""
    return re.sub(r"2\^(-?\d+)", r"2<sup>\1</sup>", text)


def _escaped(text: str) -> str:
    """A text in which plotly sees no tags."""
    return text.replace("<", "&lt;")
