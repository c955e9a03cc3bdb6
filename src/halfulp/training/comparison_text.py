"""A comparison of recipes as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from halfulp.explanations.page import Page
from halfulp.language import in_context, plural
from halfulp.language import translate as _
from halfulp.training.attribution import REFERENCE, WHOLE, Attribution
from halfulp.training.comparison import Comparison
from halfulp.training.running import LAST, RecipeResult


def comparison_page(c: Comparison) -> Page:
    """What each recipe reached, what became of its updates, and what it cost."""
    out = Page()
    _title(out, c)
    spread = [in_context("of seeds", "least"), _("most")] if len(c.seeds) > 1 else []
    reached = [
        [_("recipe"), _("loss"), *spread, metric_text(c.metric)],
        *(_reached(c, name) for name in c.names),
    ]
    if all(r.metric is None for r in c.recipes):  # nothing was evaluated
        reached = [row[:-1] for row in reached]
    updates = [[_("recipe"), *_update_header()]]
    updates += [[name, *_updates(c, name)] for name in c.names]
    costs = [[
        _("recipe"), in_context("steps", "overflows"), _("skipped"), _("scale"), _("B/param"),
        _("s"),
    ]]  # fmt: skip
    costs += [_cost(c.of(name)) for name in c.names]
    for table in (reached, updates, costs):
        out.table(table[0], table[1:], right="12345")
        out.blank()
    _legend(out, c)
    return out


def _update_header() -> list[str]:
    return [_("updates lost"), _("share"), _("moved"), _("cosine")]


def metric_text(metric: str) -> str:
    """The name of a metric, where it is one of those that halfulp's own trainings have."""
    words = {
        "accuracy": _("accuracy"), "validation loss": _("validation loss"), "error": _("error"),
        "metric": _("metric"),
    }  # fmt: skip
    return words.get(metric, metric)


def _title(out: Page, c: Comparison) -> None:
    said = plural("{steps} steps, seed {seeds}", "{steps} steps, seeds {seeds}", len(c.seeds))
    said = said.format(steps=c.steps, seeds=", ".join(map(str, c.seeds)))
    out.line((c.target, "title"), (f"  {said}", "dim"))


def _legend(out: Page, c: Comparison) -> None:
    first = _("loss: mean of the last {steps} steps. updates lost: nonzero ones")
    if len(c.seeds) > 1:
        first = _("loss: mean of the last {steps} steps over the seeds. updates lost: nonzero ones")
    rest = _(
        "that left their weight as it was, of all nonzero ones. moved: the norm of what\n"
        "weights did over that of what the optimizer meant; cosine: between the two.\n"
        "overflows: steps with a gradient that is not finite. skipped: steps that the\n"
        "loss scaler left out. B/param: bytes kept. s: seconds."
    )
    for line in (first.format(steps=min(LAST, c.steps)), *rest.split("\n")):
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
    of = _("{lost} of {updates}").format(lost=lost, updates=updates)
    return [of, share_text(lost, updates), *(f"{x:.3f}" for x in directions)]


def _cost(rows: Sequence[RecipeResult]) -> list[str]:
    scales = sorted({r.loss_scale for r in rows if r.loss_scale is not None})
    return [
        rows[0].name,
        str(sum(r.overflows for r in rows)),
        str(sum(r.skipped for r in rows)),
        _scales(scales),
        f"{rows[0].bytes_per_parameter:.4g}",
        f"{sum(r.seconds for r in rows):.1f}",
    ]


def _scales(scales: Sequence[float]) -> str:
    """The one scale, or from which to which they went."""
    if len(scales) < 2:
        return f"{scales[0]:g}" if scales else "–"
    text = _("{least} to {largest}")
    return text.format(least=f"{scales[0]:g}", largest=f"{scales[-1]:g}")


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
    said = _("{recipe}, one site at a time; all else float32").format(recipe=a.recipe)
    out.line("  ", (said, "dim"))
    table = [[_("site"), _("format"), _("loss"), _("costs")]]
    updates = [[_("site"), *_update_header()]]
    for site in a.sites:
        costs = f"{site.cost:+.4f}" if math.isfinite(site.cost) else str(site.cost)
        name = site_text(site.name)
        table.append([name, site.format, number(site.loss), costs])
        updates.append([name, *_updates(a.comparison, site.recipe)])
    out.table(table[0], table[1:], right="23")
    out.blank()
    out.table(updates[0], updates[1:], right="1234")
    out.blank()
    said = _("costs: loss above float32's, {loss}.").format(loss=number(a.reference))
    out.line("  ", (said, "dim"))
    if len(a.comparison.seeds) > 1:
        text = _("float32 itself differs by {spread:.4f} between seeds.")
        out.line("  ", (text.format(spread=a.spread), "dim"))
    return out


def site_text(name: str) -> str:
    """A site's name in the language in use."""
    words = {
        "weights": _("weights"), "update": _("update"), "activations": _("activations"),
        "gradients": _("gradients"), "accumulation": _("accumulation"),
        "optimizer state": _("optimizer state"), WHOLE: _("all of it"), REFERENCE: _("none"),
    }  # fmt: skip
    return words.get(name, name)
