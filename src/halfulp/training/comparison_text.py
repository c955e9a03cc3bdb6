"""A comparison of recipes as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from halfulp.explanations.page import Page
from halfulp.training.attribution import Attribution
from halfulp.training.comparison import Comparison
from halfulp.training.running import LAST, RecipeResult


def comparison_page(c: Comparison) -> Page:
    """What each recipe reached, what became of its updates, and what it cost."""
    out = Page()
    _title(out, c)
    spread = ["least", "most"] if len(c.seeds) > 1 else []
    reached = [["recipe", "loss", *spread, c.metric], *(_reached(c, name) for name in c.names)]
    if all(r.metric is None for r in c.recipes):  # nothing was evaluated
        reached = [row[:-1] for row in reached]
    updates = [["recipe", "updates lost", "share", "moved", "cosine"]]
    updates += [[name, *_updates(c, name)] for name in c.names]
    costs = [["recipe", "overflows", "skipped", "scale", "B/param", "s"]]
    costs += [_cost(c.of(name)) for name in c.names]
    for table in (reached, updates, costs):
        out.table(table[0], table[1:], right="12345")
        out.blank()
    _legend(out, c)
    return out


def _title(out: Page, c: Comparison) -> None:
    seeds = f"seed {c.seeds[0]}" if len(c.seeds) == 1 else f"seeds {', '.join(map(str, c.seeds))}"
    out.line((c.target, "title"), (f"  {c.steps} steps, {seeds}", "dim"))


def _legend(out: Page, c: Comparison) -> None:
    many = " over the seeds" if len(c.seeds) > 1 else ""
    for line in (
        f"loss: mean of the last {min(LAST, c.steps)} steps{many}. updates lost: nonzero ones",
        "that left their weight as it was, of all nonzero ones. moved: the norm of what",
        "weights did over that of what the optimizer meant; cosine: between the two.",
        "overflows: steps with a gradient that is not finite. skipped: steps that the",
        "loss scaler left out. B/param: bytes kept. s: seconds.",
    ):
        out.line("  ", (line, "dim"))


def _reached(c: Comparison, name: str) -> list[str]:
    rows = c.of(name)
    losses = [r.loss for r in rows]
    spread = [number(min(losses)), number(max(losses))] if len(rows) > 1 else []
    metrics = [r.metric for r in rows if r.metric is not None]
    return [name, number(fmean(losses)), *spread, number(fmean(metrics)) if metrics else ""]


def _updates(c: Comparison, name: str) -> list[str]:
    (lost, updates), rows = c.updates_of(name), c.of(name)
    directions = fmean(r.norm_ratio for r in rows), fmean(r.cosine for r in rows)
    return [f"{lost} of {updates}", share_text(lost, updates), *(f"{x:.3f}" for x in directions)]


def _cost(rows: Sequence[RecipeResult]) -> list[str]:
    scales = sorted({r.loss_scale for r in rows if r.loss_scale is not None})
    return [
        rows[0].name,
        str(sum(r.overflows for r in rows)),
        str(sum(r.skipped for r in rows)),
        " to ".join(f"{scale:g}" for scale in dict.fromkeys((*scales[:1], *scales[-1:]))) or "–",
        f"{rows[0].bytes_per_parameter:.4g}",
        f"{sum(r.seconds for r in rows):.1f}",
    ]


def number(x: float) -> str:
    """A loss or a metric to four places."""
    return f"{x:.4f}" if math.isfinite(x) else str(x)


def share_text(lost: int, updates: int) -> str:
    """The share of updates lost, in percent."""
    return f"{100 * lost / updates:.2f} %" if updates else "–"


def attribution_page(a: Attribution) -> Page:
    """What each site costs alone."""
    out = Page()
    _title(out, a.comparison)
    out.line("  ", (f"{a.recipe}, one site at a time; all else float32", "dim"))
    table = [["site", "format", "loss", "costs"]]
    updates = [["site", "updates lost", "share", "moved", "cosine"]]
    for site in a.sites:
        costs = f"{site.cost:+.4f}" if math.isfinite(site.cost) else str(site.cost)
        table.append([site.name, site.format, number(site.loss), costs])
        updates.append([site.name, *_updates(a.comparison, site.recipe)])
    out.table(table[0], table[1:], right="23")
    out.blank()
    out.table(updates[0], updates[1:], right="1234")
    out.blank()
    out.line("  ", (f"costs: loss above float32's, {number(a.reference)}.", "dim"))
    if len(a.comparison.seeds) > 1:
        text = f"float32 itself differs by {a.spread:.4f} between seeds."
        out.line("  ", (text, "dim"))
    return out
