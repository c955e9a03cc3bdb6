"""Figures of formats: their ranges, how close their numbers are, and all numbers of a small one.

Axes are powers of two, given to plotly as exponents: what a format reaches may be beyond floats.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

from halfulp.catalogue import Format, binade, format, power_of_two
from halfulp.explanations.code_table import WIDEST, CodeRow, CodeTable
from halfulp.explanations.formats import CatalogueTable, FormatSheet
from halfulp.explanations.page import COLOURS, scientific, shown
from halfulp.explanations.ranges import Ranges
from halfulp.language import translate as _
from halfulp.report.figures import require_plotly

# What a format is best compared with.
REFERENCES = ("float32", "bfloat16", "float16", "float8_e5m2", "float8_e4m3fn")
INK, GRID = "#1c2024", "#e3e7ea"
FULL, PALE = COLOURS[0], "#a9cbe3"  # normal and subnormal numbers as bars
KINDS = {"normal": COLOURS[0], "subnormal": COLOURS[1], "zero": COLOURS[4]}  # and as lines
DASHES = ("solid", "7px,3px", "2px,2px", "8px,3px,2px,3px", "12px,3px")  # seen on short lines too
BAR, ROOM = 26, 170  # pixels of a format, and around all of them
WIDE = 8  # exponent bits beyond which a range leaves no room for the others
MOST_TICKS = 12
CURVE = 64  # binades; on more, the saw's teeth would be one blur
FARTHEST = 1000  # exponents that are left to floats


def ranges_figure(formats: Iterable[str | Format]) -> Any:
    """From the least to the largest number of each format, the subnormal part pale.

    Raises HalfulpError for an unknown format, and for none at all.
    """
    go = require_plotly()
    chosen = [format(f) for f in formats]
    rows = Ranges.of(chosen).formats
    normal = [min(row.least_normal, row.largest) for row in rows]
    figure = go.Figure()
    for label, colour, begin, end in (
        (_("subnormal"), PALE, [row.least for row in rows], normal),
        (_("normal"), FULL, normal, [row.largest for row in rows]),
    ):
        figure.add_bar(
            y=[row.name for row in rows], base=begin, orientation="h", name=label,
            x=[stop - start for start, stop in zip(begin, end, strict=True)],
            marker={"color": colour, "line": {"width": 0}},
            customdata=[_told(f) for f in chosen], hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    low, high = _near(chosen)
    for f, row in zip(chosen, rows, strict=True):
        if row.least < low and row.largest > high:  # its ends are out of sight
            ends = _("{least} to {largest}").format(
                least=_power(row.least), largest=_power(math.ceil(row.largest))
            )
            figure.add_annotation(
                x=(low + high) / 2, y=f.name, text=f"◀ {ends} ▶", showarrow=False,
                font={"color": "#ffffff", "size": 11},
            )  # fmt: skip
        figure.add_annotation(
            x=1.01, xref="paper", y=f.name, text=_brief(f.max), showarrow=False, xanchor="left",
        )  # fmt: skip
    figure.add_annotation(
        x=1.01, xref="paper", y=1, yref="paper", yshift=14, text=_("largest"), showarrow=False,
        xanchor="left", font={"color": "#5b6470"},
    )  # fmt: skip
    _views(figure, chosen)
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", showgrid=False, title="")
    title = _("Ranges, from the least positive to the largest number")
    _laid_out(figure, title, _("magnitude"), "", ROOM + BAR * len(rows))
    return figure.update_layout(barmode="overlay", bargap=0.35, margin={"r": 100})


def density_figure(formats: Iterable[str | Format]) -> Any:
    """ulp(x)/x over x for each format: flat where numbers are normal, rising below.

    Raises HalfulpError for an unknown format, and for none at all.
    """
    go = require_plotly()
    chosen = [format(f) for f in formats]
    low, high = _near(chosen)
    figure = go.Figure()
    for i, f in enumerate(chosen):
        points = _curve(f, teeth=high - low <= CURVE and f.exponent_bits <= WIDE)
        figure.add_scatter(
            x=[x for x, _y in points], y=[y for _x, y in points], name=f.name, mode="lines",
            line={
                "color": COLOURS[i % len(COLOURS)], "width": 2.5,
                "dash": DASHES[(i // len(COLOURS) + i) % len(DASHES)],
            },
            customdata=[_gap(*point) for point in points],
            hovertemplate="%{customdata}<extra>" + f.name + "</extra>",
        )  # fmt: skip
    _views(figure, chosen)
    bits = max(f.fraction_bits for f in chosen)
    figure.update_yaxes(range=[-bits - 1.5, 1], **_ticks(-bits - 1, 0))
    title = _("The gap to the next number, relative to the number")
    y = _("ulp / value") if high - low <= CURVE else _("ulp / value, at most in a binade")
    return _laid_out(figure, title, _("magnitude"), y, 460)


def number_line_figure(target: str | Format) -> Any:
    """All numbers of a format of at most 8 bits: to scale, and with the small ones spread out.

    Raises HalfulpError for an unknown format, and for one of more than 8 bits.
    """
    require_plotly()
    from plotly.subplots import make_subplots

    table = CodeTable.of(target)
    f, rows = table.format, [row for row in table.rows if row.value.is_finite]
    unit = _("to scale, in units of {unit}") if _unit(f) else _("to scale")
    spread = _("linear up to the least normal number, then logarithmic")
    titles = [unit.format(unit=_power(_unit(f))), spread]
    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.42, subplot_titles=titles)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13, "color": "#5b6470"})
    for kind, colour in KINDS.items():
        mine = [row for row in rows if row.kind == kind]
        for place, at in enumerate((_to_scale, _spread), start=1):
            figure.add_scatter(
                x=[at(f, row.value.value) for row in mine], y=[0] * len(mine), mode="markers",
                marker={
                    "symbol": "line-ns", "size": 30, "line": {"width": 1.2, "color": colour},
                    "color": colour,
                },
                name=_(kind), legendgroup=kind, showlegend=place == 1 and bool(mine),
                customdata=[_named(row) for row in mine],
                hovertemplate="%{customdata}<extra></extra>", row=place, col=1,
            )  # fmt: skip
    figure.update_yaxes(visible=False, range=[-1, 1], fixedrange=True)
    figure.update_xaxes(zeroline=False, showgrid=False, ticks="outside", showline=True)
    figure.update_xaxes(row=2, col=1, **_spread_ticks(f))
    title = _("All numbers of {format}").format(format=f)
    _laid_out(figure, title, "", "", 350)
    return figure.update_layout(hovermode="closest")


def catalogue_ranges(table: CatalogueTable) -> Any:
    """The ranges of all formats of a catalogue."""
    return ranges_figure(row.name for row in table.formats)


def catalogue_density(table: CatalogueTable) -> Any:
    """The densities of the formats that are best compared, where a catalogue has them."""
    names = [row.name for row in table.formats]
    return density_figure([name for name in REFERENCES if name in names] or names)


def sheet_ranges(sheet: FormatSheet) -> Any:
    """The range of a format beside the well-known ones."""
    return ranges_figure(_beside(sheet.format))


def sheet_density(sheet: FormatSheet) -> Any:
    """The density of a format beside the well-known ones."""
    return density_figure(_beside(sheet.format))


def sheet_numbers(sheet: FormatSheet) -> Any | None:
    """All numbers of a format; None where they are too many to draw."""
    return number_line_figure(sheet.format) if sheet.format.width <= WIDEST else None


def compared_ranges(ranges: Ranges) -> Any:
    """The ranges of the formats that were compared."""
    return ranges_figure(row.name for row in ranges.formats)


def compared_density(ranges: Ranges) -> Any:
    """The densities of the formats that were compared."""
    return density_figure(row.name for row in ranges.formats)


def table_numbers(table: CodeTable) -> Any:
    """All numbers of a format whose codes were listed."""
    return number_line_figure(table.format)


def _beside(f: Format) -> list[str | Format]:
    return [f, *(name for name in REFERENCES if name != f.name)]


# What is said of a point.


def _told(f: Format) -> str:
    """A format's ends."""
    least, normal = _power(binade(f.least_positive)), _power(f.emin)
    said = _("{format}<br>least positive {least}<br>least normal {normal}<br>largest {largest}")
    return said.format(format=f.name, least=least, normal=normal, largest=_brief(f.max))


