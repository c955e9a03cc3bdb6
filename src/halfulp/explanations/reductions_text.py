"""L3: a sum and what it swallowed as text."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.language import translate as _
from halfulp.records import decimal_string
from halfulp.reductions import Summation


def summation_page(s: Summation) -> Page:
    """The sum, how far it is from the exact one, and where it stopped growing."""
    out = Page()
    title = _("{operation} of {terms} terms in {format}")
    title = title.format(operation=s.operation, terms=s.terms, format=s.accumulate)
    if s.operation != "sum":
        text = _("{title}, products {format}")
        title = text.format(title=title, format=s.product or _("exact"))
    out.line((title, "title"))
    how = _("blocks of {n}").format(n=s.block) if s.order == "blocked" else s.order
    text = _("{how}, {rounding}, the result in {format}")
    out.labelled(_("order"), text.format(how=how, rounding=s.rounding, format=s.target))
    out.labelled(_("result"), _short(str(s.value)))
    out.labelled(
        _("exact"), _("not finite") if s.exact is None else _short(decimal_string(s.exact))
    )
    if s.error is not None:
        out.labelled(_("error"), _short(decimal_string(s.error)))
    out.labelled(_("swallowed"), _swallowed(s))
    if s.stalled_from is not None:
        text = _("from index {index} on nothing moved the sum")
        out.labelled(_("stalled"), text.format(index=s.stalled_from))
    return out


def _swallowed(s: Summation) -> str:
    parts = {
        "sequential": _("{swallowed} of {nonzero} nonzero terms"),
        "blocked": _("{swallowed} of {nonzero} nonzero sums of blocks"),
    }
    named = parts.get(s.order, _("{swallowed} of {nonzero} additions of nonzero parts"))
    text = named.format(swallowed=s.swallowed, nonzero=s.nonzero)
    if s.nonzero:
        text += f" ({100 * s.swallowed / s.nonzero:.1f} %)"
    if s.first_swallowed is not None:
        first = _("{share}, the first at index {index}")
        return first.format(share=text, index=s.first_swallowed)
    return text


def _short(text: str) -> str:
    return text if len(text) <= 64 else f"{text[:60]} …"
