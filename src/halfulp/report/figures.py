"""Figures over results: plotly objects, the same in a notebook, a report and a page."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Any

from halfulp.errors import missing_extra
from halfulp.updates import WalkComparison

if TYPE_CHECKING:
    from halfulp.training.attribution import Attribution
    from halfulp.training.comparison import Comparison
    from halfulp.training.footprint import Memory

# Okabe and Ito's colours, told apart by every eye, and a dash of their own for print.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SMOOTH = 25  # steps averaged for a point of a loss curve


def require_plotly() -> Any:
    """The figures of plotly, or an error that names the extra."""
    try:
        import plotly.graph_objects
    except ModuleNotFoundError:
        raise missing_extra("plotly", "report", "an HTML page with figures") from None
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
    title = f"The weight under each strategy ({c.update.format})"
    return _laid_out(figure, title, "update", "weight")


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
    seeds = f", {len(c.seeds)} seeds" if len(c.seeds) > 1 else ""
    return _laid_out(figure, f"Training loss (means of {SMOOTH} steps{seeds})", "step", "loss")


def lost_figure(c: Comparison) -> Any:
    """The share of nonzero updates that each recipe lost."""
    go = require_plotly()
    counts = [c.updates_of(name) for name in c.names]
    shares = [100 * lost / updates if updates else 0.0 for lost, updates in counts]
    bars = go.Bar(
        x=c.names,
        y=shares,
        text=[f"{share:.2f} %" for share in shares],
        hovertext=[f"{lost} of {updates} nonzero updates" for lost, updates in counts],
        textposition="outside",
        cliponaxis=False,
        marker_color=COLOURS[1],
    )
    figure = _laid_out(go.Figure(bars), "Nonzero updates lost", "recipe", "percent")
    return figure.update_yaxes(range=[0, 110])


def cost_figure(a: Attribution) -> Any:
    """What each site costs alone, in loss."""
    go = require_plotly()
    sites = [site for site in a.sites if site.recipe != "float32"]
    bars = go.Bar(
        x=[site.name for site in sites],
        y=[site.cost for site in sites],
        text=[f"{site.cost:+.4f}" for site in sites],
        hovertext=[f"{site.format}: loss {site.loss:.4f}" for site in sites],
        textposition="outside",
        cliponaxis=False,
        marker_color=COLOURS[0],
    )
    title = f"Loss above float32's, {a.recipe} one site at a time"
    figure = _laid_out(go.Figure(bars), title, "site", "loss")
    if len(a.comparison.seeds) > 1:
        band = {"fillcolor": COLOURS[4], "opacity": 0.08, "line_width": 0}
        figure.add_hrect(y0=-a.spread / 2, y1=a.spread / 2, **band)
    return figure


def memory_figure(m: Memory) -> Any:
    """Bytes of a trained parameter, stacked by role."""
    go = require_plotly()
    figure = go.Figure()
    roles = ("weights", "master", "rest", "state", "gradients")
    for role, colour in zip(roles, COLOURS, strict=True):
        values = [getattr(row, role) for row in m.recipes]
        figure.add_bar(x=[row.name for row in m.recipes], y=values, name=role, marker_color=colour)
    title = f"Bytes of a trained parameter by role ({m.optimizer})"
    return _laid_out(figure, title, "recipe", "bytes").update_layout(barmode="stack")


def _laid_out(figure: Any, title: str, x: str, y: str) -> Any:
    return figure.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", height=420,
        font={"family": "system-ui, sans-serif", "color": "#1c2024"},
        legend={"orientation": "h", "y": -0.25}, margin={"t": 60, "r": 20},
    )  # fmt: skip