def _gap(at: float, relative: float) -> str:
    said = _("at {value} the gap is {gap} of it")
    return said.format(value=_power(at), gap=_power(relative))


def _named(row: CodeRow) -> str:
    return f"{shown(row.value, 24)}<br>{row.code}, {row.bits}<br>{_(row.kind)}"


def _power(exponent: float) -> str:
    return f"2<sup>{exponent:g}</sup>".replace("-", "−")


def _brief(value: Fraction) -> str:
    """A number in few characters."""
    return shown(value, 8) if value < 10**8 and value.denominator < 10**4 else scientific(value, 4)


# Where things stand.


def _curve(f: Format, teeth: bool) -> list[tuple[float, float]]:
    """log2 of x and of ulp(x)/x: a straight line below the least normal number, then a saw.

    Without teeth the line goes along their tips.
    """
    (row,) = Ranges.of([f]).formats
    normal, top, flat = min(row.least_normal, row.largest), row.largest, float(-f.fraction_bits)
    points: list[tuple[float, float]] = []
    if row.least < normal:  # the gap stays the same
        gap = f.least_quantum_exponent
        points += [(row.least, gap - row.least), (normal, gap - normal)]
    if not teeth:
        return [*points, (normal, flat), (top, flat)] if normal < top else points
    for e in range(f.emin, f.emax + 1):
        end = min(e + 1.0, top)
        points += [(e, flat), (end, flat - (end - e))]
    return points


