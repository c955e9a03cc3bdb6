"""What was found in a run as text: findings first, then updates by way, then loss scales."""

from __future__ import annotations

import textwrap

from halfulp.explanations.page import WIDTH, Page
from halfulp.runs.finding import SEVERITIES, Finding, magnitude, several, share
from halfulp.runs.scale_window import Windows, range_text
from halfulp.runs.survey import WayCounts
from halfulp.runs.verdicts import Findings

COLUMN = 9  # of a severity
STYLES = {"error": "bad", "warning": "key", "note": "dim"}


def findings_page(f: Findings) -> Page:
    """All that was found, and what it was judged by."""
    out = Page()
    _title(out, f)
    out.line("  ", (counted(f), "dim"))
    out.blank()
    for finding in f.findings:
        finding_lines(out, finding)
    if not f.findings:
        out.line("  Nothing was found." if f.sampled else "  No step was sampled yet.")
    if f.ways:
        out.blank()
        _ways(out, f)
    if f.windows is not None:
        out.blank()
        _windows(out, f.windows)
    return out


def _title(out: Page, f: Findings) -> None:
    steps = f", {f.first_step:,} to {f.last_step:,}" if f.sampled else ""
    sampled = f"  {f.optimizer}, {several(f.sampled, 'sampled step')}{steps}"
    out.line((f.model, "title"), (sampled, "dim"))


def counted(f: Findings) -> str:
    """How many findings there are of each severity.

    A severity without any is told as well, so that none looks overlooked.
    """
    return ", ".join(several(len(f.of(severity)), severity) for severity in SEVERITIES)


def finding_lines(out: Page, f: Finding) -> None:
    """One finding: its severity, its sentence, and its command."""
    # A number and its sign stay on one line.
    lines = textwrap.wrap(f.sentence.replace(" %", "\0%"), WIDTH - 2 - COLUMN) or [""]
    first, *rest = (line.replace("\0", " ") for line in lines)
    out.line("  ", (f.severity.ljust(COLUMN), STYLES[f.severity]), first)
    for line in rest:
        out.line(" " * (2 + COLUMN), line)
    for line in _command_lines(f.command or ""):
        out.line(" " * (2 + COLUMN), (line, "good"))


def _command_lines(command: str) -> list[str]:
    """A command, on several lines as shells take them."""
    *head, last = textwrap.wrap(
        command, WIDTH - 4 - COLUMN, break_long_words=False, break_on_hyphens=False
    ) or [""]
    return [*(f"{line} \\" for line in head), last] if command else []


def _ways(out: Page, f: Findings) -> None:
    rows = []
    if f.running is not None and len(f.running_ways) > 1:
        rows.append(["as it runs", *way_cells(f.running)])
    for counts in f.ways:
        mark = " *" if counts.name in f.running_ways else ""
        rows.append([counts.name + mark, *way_cells(counts)])
    header, decays = WAY_HEADER, f.ways[0].decays
    if not decays:
        header, rows = header[:-1], [row[:-1] for row in rows]
    out.table(header, rows, right="123456")
    also = f" and {several(decays, 'decay')}" if decays else ""
    legend(
        out, f"of {several(f.ways[0].updates, 'nonzero update')}{also} over "
        f"{several(f.updates_read, 'sampled step')}. lost: all that is kept of the weight stays as "
        "it was. length: of what arrives, over that of what was meant; cosine: between the two. "
        "*: as it runs; all others are what would be.",
    )  # fmt: skip


def legend(out: Page, text: str) -> None:
    """What a table means."""
    for line in textwrap.wrap(text, WIDTH - 2):
        out.line("  ", (line, "dim"))


WAY_HEADER = ["weights kept as", "updates lost", "share", "length", "cosine", "decays lost"]


def way_cells(c: WayCounts) -> list[str]:
    """A way's counts as cells of a table, after its name."""
    return [
        f"{c.lost:,}",
        share(c.lost, c.updates),
        f"{c.norm_ratio:.3f}",
        f"{c.cosine:.3f}",
        f"{c.decays_lost:,}",
    ]


def _windows(out: Page, w: Windows) -> None:
    kept = f"{float(w.share):.4%}".rstrip("0%").rstrip(".")
    out.line(
        ("  loss scale", "title"),
        (f"  for gradients in {w.format}, {kept} % of each tensor's kept", "dim"),
    )
    rows = [row for row in w.rows if row.largest is not None]
    if not rows:
        out.line("  No gradient was seen.")
        return
    last = rows[-1]
    out.labelled("last", f"{range_text(last.least, last.largest)} at step {last.step:,}")
    out.labelled("all steps", range_text(w.least, w.largest))
    if w.bound_below is not None:
        out.labelled("below", f"bound by {w.bound_below} at step {w.below_step:,}")
    if w.bound_above is not None:
        out.labelled("above", f"bound by {w.bound_above} at step {w.above_step:,}")
    scaled = [row.loss_scale for row in rows if row.loss_scale is not None]
    if scaled:
        low, high = magnitude(min(scaled)), magnitude(max(scaled))
        out.labelled("running", low if low == high else f"{low} to {high}")
    if last.hidden is not None:
        out.labelled(
            "unseen", f"{last.hidden} and its like were narrow already: the least cannot be told"
        )
    read = f"{len(w.rows):,} of " if len(w.rows) < w.sampled else ""
    legend(
        out, f"from {read}{several(w.sampled, 'sampled step')}. The least is told by binade: it is "
        "right, or one power of two more than is needed.",
    )  # fmt: skip


def windows_page(w: Windows) -> Page:
    """The loss scales that fit a run."""
    out = Page()
    _windows(out, w)
    return out
