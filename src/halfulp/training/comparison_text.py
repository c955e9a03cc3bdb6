"""A comparison of recipes as text."""

from __future__ import annotations

import math

from halfulp.explanations.page import Page
from halfulp.training.comparison import LAST, Comparison, RecipeResult


def comparison_page(c: Comparison) -> Page:
    """One line a recipe: what it reached, and what it lost on the way."""
    out = Page()
    out.line((c.target, "title"), (f"  {c.steps} steps, seed {c.seed}", "dim"))
    table = [["recipe", "loss", c.metric, "updates lost", "share", "skipped", "s"]]
    table += [_row(r) for r in c.recipes]
    if all(r.metric is None for r in c.recipes):  # nothing was evaluated
        table = [row[:2] + row[3:] for row in table]
    out.table(table[0], table[1:], right="123456")
    out.blank()
    out.line(
        f"  loss: mean of the last {min(LAST, c.steps)} steps. lost: nonzero updates that left"
    )
    out.line("  their weight as it was, of all nonzero ones. skipped: steps that the loss")
    out.line("  scaler left out. s: seconds.")
    return out


def _row(r: RecipeResult) -> list[str]:
    return [
        r.name,
        f"{r.loss:.4f}" if math.isfinite(r.loss) else str(r.loss),
        "" if r.metric is None else f"{r.metric:.4f}",
        f"{r.lost} of {r.updates}",
        share_text(r),
        str(r.skipped),
        f"{r.seconds:.1f}",
    ]


def share_text(r: RecipeResult) -> str:
    """The share of updates lost, in percent."""
    return f"{100 * r.lost_share:.2f} %" if r.updates else "–"
