"""What a lint says as text."""

from __future__ import annotations

import textwrap

from halfulp.explanations.columns import columns, wrapped
from halfulp.explanations.page import WIDTH, Page
from halfulp.language import N_, spoken
from halfulp.language import translate as _
from halfulp.runs.finding import SEVERITIES, severity
from halfulp.training.comparison_text import share_text
from halfulp.training.linting.records import Finding, FormatShare, Lint

MOST = 8  # parameters that are shown
_STYLES = {"error": "bad", "warning": "key", "note": "dim"}
_GRADIENTS = {
    "batches": N_("gradients: of a copy of the model, trained on the first batches."),
    "given": N_("gradients: those given, in turn."),
    "present": N_("gradients: those that parameters have, in every step."),
    "noise": N_("gradients: noise. Where batches agree updates are larger, and fewer are lost."),
}


def lint_page(found: Lint) -> Page:
    """The updates that would be lost, by format and parameter; then what was found."""
    out = Page()
    title = _("{target}, {parameters:,} parameters in {format}")
    title = title.format(
        target=found.target, parameters=found.parameters, format=spoken(found.running)
    )
    _wrapped(out, "", title, "title")
    said = _("{optimizer}, the first {steps} steps") if found.steps else "{optimizer}"
    said = said.format(optimizer=found.optimizer, steps=found.steps)
    out.line((f"  {said}", "dim"))
    if found.shares:
        _shares(out, found)
    out.blank()
    if not found.findings:
        out.line((_("nothing was found"), "good"))
    for name in SEVERITIES:
        for finding in found.of(name):
            _finding(out, finding)
    return out


def _shares(out: Page, found: Lint) -> None:
    header = [_("kept in"), _("updates lost"), _("share"), _("first step")]
    of = _("{lost} of {updates}")
    rows = [
        [
            _("{format} (now)").format(format=share.name) if share.running else spoken(share.name),
            of.format(lost=share.lost, updates=share.updates),
            share_text(share.lost, share.updates),
            share_text(share.first_lost, share.first_updates),
        ]
        for share in found.shares
    ]
    out.table(header, rows, right="123")
    out.blank()
    _parameters(out, found.shares)
    sampled = any(p.sampled < p.elements for p in found.shares[0].parameters)
    for line in (*_counted(found, sampled), _(_GRADIENTS[found.gradients])):
        out.line("  ", (line, "dim"))


def _counted(found: Lint, sampled: bool) -> list[str]:
    """What the counts are of; two lines in English, as long as they can be."""
    text = _(
        "updates lost: nonzero ones that round back to the weight, of all nonzero ones\n"
        "in these steps; counted on all elements."
    )
    if sampled:
        text = _(
            "updates lost: nonzero ones that round back to the weight, of all nonzero ones\n"
            "in these steps; counted on at most {sample} elements of each parameter, and scaled up."
        )
    return text.format(sample=found.sample).split("\n")


def _parameters(out: Page, shares: tuple[FormatShare, ...]) -> None:
    """The largest parameters, with their share in each format."""
    first = shares[0].parameters
    order = sorted(range(len(first)), key=lambda at: -first[at].elements)[:MOST]
    shown = [share for share in shares if any(p.lost for p in share.parameters)][:4]
    if not shown or len(first) < 2:
        return
    rows = [
        [_short(first[at].name), str(first[at].elements)]
        + [share_text(s.parameters[at].lost, s.parameters[at].updates) for s in shown]
        for at in sorted(order)
    ]
    which = _("parameter")
    if len(first) > MOST:
        which = _("largest of {n}").format(n=len(first))
    header = [which, _("elements"), *(spoken(share.name)[:10] for share in shown)]
    out.table(header, rows, right="12345")
    out.blank()


def _finding(out: Page, finding: Finding) -> None:
    out.line((severity(finding.severity), _STYLES[finding.severity]), f"  {finding.name}")
    _wrapped(out, "  ", spoken(finding.where), "dim")
    _wrapped(out, "  ", spoken(finding.sentence))
    if finding.command:
        _command(out, finding.command)
    out.blank()


def _command(out: Page, command: str) -> None:
    """A command, broken where a shell lets it."""
    words = command.split(" ")
    width = WIDTH - 6
    line = ""
    for word in words:
        if len(line) + len(word) + 1 > width and line:
            out.line("    ", (f"{line} \\", "key"))
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    out.line("    ", (line, "key"))


def _wrapped(out: Page, indent: str, text: str, style: str | None = None) -> None:
    width = WIDTH - len(indent)
    is_narrow = columns(text) == len(text)
    lines = (
        textwrap.wrap(text, width, break_on_hyphens=False) if is_narrow else wrapped(text, width)
    )
    for line in lines:
        out.line(indent, (line, style) if style else line)


def _short(name: str, width: int = 26) -> str:
    """A parameter's name, its end where it is long."""
    return name if len(name) <= width else "…" + name[1 - width :]
