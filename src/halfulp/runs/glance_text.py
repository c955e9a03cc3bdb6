"""A run at a glance as text: what fits a terminal's page."""

from __future__ import annotations

import time
from fractions import Fraction

from halfulp.explanations.columns import columns, cut, padded
from halfulp.explanations.page import LABEL, WIDTH, Page
from halfulp.language import in_context, plural, spoken
from halfulp.language import translate as _
from halfulp.runs.finding import percent, severity
from halfulp.runs.glance import Glance
from halfulp.runs.samples import Head
from halfulp.runs.scale_window import Window, range_text
from halfulp.runs.verdicts import Findings
from halfulp.runs.verdicts_text import (
    STYLES,
    after_it,
    counted,
    legend,
    nonzero_updates,
    sampled_steps,
    way_cells,
    way_header,
)

LATE = 10  # seconds after which a sample's age is told in minutes, and so on
MOST = 4  # findings


def glance_page(g: Glance, found: Findings | None = None) -> Page:
    """Where a run stands; with what was found, where that is known."""
    out = Page()
    out.line((g.model, "title"), (f"  {g.optimizer}, {_file(g.path)}", "dim"))
    if g.last is None:
        out.line("  ", _none_yet(g.every))
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
    taken = {
        True: _("taken"), False: _("skipped"), None: _("taken or not is not known"),
    }[last.taken]  # fmt: skip
    text, steps = _("{step:,}, {taken}, {age} ago; {steps}"), spoken(sampled_steps(g.sampled))
    ago = age(time.time() - last.time)
    out.labelled(_("step"), text.format(step=last.step, taken=taken, age=ago, steps=steps))
    if last.settings:
        out.labelled(_("settings"), ", ".join(f"{name} {x:.6g}" for name, x in last.settings))
    if last.nonfinite:
        text = plural(
            "{n:,} element of all tensors", "{n:,} elements of all tensors", last.nonfinite
        )
        out.labelled(_("nonfinite"), text.format(n=last.nonfinite))
    scale = _("none") if last.loss_scale is None else f"{last.loss_scale:g}"
    if g.window is None:
        out.labelled(_("loss scale"), scale)
        return
    _window(out, g.window, scale)


def _window(out: Page, w: Window, scale: str) -> None:
    text = _("{scale}; for {format} {fits}")
    if w.is_below or w.is_above:
        text = _("{scale}; for {format} {fits} – below it")
        text = text if w.is_below else _("{scale}; for {format} {fits} – above it")
    fits = _fits(w.least, w.largest)
    out.labelled(_("loss scale"), text.format(scale=scale, format=w.format, fits=fits))
    between = []
    if w.bound_below:
        between.append(_("from below by {tensor}").format(tensor=w.bound_below))
    if w.bound_above:
        between.append(_("from above by {tensor}").format(tensor=w.bound_above))
    out.labelled(_("bound"), _(", ").join(between))


def _fits(least: Fraction | None, largest: Fraction | None) -> str:
    text = range_text(least, largest)
    said: str = spoken(text)
    return said if text.startswith("none") else _("{range} fits").format(range=said)


def _updates(out: Page, g: Glance) -> None:
    rows = [
        [c.name + (" *" if c.name in g.running_ways else ""), *way_cells(c)[:4]] for c in g.ways
    ]
    out.table(way_header()[:5], rows, right="1234")
    text, updates = _("of {updates} at step {step:,}."), nonzero_updates(g.ways[0].updates)
    of = text.format(updates=spoken(updates), step=g.updates_step)
    legend(out, after_it(of, _("*: as it runs")))
    for number, tensor in enumerate(g.worst):
        part = spoken(percent(tensor.lost, tensor.updates))
        text = _("{name}: {part}").format(name=tensor.name, part=part)
        out.labelled("" if number else _("worst"), text)


def _events(out: Page, g: Glance) -> None:
    for number, event in enumerate(g.events):
        text = _("step {step:,}, {kind}: {sentence}")
        text = text.format(step=event.step, kind=_kind(event.kind), sentence=event.sentence)
        out.labelled("" if number else _("newest"), (_cut(text, WIDTH - 2 - LABEL), ""))
    more = g.event_count - len(g.events)
    if more > 0:
        text = plural("and {n:,} event before", "and {n:,} events before", more)
        out.labelled("", (text.format(n=more), "dim"))


def _kind(kind: str) -> str:
    """What kind of event it is."""
    words = {
        "skip": _("skip"), "nonfinite": _("nonfinite"), "scale": _("scale"),
        "note": in_context("severity", "note"),
    }  # fmt: skip
    return words.get(kind, kind)


def _found(out: Page, found: Findings) -> None:
    out.line("  ", (counted(found), "dim"))
    for finding in found.findings[:MOST]:
        label = padded(severity(finding.severity), LABEL)
        text = _cut(spoken(finding.sentence), WIDTH - 2 - LABEL)
        out.line("  ", (label, STYLES[finding.severity]), text)


def _cut(text: str, width: int) -> str:
    """One line of a text."""
    return text if columns(text) <= width else f"{cut(text, width)[:-1].rstrip()}…"


def _file(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]


def _none_yet(every: int) -> str:
    if every == 1:
        return _("No step was sampled yet: every one will be.")
    return _("No step was sampled yet: every {every:,}th will be.").format(every=every)


def age(seconds: float) -> str:
    """How long ago, in its largest unit.

    >>> age(3.2), age(200), age(7300), age(1e6)
    ('3 s', '3 min', '2 h', '12 days')
    """
    for size, text in ((86400, _("{n} days")), (3600, _("{n} h")), (60, _("{n} min"))):
        if seconds >= 2 * size:
            return text.format(n=f"{seconds / size:.0f}")
    return _("{n} s").format(n=f"{max(seconds, 0):.0f}")
