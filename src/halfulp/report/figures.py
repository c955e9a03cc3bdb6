"""Figures over results: plotly objects, the same in a notebook, a report and a page."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING, Any

from halfulp.errors import missing_extra
from halfulp.exact import finite
from halfulp.explanations.page import COLOURS
from halfulp.language import translate as _
from halfulp.recurrence import half_gap
from halfulp.updates import WalkComparison

if TYPE_CHECKING:
    from halfulp.training.attribution import Attribution
    from halfulp.training.comparison import Comparison
    from halfulp.training.footprint import Memory

# A dash of their own tells lines apart in print.
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SMOOTH = 25  # steps averaged for a point of a loss curve


def require_plotly() -> Any:
    """The figures of plotly, or an error that names the extra."""
    try:
        import plotly.graph_objects
    except ModuleNotFoundError:
        raise missing_extra("plotly", "report", _("an HTML page with figures")) from None
    return plotly.graph_objects


def plotly_script() -> str:
    """The script of plotly, as the package ships it."""
    require_plotly()
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def walk_figure(c: WalkComparison) -> Any:
    """The trajectories of all strategies."""
    go = require_plotly()
    figure = go.Figure()
    for i, walk in enumerate(c.strategies):
        points = [(n, w.to_float()) for n, w in walk.trajectory if w.is_finite]
        figure.add_scatter(
            x=[n for n, _ in points],
            y=[w for _, w in points],
            name=walk.name,
            line={"color": COLOURS[i % 5], "dash": DASHES[i % 5], "width": 2.5},
        )
    _mark_threshold(figure, c)
    title = _("The weight under each strategy ({format})").format(format=c.update.format)
    return _laid_out(figure, title, _("update"), _("weight"))


def _mark_threshold(figure: Any, c: WalkComparison) -> None:
    """The band that one update must cross to move the weight: half the gap to the next number."""
    half = half_gap(c.update)
    if half is None:
        return
    start = c.update.stored_weight.value
    beyond = start - half if c.update.added.negative else start + half
    low, high = sorted(finite(value).to_float() for value in (start, beyond))
    if -math.inf < low < high < math.inf:  # beyond float64 nothing is drawn
        figure.add_hrect(
            y0=low, y1=high, fillcolor=COLOURS[1], opacity=0.15, line_width=0,
            annotation_text=_("half a gap"), annotation_position="bottom right",
        )  # fmt: skip


def loss_figure(c: Comparison) -> Any:
    """The loss curve of each recipe, smoothed, and the mean of its seeds."""
    go = require_plotly()
    figure = go.Figure()
    for i, name in enumerate(c.names):
        curves = [r.losses for r in c.of(name)]
        mean = [fmean(at) for at in zip(*curves, strict=True)]
        points = [
            (start + SMOOTH / 2, fmean(part))
            for start in range(0, len(mean), SMOOTH)
            if (part := mean[start : start + SMOOTH])
        ]
        dash = DASHES[(i // len(COLOURS) + i) % len(DASHES)]  # no pair of both comes twice
        figure.add_scatter(
            x=[x for x, _ in points],
            y=[y for _, y in points],
            name=name,
            line={"color": COLOURS[i % len(COLOURS)], "dash": dash, "width": 2.5},
        )
    title = _("Training loss (means of {steps} steps)")
    if len(c.seeds) > 1:
        title = _("Training loss (means of {steps} steps, {seeds} seeds)")
    title = title.format(steps=SMOOTH, seeds=len(c.seeds))
    return _laid_out(figure, title, _("step"), _("loss"))


def lost_figure(c: Comparison) -> Any:
    """The share of nonzero updates that each recipe lost."""
    go = require_plotly()
    counts = [c.updates_of(name) for name in c.names]
    told = _("{lost} of {updates} nonzero updates")
    shares = [100 * lost / updates if updates else 0.0 for lost, updates in counts]
    bars = go.Bar(
        x=c.names,
        y=shares,
        text=[f"{share:.2f} %" for share in shares],
        hovertext=[told.format(lost=lost, updates=updates) for lost, updates in counts],
        textposition="outside",
        cliponaxis=False,
        marker_color=COLOURS[1],
    )
    figure = _laid_out(go.Figure(bars), _("Nonzero updates lost"), _("recipe"), _("percent"))
    return figure.update_yaxes(range=[0, 110])


def cost_figure(a: Attribution) -> Any:
    """What each site costs alone, in loss."""
    go = require_plotly()
    from halfulp.training.comparison_text import site_text

    told = _("{format}: loss {loss:.4f}")
    sites = [site for site in a.sites if site.recipe != "float32"]
    bars = go.Bar(
        x=[site_text(site.name) for site in sites],
        y=[site.cost for site in sites],
        text=[f"{site.cost:+.4f}" for site in sites],
        hovertext=[told.format(format=site.format, loss=site.loss) for site in sites],
        textposition="outside",
        cliponaxis=False,
        marker_color=COLOURS[0],
    )
    title = _("Loss above float32's, {recipe} one site at a time").format(recipe=a.recipe)
    figure = _laid_out(go.Figure(bars), title, _("site"), _("loss"))
    if len(a.comparison.seeds) > 1:
        band = {"fillcolor": COLOURS[4], "opacity": 0.08, "line_width": 0}
        figure.add_hrect(y0=-a.spread / 2, y1=a.spread / 2, **band)
    return figure


def memory_figure(m: Memory) -> Any:
    """Bytes of a trained parameter, stacked by role."""
    go = require_plotly()
    figure = go.Figure()
    roles = {
        "weights": _("weights"), "master": _("master"), "rest": _("rest"), "state": _("state"),
        "gradients": _("gradients"),
    }  # fmt: skip
    for (role, name), colour in zip(roles.items(), COLOURS, strict=True):
        values = [getattr(row, role) for row in m.recipes]
        figure.add_bar(x=[row.name for row in m.recipes], y=values, name=name, marker_color=colour)
    title = _("Bytes of a trained parameter by role ({optimizer})").format(optimizer=m.optimizer)
    return _laid_out(figure, title, _("recipe"), _("bytes")).update_layout(barmode="stack")


def _laid_out(figure: Any, title: str, x: str, y: str) -> Any:
    return figure.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", height=420,
        font={"family": "system-ui, sans-serif", "color": "#1c2024"},
        legend={"orientation": "h", "y": -0.25}, margin={"t": 60, "r": 20},
    )  # fmt: skip
