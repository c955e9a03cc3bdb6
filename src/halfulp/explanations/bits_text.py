"""L3: a number's bits, neighbours and places in other formats as text."""

from __future__ import annotations

from halfulp.explanations.bits import Beside, BitsSheet
from halfulp.explanations.columns import cut
from halfulp.explanations.page import Page, share, shown
from halfulp.explanations.steps_text import coloured
from halfulp.language import translate as _


def bits_page(s: BitsSheet) -> Page:
    """One number in one format, and beside it in all others."""
    out = Page()
    out.line((cut(s.input, 56), "title"), (_("  in {format}").format(format=s.format), "dim"))
    out.labelled(_("value"), (shown(s.value, 50), "title"), f"  ({_(s.fields.kind)})")
    if s.format.width <= 60:
        out.labelled(_("bits"), *coloured(s.fields), ("   " + s.code, "dim"))
    else:
        out.labelled(_("code"), s.code)
    if s.hexadecimal:
        out.labelled(_("C hex float"), s.hexadecimal)
    if s.error:
        ulps = "" if s.error_ulps is None else _("  {share} ulp").format(share=share(s.error_ulps))
        out.labelled(_("error"), shown(s.error, 40) + ulps)
    if s.ulp is not None:
        out.labelled(_("ulp"), shown(s.ulp, 50))
    out.blank()
    out.table(
        [_("around it"), _("code")],
        [[("→ " if m.code == s.code else "  ") + shown(m.value, 40), m.code] for m in s.around],
    )
    out.blank()
    out.table([_("format"), _("code"), _("value"), _("error in ulps")], [_row(b) for b in s.beside])
    return out


def _row(b: Beside) -> list[str]:
    ulps = _("exact") if b.exact else "" if b.error_ulps is None else share(b.error_ulps)
    return [b.format.name, b.code, shown(b.value, 18, 6), ulps]
