"""L3: where a weight goes, step by step, as a figure that needs no script: lines in an SVG."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from markupsafe import Markup, escape

from halfulp.explanations.page import COLOURS, shown
from halfulp.language import translate as _
from halfulp.updates import Walk, WalkComparison

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT, TOP, BOTTOM = 92, 700, 14, 250  # of the lines
DASHES = ("", "9 4", "2 4", "9 4 2 4", "14 4")  # told apart without colours
CHARACTER = 6.7  # wide, in the figure's type
MOST_TICKS = 6

Point = tuple[int, float]


class Axis(NamedTuple):
    """Numbers along one side of a figure: where it begins and ends, and its ticks."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float, start: float, end: float) -> float:
        """Where a number is between two places."""
        # Halves, since the difference of two large numbers may be infinite.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return start + share * (end - start)


def trajectories(walks: WalkComparison | Walk) -> Markup:
    """The weight after each step, a line a strategy; nothing where no number can be drawn."""
    strategies = walks.strategies if isinstance(walks, WalkComparison) else (walks,)
    lines = {w.name: list(_points(w)) for w in strategies}
    values = [y for points in lines.values() for _x, y in points]
    if not values:
        return Markup("")
    across = axis(0, max(1, strategies[0].steps), Decimal(1))
    up = axis(*_widened(min(values), max(values)))
    ends = ", ".join(f"{w.name} {shown(w.final, 20, 8)}" for w in strategies)
    about = _("the weight after each step; at the end: {ends}").format(ends=ends)
    parts = [
        f'<svg class="hu-trajectories" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(about)}">',
        *_grid(across, up),
        *(_line(i, points, across, up) for i, points in enumerate(lines.values())),
        *_legend(list(lines)),
    ]
    return Markup("".join(parts) + "</svg>")


def _points(w: Walk) -> Iterator[Point]:
    """What of a trajectory can be drawn: it ends where it leaves the numbers that figures have."""
    for step, value in w.trajectory:
        y = value.to_float()
        if not math.isfinite(y):
            return
        yield step, y


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range that is not empty, with some room on either side."""
    room = (high / 2 - low / 2) * 0.08 or abs(low) * 0.05 or 1.0
    most = sys.float_info.max
    return max(-most, low - room), min(most, high + room)


def axis(low: float, high: float, finest: Decimal = Decimal(0)) -> Axis:
    """An axis over a range, with ticks at round numbers, no finer than ``finest``.

    >>> [text for _, text in axis(0, 100).ticks], [text for _, text in axis(1.122, 1.169).ticks]
    (['0', '20', '40', '60', '80', '100'], ['1.13', '1.14', '1.15', '1.16'])
    """
    apart = Decimal((high / 2 - low / 2) / MOST_TICKS) * 2
    power = Decimal(1).scaleb(apart.adjusted())
    step = max(finest, next(power * n for n in (1, 2, 5, 10) if power * n >= apart))
    first = math.ceil(Decimal(low) / step)
    last = math.floor(Decimal(high) / step)
    marks = [n * step for n in range(first, last + 1)]
    return Axis(low, high, tuple((float(mark), _number(mark)) for mark in marks))


def _number(mark: Decimal) -> str:
    """A tick in few characters."""
    text = f"{mark.normalize():f}"
    return text if len(text) <= 12 else f"{mark:.2e}"


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    for value, text in up.ticks:
        y = up.place(value, BOTTOM, TOP)
        yield f'<line class="hu-grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    for value, text in across.ticks:
        x = across.place(value, LEFT, RIGHT)
        yield f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{text}</text>'
    yield f'<line class="hu-axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>'
    middle = (LEFT + RIGHT) / 2
    step = escape(_("step"))
    yield f'<text x="{middle}" y="{BOTTOM + 36}" text-anchor="middle">{step}</text>'


def _line(i: int, points: Sequence[Point], across: Axis, up: Axis) -> str:
    places = " ".join(
        f"{across.place(x, LEFT, RIGHT):.1f},{up.place(y, BOTTOM, TOP):.1f}" for x, y in points
    )
    return f'<polyline {_stroke(i)} fill="none" points="{places}"/>' if points else ""


def _stroke(i: int) -> str:
    """How a line is drawn; black is the ink of the page, which may be dark."""
    colour = COLOURS[i % len(COLOURS)]
    ink = "currentColor" if colour == "#000000" else colour
    dash = DASHES[i % len(DASHES)]
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{ink}" stroke-width="2.2"{dashed}'


def _legend(names: Sequence[str]) -> Iterator[str]:
    x, y = float(LEFT), HEIGHT - 16
    for i, name in enumerate(names):
        yield f'<line {_stroke(i)} x1="{x:.1f}" x2="{x + 30:.1f}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{x + 36:.1f}" y="{y + 4}">{escape(name)}</text>'
        x += 36 + CHARACTER * len(name) + 22
