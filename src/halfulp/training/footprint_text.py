"""What recipes keep in memory as text."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.training.footprint import Memory, MemoryRow


def memory_page(m: Memory) -> Page:
    """Bytes a parameter by role, and in all."""
    out = Page()
    frozen = f", {m.trained:,} of them trained" if m.trained != m.parameters else ""
    counted = "" if m.target == f"{m.parameters:,} parameters" else f", {m.parameters:,} parameters"
    out.line((m.target, "title"), (f"{counted}{frozen}  {m.optimizer}", "dim"))
    header = ["recipe", "weight", "master", "rest", "state", "grad", "B", "kept", "step"]
    out.table(header, [_row(row) for row in m.recipes], right="12345678")
    out.blank()
    for line in (
        "Bytes of a trained parameter by role, and together (B). rest: kept beside",
        "the weight, as Kahan's compensation. kept, step: all parameters, between",
        "steps, and while the optimizer has float32 values and gradients of them.",
        "Not counted: activations, and operands of few bits, made as they are read.",
    ):
        out.line("  ", (line, "dim"))
    if m.optimizer == "adafactor" and m.target.endswith(" parameters"):
        text = "Adafactor's state depends on shapes, and is small: give a model to count it."
        out.line("  ", (text, "dim"))
    return out


def _row(row: MemoryRow) -> list[str]:
    roles = (row.weights, row.master, row.rest, row.state, row.gradients, row.kept)
    return [row.name, *(f"{x:.4g}" if x else "–" for x in roles), size(row.total), size(row.peak)]


def size(count: float) -> str:
    """A number of bytes in its largest unit.

    >>> size(512), size(112e9)
    ('512 B', '104 GiB')
    """
    unit = 0
    while count >= 1024 and unit < 5:
        count, unit = count / 1024, unit + 1
    digits = 0 if unit == 0 or count >= 100 else 1
    return f"{count:.{digits}f} {'KMGTP'[unit - 1] + 'i' if unit else ''}B"