def _to_scale(f: Format, value: Fraction) -> float:
    return float(value / power_of_two(_unit(f)))


def _unit(f: Format) -> int:
    """log2 of what an axis counts in: 1, unless floats do not reach so far."""
    return 0 if f.emax < FARTHEST and binade(f.least_positive) > -FARTHEST else f.emax


def _spread(f: Format, value: Fraction) -> float:
    """The least normal number at 1, one more for every binade, and linear below."""
    size = abs(value) / f.least_normal
    if size > 1:
        exponent = binade(size)
        place = 1 + exponent + math.log2(size / power_of_two(exponent))
    else:
        place = float(size)
    return -place if value < 0 else place


def _exponents(low: float, high: float, most: int = MOST_TICKS) -> list[int]:
    """So many whole numbers of a range, evenly apart by a power of two."""
    step = 1
    while (high - low) / step > most:
        step *= 2
    return list(range(math.ceil(low / step) * step, math.floor(high) + 1, step))


def _ticks(low: float, high: float) -> dict[str, Any]:
    exponents = _exponents(low, high)
    return {"tickvals": exponents, "ticktext": [_power(e) for e in exponents]}


def _spread_ticks(f: Format) -> dict[str, Any]:
    """Powers of two on both sides, and zero, where there is room between."""
    exponents = _exponents(f.emin, f.emax, MOST_TICKS // (1 + int(f.signed)))
    step = exponents[1] - exponents[0] if len(exponents) > 1 else 1
    marks = [(0.0, "0")] if f.zero else []
    for e in exponents:
        at = _spread(f, power_of_two(e))
        if at >= step or not f.zero:
            marks += [(at, _power(e)), *([(-at, f"−{_power(e)}")] if f.signed else [])]
    return {"tickvals": [at for at, _text in marks], "ticktext": [text for _at, text in marks]}


def _near(formats: Sequence[Format]) -> tuple[float, float]:
    """The magnitudes of the formats, without those that would leave no room for the others."""
    rows = Ranges.of([f for f in formats if f.exponent_bits <= WIDE] or formats).formats
    return min(row.least for row in rows), max(row.largest for row in rows)


def _views(figure: Any, formats: Sequence[Format]) -> None:
    """The axis of magnitudes, and buttons for all of it where some formats reach far beyond."""
    rows = Ranges.of(formats).formats
    near = _near(formats)
    whole = min(row.least for row in rows), max(row.largest for row in rows)
    views = [_axis(*near), _axis(*whole)]
    figure.update_xaxes(gridcolor=GRID, zeroline=False, **views[0])
    if near == whole:
        return
    labels = _("up to 8 exponent bits"), _("all")
    buttons = [
        {
            "label": label, "method": "relayout",
            "args": [{f"xaxis.{key}": value for key, value in view.items()}],
        }
        for label, view in zip(labels, views, strict=True)
    ]  # fmt: skip
    menu = {
        "type": "buttons", "direction": "left", "x": 1, "xanchor": "right", "y": 1,
        "yanchor": "bottom", "pad": {"b": 24}, "bgcolor": "#ffffff", "buttons": buttons,
    }  # fmt: skip
    figure.update_layout(updatemenus=[menu])


def _axis(low: float, high: float) -> dict[str, Any]:
    room = (high - low) / 40 or 1
    return {"range": [low - room, high + room], **_ticks(low, high)}


def _laid_out(figure: Any, title: str, x: str, y: str, height: int) -> Any:
    return figure.update_layout(
        title={"text": title, "x": 0.01}, xaxis_title=x, yaxis_title=y, height=height,
        template="plotly_white", font={"family": "system-ui, sans-serif", "color": INK},
        legend={"orientation": "h", "yref": "container", "y": 0.01, "yanchor": "bottom"},
        margin={"t": 90, "r": 20, "b": 90},
    )  # fmt: skip
