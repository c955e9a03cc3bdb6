"""What recipes keep in memory as text."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.training.footprint import Memory, MemoryRow


def memory_page(m: Memory) -> Page:
    """Bytes of a parameter by role, and in all."""
    out = Page()
    frozen = f", {m.trained:,} of them trained" if m.trained != m.parameters else ""
    counted = "" if m.target == f"{m.parameters:,} parameters" else f", {m.parameters:,} parameters"
    out.line((m.target, "title"), (f"{counted}{frozen}  {m.optimizer}", "dim"))
    header = ["a parameter", "weights", "master", "rest", "state", "grad", "kept", "at a step"]
    out.table(header, [_roles(row) for row in m.recipes], right="1234567")
    out.blank()
    sizes = [[row.name, size(row.total), size(row.peak)] for row in m.recipes]
    out.table(["in all", "kept", "at a step"], sizes, right="12")
    out.blank()
    _legend(out, m)
    return out


def _legend(out: Page, m: Memory) -> None:
    for line in (
        "a parameter: bytes of one that is trained. rest: kept beside the weight, as",
        "Kahan's compensation. at a step: with the float32 values and gradients that",
        "the optimizer then has. Not counted: activations, and operands of few bits,",
        "which are made as they are read.",
    ):
        out.line("  ", (line, "dim"))
    if m.optimizer == "adafactor" and m.trained and not any(row.state for row in m.recipes):
        text = "Adafactor's state depends on shapes, and is small: give a model to count it."
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
