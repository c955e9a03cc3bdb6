"""What was found in a run as text: findings first, then updates by way, then loss scales."""

from __future__ import annotations

import textwrap

from halfulp.explanations.columns import padded, wrapped
from halfulp.explanations.page import WIDTH, Page
from halfulp.language import Told, plural, spoken, told_many
from halfulp.language import translate as _
from halfulp.runs.finding import SEVERITIES, Finding, magnitude, severity, share
from halfulp.runs.scale_window import Window, Windows, range_text
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
        out.line("  ", _("Nothing was found.") if f.sampled else _("No step was sampled yet."))
    if f.ways:
        out.blank()
        _ways(out, f)
    if f.windows is not None:
        out.blank()
        _windows(out, f.windows)
    return out


def _title(out: Page, f: Findings) -> None:
    text = _("{optimizer}, {steps}")
    if f.sampled:
        text = _("{optimizer}, {steps}, {first:,} to {last:,}")
    steps = spoken(sampled_steps(f.sampled))
    said = text.format(optimizer=f.optimizer, steps=steps, first=f.first_step, last=f.last_step)
    out.line((f.model, "title"), (f"  {said}", "dim"))


def sampled_steps(n: int) -> Told:
    """So many sampled steps."""
    return told_many("{n:,} sampled step", "{n:,} sampled steps", n)


def nonzero_updates(n: int) -> Told:
    """So many nonzero updates."""
    return told_many("{n:,} nonzero update", "{n:,} nonzero updates", n)


def counted(f: Findings) -> str:
    """How many findings there are of each severity.

    A severity without any is told as well, so that none looks overlooked.
    """
    texts = (
        plural("{n:,} error", "{n:,} errors", len(f.of("error"))),
        plural("{n:,} warning", "{n:,} warnings", len(f.of("warning"))),
        plural("{n:,} note", "{n:,} notes", len(f.of("note"))),
    )
    counts = (len(f.of(name)) for name in SEVERITIES)
    return _(", ").join(text.format(n=n) for text, n in zip(texts, counts, strict=True))


def finding_lines(out: Page, f: Finding) -> None:
    """One finding: its severity, its sentence, and its command."""
    # A number and its sign stay on one line.
    lines = wrapped(spoken(f.sentence).replace(" %", "\0%"), WIDTH - 2 - COLUMN)
    first, *rest = (line.replace("\0", " ") for line in lines)
    out.line("  ", (padded(severity(f.severity), COLUMN), STYLES[f.severity]), first)
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
        rows.append([_("as it runs"), *way_cells(f.running)])
    for counts in f.ways:
        mark = " *" if counts.name in f.running_ways else ""
        rows.append([counts.name + mark, *way_cells(counts)])
    header, decays = way_header(), f.ways[0].decays
    if not decays:
        header, rows = header[:-1], [row[:-1] for row in rows]
    out.table(header, rows, right="123456")
    of = _("of {updates} over {steps}.")
    if decays:
        of = _("of {updates} and {decays} over {steps}.")
    counted = of.format(
        updates=spoken(nonzero_updates(f.ways[0].updates)),
        decays=plural("{n:,} decay", "{n:,} decays", decays).format(n=decays),
        steps=spoken(sampled_steps(f.updates_read)),
    )
    meaning = _(
        "lost: all that is kept of the weight stays as it was. length: of what arrives, over that "
        "of what was meant; cosine: between the two. *: as it runs; all others are what would be."
    )
    legend(out, after_it(counted, meaning))


def legend(out: Page, text: str) -> None:
    """What a table means."""
    for line in wrapped(text, WIDTH - 2):
        out.line("  ", (line, "dim"))


def way_header() -> list[str]:
    """The header of a table of ways."""
    kept, lost, decays = _("weights kept as"), _("updates lost"), _("decays lost")
    return [kept, lost, _("share"), _("length"), _("cosine"), decays]


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
    what = _("for gradients in {format}, {kept} % of each tensor's kept")
    what = what.format(format=w.format, kept=kept)
    title = _("loss scale")
    out.line((f"  {title}", "title"), (f"  {what}", "dim"))
    rows = [row for row in w.rows if row.largest is not None]
    if not rows:
        out.line("  ", _("No gradient was seen."))
        return
    last = rows[-1]
    at = _("{range} at step {step:,}")
    range_ = spoken(range_text(last.least, last.largest))
    out.labelled(_("last"), at.format(range=range_, step=last.step))
    out.labelled(_("all steps"), spoken(range_text(w.least, w.largest)))
    bound = _("bound by {name} at step {step:,}")
    if w.bound_below is not None:
        out.labelled(_("below"), bound.format(name=w.bound_below, step=w.below_step))
    if w.bound_above is not None:
        out.labelled(_("above"), bound.format(name=w.bound_above, step=w.above_step))
    _running(out, rows)
    if last.hidden is not None:
        text = _("{name} and its like were narrow already: the least cannot be told")
        out.labelled(_("unseen"), text.format(name=last.hidden))
    of = _("from {steps}.") if len(w.rows) >= w.sampled else _("from {read:,} of {steps}.")
    read = of.format(read=len(w.rows), steps=spoken(sampled_steps(w.sampled)))
    told = _("The least is told by binade: it is right, or one power of two more than is needed.")
    legend(out, after_it(read, told))


def after_it(one: str, other: str) -> str:
    """Two sentences, the one after the other: apart by a space, but not in Chinese."""
    return _("{one} {other}").format(one=one, other=other)


def _running(out: Page, rows: list[Window]) -> None:
    scaled = [row.loss_scale for row in rows if row.loss_scale is not None]
    if scaled:
        low, high = magnitude(min(scaled)), magnitude(max(scaled))
        both = _("{least} to {largest}").format(least=low, largest=high)
        out.labelled(_("running"), low if low == high else both)


def windows_page(w: Windows) -> Page:
    """The loss scales that fit a run."""
    out = Page()
    _windows(out, w)
    return out
