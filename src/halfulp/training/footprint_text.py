"""What recipes keep in memory as text."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.language import in_context
from halfulp.language import translate as _
from halfulp.training.footprint import Memory, MemoryRow


def memory_page(m: Memory) -> Page:
    """Bytes of a parameter by role, and in all."""
    out = Page()
    target, counted = m.target, _(", {n:,} parameters").format(n=m.parameters)
    if m.target == f"{m.parameters:,} parameters":
        target, counted = _("{n:,} parameters").format(n=m.parameters), ""
    if m.trained != m.parameters:
        counted += _(", {n:,} of them trained").format(n=m.trained)
    out.line((target, "title"), (f"{counted}  {m.optimizer}", "dim"))
    header = [
        _("a parameter"), _("weights"), _("master"), _("rest"), _("state"), _("grad"),
        in_context("bytes", "kept"), _("at a step"),
    ]  # fmt: skip
    out.table(header, [_roles(row) for row in m.recipes], right="1234567")
    out.blank()
    sizes = [[row.name, size(row.total), size(row.peak)] for row in m.recipes]
    header = [
        in_context("bytes", "in all"), in_context("bytes", "kept"), _("at a step"),
    ]  # fmt: skip
    out.table(header, sizes, right="12")
    out.blank()
    _legend(out, m)
    return out


def _legend(out: Page, m: Memory) -> None:
    text = _(
        "a parameter: bytes of one that is trained. rest: kept beside the weight, as\n"
        "Kahan's compensation. at a step: with the float32 values and gradients that\n"
        "the optimizer then has. Not counted: activations, and operands of few bits,\n"
        "which are made as they are read."
    )
    for line in text.split("\n"):
        out.line("  ", (line, "dim"))
    if m.optimizer == "adafactor" and m.trained and not any(row.state for row in m.recipes):
        text = _("Adafactor's state depends on shapes, and is small: give a model to count it.")
        out.line("  ", (text, "dim"))


def _roles(row: MemoryRow) -> list[str]:
    roles = (row.weights, row.master, row.rest, row.state, row.gradients)
    sums = (row.kept, row.kept + row.at_step)
    return [row.name, *map(number, roles), *(f"{number(x)} B" for x in sums)]


def number(x: float) -> str:
    """Bytes of a parameter to two places, or to one digit where there are only noughts.

    >>> number(16.0), number(8.1493), number(0.0021), number(0.0)
    ('16', '8.15', '0.002', '–')
    """
    if not x:
        return "–"
    return f"{x:.2f}".rstrip("0").rstrip(".") if x >= 0.01 else f"{x:.1g}"


def size(count: float) -> str:
    """A number of bytes in its largest unit.

    >>> size(512), size(126e9), size(2**20 - 1)
    ('512 B', '117.3 GiB', '1.0 MiB')
    """
    unit = 0
    while round(count, 1) >= 1024 and unit < 6:
        count, unit = count / 1024, unit + 1
    return f"{count:.{1 if unit else 0}f} {'KMGTPE'[unit - 1] + 'i' if unit else ''}B"
