"""A run over its steps: updates lost by way, and the loss scale inside its window."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import log2
from typing import Any

import numpy as np

from halfulp.explanations.page import COLOURS
from halfulp.language import translate as _
from halfulp.report.figures import DASHES, require_plotly
from halfulp.report.run_data import RunData
from halfulp.runs.reading import Run
from halfulp.runs.samples import Event
from halfulp.runs.scale_window import Window, Windows

BLACK, SKIP, FITS = "#1c2024", "#d55e00", "rgba(0, 158, 115, 0.18)"
MOST_MARKS, MANY = 2000, 100
SPREAD = 24  # binades below and above the running scale that are drawn at most


def lost_curve(data: RunData) -> Any | None:
    """Shares of updates lost, step by step; None where no update was seen."""
    curve = data.curve
    if not curve.steps or not curve.updates.any():
        return None
    figure = require_plotly().Figure()
    some = curve.updates > 0
    steps, updates = np.array(curve.steps)[some], curve.updates[some]
    marks = "lines" if len(steps) > 1 else "markers"
    for way, (colour, dash) in zip(data.about.ways, _styles(), strict=False):
        number = data.about.ways.index(way)
        if curve.running_ways != (number,):
            _line(figure, steps, curve.lost[some, number], updates, mode=marks,
                  name=f"{way.format}, {way.strategy}",
                  line={"color": colour, "dash": dash, "width": 1.8})  # fmt: skip
    names = [f"{w.format}, {w.strategy}" for w in (data.about.ways[i] for i in curve.running_ways)]
    _line(figure, steps, curve.running[some], updates, mode=marks, name=_running_name(names),
          line={"color": BLACK, "width": 4})  # fmt: skip
    return figure.update_layout(**_layout(_("Nonzero updates lost")), yaxis={
        "title": _("percent"), "rangemode": "tozero", "ticksuffix": " %"})  # fmt: skip


def _running_name(ways: Sequence[str]) -> str:
    if len(ways) == 1:
        return "<b>" + _("as it runs: {way}").format(way=ways[0]) + "</b>"
    return "<b>" + _("as it runs, each weight in its own way") + "</b>"


def _styles() -> Iterable[tuple[str, str]]:
    """Colours and dashes, no pair twice."""
    for turn in range(len(DASHES)):
        for i, colour in enumerate(COLOURS[:4]):
            yield colour, DASHES[(i + turn) % len(DASHES)]


def _line(figure: Any, steps: Any, lost: Any, updates: Any, **options: Any) -> None:
    told = _("step {step}: {share} %<br>{lost} of {updates} nonzero updates").format(
        step="%{x}", share="%{y:.4~f}", lost="%{customdata[0]:,}", updates="%{customdata[1]:,}"
    )
    figure.add_scatter(
        x=steps, y=100 * lost / updates, customdata=np.stack([lost, updates], 1).astype(float),
        hovertemplate=f"{told}<extra>%{{fullData.name}}</extra>", **options,
    )  # fmt: skip


def scale_figure(run: Run, windows: Windows | None) -> Any | None:
    """The loss scale over time in its window; None without a scale and without a window."""
    scaled = _scales(run)
    rows = [row for row in windows.rows if row.largest is not None] if windows else []
    if not scaled and not rows:
        return None
    figure = require_plotly().Figure()
    low, high = _extent(rows, [y for _x, y in scaled])
    if windows is not None and rows:
        _window(figure, rows, str(windows.format), low, high)
    if scaled:
        name, at = _("running scale"), _("step {step}: {scale}")
        at = at.format(step="%{x}", scale="2<sup>%{y:.4~f}</sup>")
        figure.add_scatter(
            x=[x for x, _y in scaled], y=[y for _x, y in scaled], name=f"<b>{name}</b>",
            mode="lines" if len(scaled) > 1 else "markers",
            line={"color": BLACK, "width": 2.5 if len(scaled) < MANY else 1.2, "shape": "hv"},
            hovertemplate=f"{at}<extra>{name}</extra>",
        )  # fmt: skip
    _skips(figure, [event for event in run.events if event.kind == "skip"])
    ticks = range(low, high + 1, max(1, (high - low + 9) // 10))
    axis = {
        "title": _("loss scale"), "range": [low, high], "tickvals": list(ticks), "zeroline": False,
        "ticktext": [f"2<sup>{e}</sup>" for e in ticks],
    }  # fmt: skip
    title = _("The loss scale")
    if windows is not None and rows:
        title = _("The loss scale and its window for gradients in {format}")
        title = title.format(format=windows.format)
    return figure.update_layout(**_layout(title), yaxis=axis)


def _scales(run: Run) -> list[tuple[int, float]]:
    """Where the running scale changed, as exponents, the ends included."""
    points = [(h.step, 0, h.loss_scale) for h in run.heads]
    for event in run.events:
        points += [(event.step, 0, event.loss_scale), (event.step + 1, 1, event.scale_after)]
    known = sorted((step, order, log2(s)) for step, order, s in points if s is not None and s > 0)
    kept = [
        (step, scale)
        for i, (step, _order, scale) in enumerate(known)
        if i in (0, len(known) - 1) or scale != known[i - 1][2]
    ]
    return kept[:: -(-len(kept) // MOST_MARKS) or 1]


def _extent(rows: Sequence[Window], scales: Sequence[float]) -> tuple[int, int]:
    """The exponents that are drawn: all, but not far from a scale that is known."""
    ends = [_exponent(end) for row in rows for end in (row.least, row.largest) if end is not None]
    low, high = min([*ends, *scales]), max([*ends, *scales])
    if scales:
        low, high = max(low, min(scales) - SPREAD), min(high, max(scales) + SPREAD)
    return int(low // 1) - 2, int(high // 1) + 2


def _window(figure: Any, rows: Sequence[Window], format: str, low: int, high: int) -> None:
    """The scales that fit as an area, and crosses where none does."""
    xs: list[Any] = []
    ys: list[Any] = []
    for part in _stretches(rows):
        least = [low if row.least is None else _exponent(row.least) for row in part]
        largest = [_exponent(row.largest) for row in part]
        steps = [row.step for row in part]
        xs += [*steps, *reversed(steps), None]
        ys += [*largest, *reversed(least), None]
    name = _("fits {format}")
    if not all(row.least is not None for row in rows):
        name = _("does not overflow {format} (the least is not known)")
    name = name.format(format=format)
    if xs:
        figure.add_scatter(x=xs, y=ys, name=name, mode="lines", fill="toself", fillcolor=FITS,
                           line={"width": 0.5, "color": "#009e73"}, hoverinfo="skip")  # fmt: skip
    ends = (
        (_("largest that fits"), "largest", "bound_above"),
        (_("least that fits"), "least", "bound_below"),
    )
    at = _("step {step}: {scale}, bound by {name}")
    at = at.format(step="%{x}", scale="2<sup>%{y}</sup>", name="%{customdata[0]}")
    for label, field, bound in ends:
        some = [row for row in rows if getattr(row, field) is not None]
        figure.add_scatter(
            x=[row.step for row in some], y=[_exponent(getattr(row, field)) for row in some],
            customdata=[[getattr(row, bound)] for row in some], mode="markers", showlegend=False,
            marker={"size": 3, "color": "#009e73"}, name=label,
            hovertemplate=f"{at}<extra>{label}</extra>",
        )  # fmt: skip
    empty = [row for row in rows if row.is_empty]
    if empty:
        figure.add_scatter(
            x=[row.step for row in empty], y=[high - 1] * len(empty), mode="markers",
            name=_("no scale fits"), marker={"symbol": "x-thin", "size": 8, "line": {
                "color": COLOURS[3], "width": 2}}, customdata=[[str(row)] for row in empty],
            hovertemplate="%{customdata[0]}<extra>" + _("no scale fits") + "</extra>",
        )  # fmt: skip


def _stretches(rows: Sequence[Window]) -> Iterable[list[Window]]:
    """Rows in a row whose windows are not empty."""
    part: list[Window] = []
    for row in rows:
        if not row.is_empty:
            part.append(row)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _skips(figure: Any, skips: Sequence[Event]) -> None:
    shown = [e for e in skips if e.loss_scale is not None and e.loss_scale > 0]
    shown = shown[:: -(-len(shown) // MOST_MARKS) or 1]
    if shown:
        figure.add_scatter(
            x=[e.step for e in shown], y=[log2(e.loss_scale or 1) for e in shown], mode="markers",
            name=_("skipped steps ({n:,})").format(n=len(skips)),
            customdata=[[e.sentence] for e in shown],
            marker={"symbol": "triangle-down", "size": 9 if len(shown) < MANY else 5,
                    "color": SKIP},
            hovertemplate="%{customdata[0]}<extra></extra>",
        )  # fmt: skip


def _exponent(scale: Fraction | None) -> float:
    return log2(scale) if scale else 0.0


def _layout(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title, "x": 0.01}, "xaxis": {"title": _("step"), "zeroline": False},
        "template": "plotly_white", "height": 440,
        "font": {"family": "system-ui, sans-serif", "color": "#1c2024"},
        "legend": {"orientation": "h", "y": -0.22}, "margin": {"t": 60, "r": 20},
    }  # fmt: skip
