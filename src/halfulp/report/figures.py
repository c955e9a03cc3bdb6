"""Figures over results: plotly objects, the same in a notebook, a report and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halfulp.errors import missing_extra
from halfulp.updates import WalkComparison

if TYPE_CHECKING:
    from halfulp.training.comparison import Comparison

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
    """The loss curve of each recipe, smoothed."""
    go = require_plotly()
    figure = go.Figure()
    for i, result in enumerate(c.recipes):
        means = [
            (start + SMOOTH / 2, sum(part) / len(part))
            for start in range(0, len(result.losses), SMOOTH)
            if (part := result.losses[start : start + SMOOTH])
        ]
        figure.add_scatter(
            x=[x for x, _ in means],
            y=[y for _, y in means],
            name=result.name,
            line={"color": COLOURS[i % 5], "dash": DASHES[i % 5], "width": 2.5},
        )
    return _laid_out(figure, f"Training loss (means of {SMOOTH} steps)", "step", "loss")


def lost_figure(c: Comparison) -> Any:
    """The share of nonzero updates that each recipe lost."""
    go = require_plotly()
    bars = go.Bar(
        x=[r.name for r in c.recipes],
        y=[100 * r.lost_share for r in c.recipes],
        text=[f"{100 * r.lost_share:.2f} %" for r in c.recipes],
        hovertext=[f"{r.lost} of {r.updates} nonzero updates" for r in c.recipes],
        textposition="outside",
        cliponaxis=False,
        marker_color=COLOURS[1],
    )
    figure = _laid_out(go.Figure(bars), "Nonzero updates lost", "recipe", "percent")
    return figure.update_yaxes(range=[0, 110])


def _laid_out(figure: Any, title: str, x: str, y: str) -> Any:
    return figure.update_layout(
        title=title, xaxis_title=x, yaxis_title=y, template="plotly_white", height=420,
        font={"family": "system-ui, sans-serif", "color": "#1c2024"},
        legend={"orientation": "h", "y": -0.25}, margin={"t": 60, "r": 20},
    )  # fmt: skip
