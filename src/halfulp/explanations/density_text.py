"""L3: how close the numbers of a format are, as text."""

from __future__ import annotations

from halfulp.explanations.density import Binades, Density
from halfulp.explanations.page import Page, shown
from halfulp.language import translate as _


def density_page(d: Density) -> Page:
    """Counts, and the binades with what each holds."""
    out = Page()
    out.line((_("How close the numbers of {format} are").format(format=d.format), "title"))
    out.labelled(
        _("numbers"),
        _("{numbers} in all; {positive} are positive, {subnormal} of these subnormal").format(
            numbers=d.numbers, positive=d.positive, subnormal=d.subnormal
        ),
    )
    out.labelled(_("digits"), digits_text(d))
    out.blank()
    header = [_("binades"), _("kind"), _("numbers each"), _("ulp/value"), _("bits"), _("digits")]
    out.table(header, [_row(b) for b in d.binades], right="2345")
    out.blank()
    out.paragraph(
        _("ulp/value is that of the first number of a binade; toward its end it becomes half that.")
    )
    return out


def digits_text(d: Density) -> str:
    """What the precision is worth in decimal digits."""
    return _(
        "{few} significant decimal digits survive in the normal range; {many} tell every number "
        "from all others"
    ).format(few=d.decimal_digits, many=d.round_trip_digits)


def _row(b: Binades) -> list[str]:
    span = f"2^{b.first}"
    if b.last > b.first:
        span = _("{first} to {last}").format(first=span, last=f"2^{b.last}")
    return [
        span, _(b.kind), _count(b.numbers), f"2^{b.relative_spacing}",
        str(b.significant_bits), str(b.decimal_digits),
    ]  # fmt: skip


def _count(numbers: int) -> str:
    """A count in full, or as a power of two where it is long."""
    if numbers < 10**12:
        return str(numbers)
    power = numbers.bit_length() - 1
    return f"2^{power}" if numbers == 1 << power else shown(numbers, 16, 6)
