"""L3: a number in another base, step by step, as text."""

from __future__ import annotations

from halfulp.explanations.base_steps import BaseConversion, MultiplicationStep, PeriodTerm
from halfulp.explanations.columns import cut
from halfulp.explanations.page import WIDTH, Page, shown
from halfulp.language import translate as _

CELL = 20  # columns of a number in a table
CUT = WIDTH - 15  # columns of digits in a sentence


def base_page(c: BaseConversion) -> Page:
    """How the digits are read, and what each division and multiplication gives."""
    out = Page()
    out.line((_title(c), "title"))
    out.labelled(_("result"), (cut(str(c.result), CUT), "key"))
    out.labelled(_("value"), shown(c.value, CUT))
    if c.result.negative and c.value:
        out.labelled(_("sign"), _("The steps are of the magnitude; the minus sign stays in front."))
    _reading(out, c)
    _whole(out, c)
    _fraction(out, c)
    return out


def _title(c: BaseConversion) -> str:
    number = cut(c.input, 40)
    if c.source_base is None:
        return _("{number}, written in base {base}").format(number=number, base=c.target_base)
    return _("{number}, read in base {source}, written in base {base}").format(
        number=number, source=c.source_base, base=c.target_base
    )


def _reading(out: Page, c: BaseConversion) -> None:
    """The sum that the source digits mean."""
    base = c.source_base
    if base is None or not c.terms:
        return
    out.blank()
    out.line((_("Reading the digits: digit × {base}^place").format(base=base), "title"))
    width = 40 if c.period is None else 18
    rows = [
        [t.digit, str(t.worth), f"{base}^{t.position}", shown(t.value, width, 9)] for t in c.terms
    ]
    if c.period is not None:
        rows.append(_period_row(c.period, base))
    out.table([_("digit"), _("worth"), _("place"), _("value")], rows, right="0123")
    if c.terms_cut:
        out.paragraph(_("There are more digits than are shown here."))
    else:
        out.labelled(_("sum"), shown(abs(c.value), CUT))


def _period_row(p: PeriodTerm, base: int) -> list[str]:
    """The repeating part: a geometric series, in closed form."""
    place = f"{base}^{p.position} / ({base}^{p.length} - 1)"
    return [cut(f"({p.digits})", 14), shown(p.worth, 14, digits=5), place, shown(p.value, 18, 5)]


def _whole(out: Page, c: BaseConversion) -> None:
    """Division of the whole part, its digits from the right."""
    out.blank()
    base, digits = c.target_base, c.result.whole
    title = _("The whole part: divide by {base}, keep the remainders")
    out.line((title.format(base=base), "title"))
    if not c.whole:
        said = (
            _("No divisions were asked for.")
            if c.whole_cut
            else _("It is 0: there is nothing to divide.")
        )
        out.paragraph(said)
        return
    rows = [
        [shown(s.number, CELL, 9), shown(s.quotient, CELL, 9), str(s.remainder), s.digit]
        for s in c.whole
    ]
    out.table([_("number"), f"÷ {base}", _("remainder"), _("digit")], rows, right="0123")
    said = (
        _("{rows} of {all} divisions are shown: they give the last digits.")
        if c.whole_cut
        else _("Read from the bottom up, the digits are {digits}.")
    )
    out.paragraph(said.format(rows=len(rows), all=len(digits), digits=cut(digits, 36)))


def _fraction(out: Page, c: BaseConversion) -> None:
    """Multiplication of the fraction, its digits from the left."""
    out.blank()
    base = c.target_base
    title = _("The fraction: multiply by {base}, keep what comes before the point")
    out.line((title.format(base=base), "title"))
    if not c.fraction:
        said = (
            _("No multiplications were asked for.")
            if c.fraction_cut
            else _("It is 0: there is nothing to multiply.")
        )
        out.paragraph(said)
        return
    rows = [
        [str(row), shown(s.fraction, CELL, 9), shown(s.product, CELL, 9), s.digit, _mark(s)]
        for row, s in enumerate(c.fraction, start=1)
    ]
    out.table([_("row"), _("fraction"), f"× {base}", _("digit"), ""], rows, right="0123")
    _end(out, c)


def _mark(s: MultiplicationStep) -> str:
    if s.begins_period and s.closes_period:
        return _("repeats itself")
    if s.begins_period:
        return _("period begins")
    return _("period closes") if s.closes_period else ""


def _end(out: Page, c: BaseConversion) -> None:
    """What becomes of the fraction after the last row."""
    places = len(c.result.fraction) + len(c.result.repeating)
    if c.period_begins is not None:
        said = _(
            "Row {closes} leaves the fraction of row {begins}: from there on the digits ({digits}) "
            "repeat."
        )
    elif c.result.truncated:
        said = _("The digits go on: {all} of them were computed.")
    else:
        said = _("Nothing is left after row {all}: the digits end.")
    digits = cut(c.result.repeating, 30)
    out.paragraph(
        said.format(closes=c.period_closes, begins=c.period_begins, digits=digits, all=places),
    )
    if len(c.fraction) < places:
        said = _("{rows} of {all} multiplications are shown.")
        out.paragraph(said.format(rows=len(c.fraction), all=places))
