"""Histograms of exponents under the ranges of the candidate formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.catalogue import Format, binade, format
from halfulp.explanations.page import COLOURS
from halfulp.language import spoken
from halfulp.language import translate as _
from halfulp.report.figures import require_plotly
from halfulp.report.heat_maps import HALF, middle_cut
from halfulp.report.run_data import LOWEST, RunData
from halfulp.runs.finding import tensors
from halfulp.runs.ranges import role_text
from halfulp.runs.samples import ACTIVATION, ACTIVATION_GRADIENT, CLIPPED, GRADIENT, WEIGHT

Array = npt.NDArray[Any]

WORST = 6  # tensors
ROW, BAND, ROOM = 104, 26, 120  # pixels of a histogram, of a format, and around all of them
BAR = "#8d99a6"
MOST_TICKS = 16
CHARACTER = 0.009  # of the width of a figure


class Row(NamedTuple):
    """One histogram."""

    title: str
    counts: Array  # by binade, from LOWEST on


def roles_figure(data: RunData) -> Any | None:
    """All tensors of a role in one histogram; None where nothing was seen."""
    rows = []
    for role in dict.fromkeys(data.roles.tolist()):
        mine = data.of_roles(role)
        counts = data.casts.histograms[mine].sum(0)
        said = _("<b>{role}</b>, {tensors}")
        said = said.format(role=role_text(role), tensors=spoken(tensors(len(mine))))
        rows.append(Row(said, counts))
    return _figure(data, rows, _("Magnitudes by role"))


def worst_figure(data: RunData) -> Any | None:
    """The tensors that a narrow format would hurt most; None where it hurts none."""
    name = narrowest_wanted(data)
    if name is None or not data.steps:
        return None
    casts = data.casts
    at = data.about.formats.index(name)
    rows = data.of_roles(WEIGHT, GRADIENT, CLIPPED, ACTIVATION, ACTIVATION_GRADIENT)
    hurt = casts.counts[rows, :, at].sum((1, 2))
    whole = casts.nonzero[rows].sum(1)
    share = hurt / np.maximum(whole, 1)
    worst = [int(i) for i in np.argsort(-share, kind="stable")[:WORST] if hurt[i]]
    found = [
        Row(_hurt(data, int(rows[i]), name, int(hurt[i]), int(whole[i])), casts.histograms[rows[i]])
        for i in worst
    ]
    title = _("The tensors with the largest share beyond {format}, optimizer state left out")
    return _figure(data, found, title.format(format=name))


def narrowest_wanted(data: RunData) -> str | None:
    """The candidate that tensors are held to: float16, or the first one."""
    formats = data.about.formats
    return HALF if HALF in formats else next(iter(formats), None)


def _hurt(data: RunData, series: int, name: str, hurt: int, whole: int) -> str:
    one = data.series[series]
    said = _(
        "<b>{name}</b>, {role}: {share:.2f} % become zero or overflow in {format} "
        "({hurt:,} of {whole:,})"
    )
    return said.format(
        name=middle_cut(one.name, 44), role=role_text(one.role), share=100 * hurt / whole,
        format=name, hurt=hurt, whole=whole,
    )  # fmt: skip


def _figure(data: RunData, rows: Sequence[Row], title: str) -> Any | None:
    rows = [row for row in rows if row.counts.any()]
    if not rows:
        return None
    require_plotly()
    from plotly.subplots import make_subplots

    formats = [format(name) for name in data.about.formats]
    low, high = _range(rows, formats)
    bands = BAND * len(formats) + 8
    height = ROOM + bands + ROW * len(rows)
    figure = make_subplots(
        rows=len(rows) + 1, cols=1, shared_xaxes=True, vertical_spacing=30 / (height - ROOM),
        row_heights=[bands, *[ROW] * len(rows)], subplot_titles=["", *(r.title for r in rows)],
    )  # fmt: skip
    for note in figure.layout.annotations:
        note.update(x=0, xanchor="left", font={"size": 12})
    for number, f in enumerate(formats):
        _band(figure, f, COLOURS[number % len(COLOURS)], low, high)
    for number, row in enumerate(rows, start=2):
        _histogram(figure, row, number)
    lines = [
        line
        for row in range(2, len(rows) + 2)
        for number, f in enumerate(formats)
        for line in _ends(f, COLOURS[number % len(COLOURS)], row, low, high)
    ]
    figure.update_xaxes(
        range=[low, high], showgrid=False, zeroline=False, ticks="outside", ticklen=5,
        tickcolor="#ffffff", **ticks(low, high),
    )  # fmt: skip
    figure.update_xaxes(showticklabels=True, title=_("magnitude"), row=len(rows) + 1)
    figure.update_yaxes(rangemode="tozero", nticks=4, gridcolor="#e9edf0", ticksuffix=" %",
                         exponentformat="power")  # fmt: skip
    figure.update_yaxes(type="category", autorange="reversed", ticksuffix=" ", row=1)
    return figure.update_layout(
        title={"text": title, "x": 0.01}, template="plotly_white", height=height, bargap=0.06,
        showlegend=False, barmode="overlay", shapes=lines,
        font={"family": "system-ui, sans-serif", "color": "#1c2024"},
        margin={"t": 70, "r": 20, "b": 50}, updatemenus=[switch(range(2, len(rows) + 2))],
    )  # fmt: skip


def _range(rows: Sequence[Row], formats: Sequence[Format]) -> tuple[float, float]:
    """From the least binade that is shown to the end of the largest."""
    seen = np.flatnonzero(np.any([row.counts for row in rows], axis=0)) + LOWEST
    low, high = int(seen[0]), int(seen[-1]) + 1
    near = [f for f in formats if f.emin > -100]  # those of float32's range reach far beyond
    low = min([low, *(binade(f.least_positive) for f in near)])
    high = max([high, *(f.emax + 1 for f in near)])
    return low - 2, high + 2


def _band(figure: Any, f: Format, colour: str, low: float, high: float) -> None:
    """A format as a bar: its subnormal numbers pale, its normal ones full."""
    ends = binade(f.least_positive), f.emin, f.emax + 1
    least, normal, end = (min(max(x, low), high) for x in ends)
    told = _("{format}<br>least positive {least}<br>least normal {normal}<br>largest {largest}")
    top, to = f"{float(f.max):.6g}", _("{least} to {largest}")
    first, middle = f"2<sup>{ends[0]}</sup>", f"2<sup>{f.emin}</sup>"
    hover = told.format(format=f.name, least=first, normal=middle, largest=top)
    for begin, stop, fill, ink, text in (
        (least, normal, _pale(colour), "#1c2024", _("subnormal")),
        (normal, end, colour, "#ffffff", to.format(least=middle, largest=top)),
    ):
        if stop > begin:
            characters = len(text.replace("<sup>", "").replace("</sup>", ""))
            wide = (stop - begin) / (high - low) > characters * CHARACTER
            figure.add_bar(
                base=[begin], x=[stop - begin], y=[f.name], orientation="h", row=1, col=1,
                marker={"color": fill, "line": {"width": 0}}, text=[text if wide else ""],
                hovertemplate=f"{hover}<extra></extra>", textposition="inside",
                insidetextanchor="middle",
                textfont={"size": 11, "color": ink}, constraintext="none", textangle=0,
            )  # fmt: skip


def _pale(colour: str) -> str:
    """A colour of #rrggbb, mostly white."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.3)"


