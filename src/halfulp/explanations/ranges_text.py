"""L3: the ranges of formats against one another, as text."""

from __future__ import annotations

from halfulp.explanations.columns import columns, cut, padded
from halfulp.explanations.page import WIDTH, Page
from halfulp.explanations.ranges import FormatRange, Ranges
from halfulp.language import translate as _

NAME = 18  # columns of a format's name
SUBNORMAL, NORMAL = "-", "="  # of a bar, in any terminal


def ranges_page(r: Ranges) -> Page:
    """A line a format, and its range as a bar on a logarithmic axis."""
    out = Page()
    header = [
        _("format"), _("bits"), _("least"), _("normal"), _("largest"), _("binades"), _("digits"),
    ]  # fmt: skip
    out.table(header, [_row(f) for f in r.formats], right="123456")
    out.blank()
    out.paragraph(
        _(
            "Normal: the least normal number. Binades: subnormal + normal ones, - and = in the "
            "bars. Digits: the decimal ones that survive."
        )
    )
    out.blank()
    _bars(out, r)
    return out


def _row(f: FormatRange) -> list[str]:
    binades = f"{f.subnormal_binades} + {f.normal_binades}"
    return [
        cut(f.name, NAME), str(f.width), f"2^{f.least}", f"2^{f.least_normal}",
        f"2^{f.largest:.2f}", binades, str(f.decimal_digits),
    ]  # fmt: skip


def _bars(out: Page, r: Ranges) -> None:
    """The ranges on one axis of powers of two."""
    name = max(columns(cut(f.name, NAME)) for f in r.formats)
    room = WIDTH - 4 - name
    low, high = min(f.least for f in r.formats), max(f.largest for f in r.formats)

    def at(exponent: float) -> int:
        return round((exponent - low) / max(high - low, 1) * room)

    for f in r.formats:
        start, normal, end = at(f.least), at(min(f.least_normal, f.largest)), at(f.largest)
        start = min(start, end - 1) if end else 0  # what is short is seen as well
        pale = max(normal - start, 0) if f.subnormal_binades else 0
        full = max(end - start - pale, int(f.normal_binades > 0))
        pale = max(end, 1) - start - full
        bar = " " * start + SUBNORMAL * pale
        out.line("  ", padded(cut(f.name, NAME), name), "  ", bar, (NORMAL * full, "exponent"))
    ends = f"2^{low}", f"2^{high:.0f}"
    axis = " " * (room - sum(map(len, ends)))
    out.line("  ", " " * name, "  ", (axis.join(ends), "dim"))
