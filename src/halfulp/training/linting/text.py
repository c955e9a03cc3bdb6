"""What a lint says as text."""

from __future__ import annotations

import textwrap

from halfulp.explanations.page import WIDTH, Page
from halfulp.runs.finding import SEVERITIES
from halfulp.training.comparison_text import share_text
from halfulp.training.linting.records import Finding, FormatShare, Lint

MOST = 8  # parameters that are shown
_STYLES = {"error": "bad", "warning": "key", "note": "dim"}
_GRADIENTS = {
    "batches": "gradients: of a copy of the model, trained on the first batches.",
    "given": "gradients: those given, in turn.",
    "present": "gradients: those that parameters have, in every step.",
    "noise": "gradients: noise. Where batches agree updates are larger, and fewer are lost.",
}


def lint_page(found: Lint) -> Page:
    """The updates that would be lost, by format and parameter; then what was found."""
    out = Page()
    _wrapped(
        out, "", f"{found.target}, {found.parameters:,} parameters in {found.running}", "title"
    )
    said = f"  {found.optimizer}"
    out.line((f"{said}, the first {found.steps} steps" if found.steps else said, "dim"))
    if found.shares:
        _shares(out, found)
    out.blank()
    if not found.findings:
        out.line(("nothing was found", "good"))
    for severity in SEVERITIES:
        for finding in found.of(severity):
            _finding(out, finding)
    return out


def _shares(out: Page, found: Lint) -> None:
    header = ["kept in", "updates lost", "share", "first step"]
    rows = [
        [
            share.name + (" (now)" if share.running else ""),
            f"{share.lost} of {share.updates}",
            share_text(share.lost, share.updates),
            share_text(share.first_lost, share.first_updates),
        ]
        for share in found.shares
    ]
    out.table(header, rows, right="123")
    out.blank()
    _parameters(out, found.shares)
    sampled = any(p.sampled < p.elements for p in found.shares[0].parameters)
    counted = f"on at most {found.sample} elements of each parameter, and scaled up"
    for line in (
        "updates lost: nonzero ones that round back to the weight, of all nonzero ones",
        f"in these steps; counted {counted if sampled else 'on all elements'}.",
        _GRADIENTS[found.gradients],
    ):
        out.line("  ", (line, "dim"))


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
    which = "parameter" if len(first) <= MOST else f"largest of {len(first)}"
    header = [which, "elements", *(share.name[:10] for share in shown)]
    out.table(header, rows, right="12345")
    out.blank()


def _finding(out: Page, finding: Finding) -> None:
    out.line((finding.severity, _STYLES[finding.severity]), f"  {finding.name}")
    _wrapped(out, "  ", finding.where, "dim")
    _wrapped(out, "  ", finding.sentence)
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
    for line in textwrap.wrap(text, WIDTH - len(indent), break_on_hyphens=False):
        out.line(indent, (line, style) if style else line)


def _short(name: str, width: int = 26) -> str:
    """A parameter's name, its end where it is long."""
    return name if len(name) <= width else "…" + name[1 - width :]