def _ends(f: Format, colour: str, row: int, low: float, high: float) -> Iterator[dict[str, Any]]:
    """Where a format begins and ends, as lines through a histogram."""
    for at, dash in ((binade(f.least_positive), "dot"), (f.emin, "dash"), (f.emax + 1, "solid")):
        if low < at < high:
            yield {
                "type": "line", "x0": at, "x1": at, "xref": f"x{row}", "y0": 0, "y1": 1,
                "yref": f"y{row} domain", "opacity": 0.7,
                "line": {"color": colour, "width": 1, "dash": dash},
            }  # fmt: skip


def _histogram(figure: Any, row: Row, number: int) -> None:
    seen = np.flatnonzero(row.counts)
    total = int(row.counts.sum())
    exponents = seen + LOWEST
    told = _("{low} to {high}: {share} %<br>{part} of {whole:,} nonzero elements").format(
        low="2<sup>%{customdata[1]}</sup>", high="2<sup>%{customdata[2]}</sup>", share="%{y:.4~f}",
        part="%{customdata[0]:,}", whole=total,
    )  # fmt: skip
    figure.add_bar(
        x=exponents + 0.5, y=100 * row.counts[seen] / total, marker={"color": BAR}, width=0.94,
        customdata=np.stack([row.counts[seen], exponents, exponents + 1], 1).astype(float),
        hovertemplate=f"{told}<extra></extra>", row=number, col=1,
    )  # fmt: skip


def ticks(low: float, high: float) -> dict[str, Any]:
    """Powers of two along an axis whose values are their exponents."""
    step = 4
    while (high - low) / step > MOST_TICKS:
        step *= 2
    values = list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))
    return {"tickvals": values, "ticktext": [f"2<sup>{e}</sup>" for e in values]}


def switch(rows: Iterable[int]) -> dict[str, Any]:
    """Buttons for the axes of the histograms in some rows: shares, or their logarithm."""
    axes = [f"yaxis{'' if number == 1 else number}.type" for number in rows]
    return {
        "type": "buttons", "direction": "left", "x": 1, "xanchor": "right", "y": 1,
        "yanchor": "bottom", "pad": {"b": 6}, "bgcolor": "#ffffff",
        "buttons": [
            {"label": label, "method": "relayout", "args": [dict.fromkeys(axes, kind)]}
            for label, kind in ((_("linear"), "linear"), (_("logarithmic"), "log"))
        ],
    }  # fmt: skip
