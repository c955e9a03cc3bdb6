"""A run at a glance as text: what fits a terminal's page."""

from __future__ import annotations

import time
from fractions import Fraction

from halfulp.explanations.page import LABEL, WIDTH, Page
from halfulp.runs.finding import percent, several
from halfulp.runs.glance import Glance
from halfulp.runs.samples import Head
from halfulp.runs.scale_window import range_text
from halfulp.runs.verdicts import Findings
from halfulp.runs.verdicts_text import STYLES, WAY_HEADER, counted, legend, way_cells

LATE = 10  # seconds after which a sample's age is told in minutes, and so on
MOST = 4  # findings


def glance_page(g: Glance, found: Findings | None = None) -> Page:
    """Where a run stands; with what was found, where that is known."""
    out = Page()
    out.line((g.model, "title"), (f"  {g.optimizer}, {_file(g.path)}", "dim"))
    if g.last is None:
        out.line(f"  No step was sampled yet: every {_ordinal(g.every)} will be.")
    else:
        _where(out, g, g.last)
    if g.ways:
        out.blank()
        _updates(out, g)
    if g.events:
        out.blank()
        _events(out, g)
    if found is not None:
        out.blank()
        _found(out, found)
    return out


def _where(out: Page, g: Glance, last: Head) -> None:
    taken = {True: "taken", False: "skipped", None: "taken or not is not known"}[last.taken]
    out.labelled(
        "step", f"{last.step:,}, {taken}, {age(time.time() - last.time)} ago; "
        f"{several(g.sampled, 'sampled step')}",
    )  # fmt: skip
    if last.settings:
        out.labelled("settings", ", ".join(f"{name} {x:.6g}" for name, x in last.settings))
    if last.nonfinite:
        out.labelled("nonfinite", f"{several(last.nonfinite, 'element')} of all tensors")
    scale = "none" if last.loss_scale is None else f"{last.loss_scale:g}"
    if g.window is None:
        out.labelled("loss scale", scale)
        return
    w = g.window
    outside = " – below it" if w.is_below else " – above it" if w.is_above else ""
    out.labelled("loss scale", f"{scale}; for {w.format} {_fits(w.least, w.largest)}{outside}")
    between = [f"from below by {w.bound_below}"] if w.bound_below else []
    between += [f"from above by {w.bound_above}"] if w.bound_above else []
    out.labelled("bound", ", ".join(between))


def _fits(least: Fraction | None, largest: Fraction | None) -> str:
    text = range_text(least, largest)
    return text if text.startswith("none") else f"{text} fits"


def _updates(out: Page, g: Glance) -> None:
    rows = [
        [c.name + (" *" if c.name in g.running_ways else ""), *way_cells(c)[:4]] for c in g.ways
    ]
    out.table(WAY_HEADER[:5], rows, right="1234")
    legend(
        out, f"of {several(g.ways[0].updates, 'nonzero update')} at step {g.updates_step:,}. "
        "*: as it runs",
    )  # fmt: skip
    for number, tensor in enumerate(g.worst):
        out.labelled("" if number else "worst", f"{tensor.name}: "
                     f"{percent(tensor.lost, tensor.updates)}")  # fmt: skip


def _events(out: Page, g: Glance) -> None:
    for number, event in enumerate(g.events):
        text = _cut(f"step {event.step:,}, {event.kind}: {event.sentence}", WIDTH - 2 - LABEL)
        out.labelled("" if number else "newest", (text, ""))
    if g.event_count > len(g.events):
        more = several(g.event_count - len(g.events), "event")
        out.labelled("", (f"and {more} before", "dim"))


def _found(out: Page, found: Findings) -> None:
    out.line("  ", (counted(found), "dim"))
    for finding in found.findings[:MOST]:
        severity = finding.severity.ljust(LABEL)
        out.line(
            "  ", (severity, STYLES[finding.severity]), _cut(finding.sentence, WIDTH - 2 - LABEL)
        )


def _cut(text: str, width: int) -> str:
    """One line of a text."""
    return text if len(text) <= width else f"{text[: width - 1].rstrip()}…"


def _file(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _ordinal(every: int) -> str:
    return "one" if every == 1 else f"{every:,}th"


def age(seconds: float) -> str:
    """How long ago, in its largest unit.

    >>> age(3.2), age(200), age(7300), age(1e6)
    ('3 s', '3 min', '2 h', '12 days')
    """
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
