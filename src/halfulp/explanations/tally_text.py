"""L3: tallies as text: every share with its numerator and denominator."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.language import translate as _
from halfulp.tallies import Errors, Tallies, Tally


def tally_page(t: Tally) -> Page:
    """What one cast did."""
    out = Page()
    title = _("{source} to {format}").format(source=t.source, format=t.cast.target)
    out.line((title, "title"), (f"  {t.cast.rounding}", "dim"))
    out.labelled(_("elements"), str(t.elements))
    for label, count, meaning in (
        (_("zero"), t.zero, _("were zero")),
        (_("exact"), t.exact, _("nonzero and unchanged")),
        (_("inexact"), t.inexact, _("changed")),
        (_("underflow"), t.underflow, _("of these became zero")),
        (_("overflow"), t.overflow, _("of these were beyond the largest number")),
        (_("subnormal"), t.subnormal, _("have a subnormal result")),
        (_("infinite"), t.infinite, _("were infinite, {n} are").format(n=t.infinite_out)),
        ("NaN", t.nan, _("were NaN, {n} are").format(n=t.nan_out)),
    ):
        percent = f"{float(t.share(count)):9.4%}"
        out.labelled(label, f"{count:>14}", (percent, "dim"), f"  {meaning}")
    if t.binades:
        low, high = t.binades[0][0], t.binades[-1][0]
        text = _("2^{low} to 2^{high} hold the finite nonzero values")
        out.labelled(_("binades"), text.format(low=low, high=high))
    if t.errors is not None:
        _errors(out, t.errors)
    return out


def _errors(out: Page, e: Errors) -> None:
    text = _("{sqnr} dB over {n} values whose results are finite")
    out.labelled("SQNR", text.format(sqnr=f"{e.sqnr:.2f}", n=e.compared))
    text = _("{bias} is the mean of result - value")
    out.labelled(_("bias"), text.format(bias=f"{e.bias:.6g}"))
    text = (
        _("{error} is the largest relative error")
        if e.where is None
        else _("{error} is the largest relative error at element {where}")
    )
    out.labelled(_("worst"), text.format(error=f"{e.largest_relative:.6g}", where=e.where))


def tallies_page(table: Tallies) -> Page:
    """Several casts of one array, one line each."""
    out = Page()
    first = table.rows[0]
    text = _("{n} elements of {source}")
    out.line((text.format(n=first.elements, source=first.source), "title"))
    text = _("{zero} zero, {infinite} infinite, {nan} NaN")
    text = text.format(zero=first.zero, infinite=first.infinite, nan=first.nan)
    out.line((f"  {text}", "dim"))
    with_errors = all(t.errors is not None for t in table)
    header = [
        _("format"), _("exact"), _("inexact"), _("underflow"), _("subnormal"), _("overflow"),
    ]  # fmt: skip
    rows = []
    for t in table:
        row = [t.name, *(str(n) for n in (t.exact, t.inexact, t.underflow, t.subnormal))]
        row.append(str(t.overflow))
        if t.errors is not None and with_errors:
            row.append(f"{t.errors.sqnr:.1f}")
        rows.append(row)
    out.table([*header, *(["SQNR dB"] if with_errors else [])], rows, right="123456")
    return out
