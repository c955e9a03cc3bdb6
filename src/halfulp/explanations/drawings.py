"""L3: what templates draw beside text: the number line, and significands in columns."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from markupsafe import Markup, escape

from halfulp.explanations.bits import BitsSheet
from halfulp.explanations.operation import Operation, Term
from halfulp.explanations.page import shown
from halfulp.language import translate as _

WIDTH, LEFT, RIGHT, AXIS = 720, 60, 660, 46
MOST_COLUMNS = 90  # of bits; what is wider is drawn as its first ones


def number_line(sheet: BitsSheet) -> Markup:
    """The numbers around one, to scale, with what was typed above the line."""
    values = [mark.value.value for mark in sheet.around if mark.value.is_finite]
    if len(values) < 2:
        return Markup("")
    low, high = values[0], values[-1]

    def x(value: Fraction) -> float:
        place = (value - low) / (high - low)
        return LEFT + float(min(max(place, Fraction(-1, 20)), Fraction(21, 20))) * (RIGHT - LEFT)

    label = _("number line from {low} to {high}").format(low=shown(low, 24), high=shown(high, 24))
    parts = [
        f'<svg class="hu-numberline" viewBox="0 0 {WIDTH} 74" role="img" '
        f'aria-label="{escape(label)}">',
        f'<line x1="20" x2="{WIDTH - 20}" y1="{AXIS}" y2="{AXIS}"/>',
    ]
    for i, value in enumerate(values):
        here = ' class="hu-here"' if value == sheet.value.value else ""
        parts.append(
            f'<line{here} x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{AXIS - 9}" y2="{AXIS + 9}"/>'
        )
        if i in (0, len(values) // 2, len(values) - 1):
            parts.append(
                f'<text x="{x(value):.1f}" y="{AXIS + 24}" text-anchor="middle">'
                f"{escape(shown(value, 16, 8))}</text>"
            )
    typed = _("typed")
    if sheet.given.is_finite and low <= sheet.given.value <= high:
        at = x(sheet.given.value)
        parts.append(
            f'<polygon class="hu-typed" points="{at:.1f},{AXIS - 11} {at - 6:.1f},{AXIS - 23} '
            f'{at + 6:.1f},{AXIS - 23}"/><text x="{at:.1f}" y="{AXIS - 28}" text-anchor="middle">'
            f"{escape(typed)}</text>"
        )
    return Markup("".join(parts) + "</svg>")


class Line(NamedTuple):
    """A significand in columns: its sign, the column of its first bit, and its bits."""

    sign: str
    start: int
    bits: str


def columns(work: Operation) -> Markup:
    """Operands and result bit under bit; the columns that rounding drops are marked G, R and S."""
    assert work.exponent is not None, "drawn only where all three have bits"
    a, b = work.operands
    if work.operation == "add":
        top = max(work.exponent, *(t.exponent or 0 for t in work.operands))
        lines = [_line(t, top - (t.exponent or 0)) for t in (a, b)]
    else:
        top = work.exponent
        lines = [_line(a, 0), _line(b, 0)]
    total = Line("−" if work.exact.negative else "", top - work.exponent, work.significand)
    result = work.result
    last = top - ((result.exponent or 0) - len(result.kept) + 1)  # column of the last kept bit
    wide = min(max(line.start + len(line.bits) for line in [*lines, total]), MOST_COLUMNS)
    symbol = "+" if work.operation == "add" else "×"
    rows = [
        _row(f"{lead} {line.sign}", line, wide, wide if work.operation != "add" else last)
        for lead, line in zip(("", symbol), lines, strict=True)
    ]
    rows.append(_row(f"= {total.sign}", total, wide, last, "hu-sum"))
    marks = "".join(f"<td>{_mark(column - last)}</td>" for column in range(wide))
    rows.append(f'<tr aria-hidden="true"><th></th>{marks}</tr>')
    label = escape(_("significands, bit under bit"))
    return Markup(
        f'<div class="hu-scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="hu-columns">{"".join(rows)}</table></div>'
    )


def _line(term: Term, start: int) -> Line:
    return Line("−" if term.value.negative else "", start, term.significand)


def _row(lead: str, line: Line, wide: int, last: int, style: str = "") -> str:
    cells = []
    for column in range(wide):
        inside = line.start <= column < line.start + len(line.bits)
        bit = line.bits[column - line.start] if inside else "0" if column < line.start else ""
        kind = "hu-filled" if not inside else "hu-guard" if column > last else "hu-kept"
        cells.append(f'<td class="{kind}">{bit}</td>')
    cut = "…" if line.start + len(line.bits) > wide else ""
    head = f'<th scope="row">{escape(lead)}</th>'
    return f'<tr class="{style}">{head}{"".join(cells)}<td>{cut}</td></tr>'


def _mark(beyond: int) -> str:
    return {1: "G", 2: "R", 3: "S"}.get(beyond, "")


def alignment(work: Operation) -> str:
    """What was done to the exponents, in a sentence."""
    a, b = work.operands
    if work.operation != "add":
        told = _("The exponents add up: {a} + {b}; the exact product begins at 2^{exponent}.")
        return told.format(a=a.exponent, b=b.exponent, exponent=work.exponent)
    late = next((t for t in work.operands if t.shift), None)
    if late is None:
        told = _("Both exponents are {exponent}: the significands are aligned already.").format(
            exponent=a.exponent
        )
    else:
        told = _("The exponents are {a} and {b}: the smaller operand goes {shift} to the right.")
        told = told.format(a=a.exponent, b=b.exponent, shift=late.shift)
    if work.normalise > 0:
        carried = _("The sum carries: its exponent is {exponent}.")
        told += " " + carried.format(exponent=work.exponent)
    elif work.normalise < 0:
        cancelled = _("Leading bits cancel: the exponent is {exponent}.")
        told += " " + cancelled.format(exponent=work.exponent)
    return told
