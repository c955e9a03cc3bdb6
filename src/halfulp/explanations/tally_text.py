"""L3: tallies as text: every share with its numerator and denominator."""

from __future__ import annotations

from halfulp.explanations.page import Page
from halfulp.tallies import Errors, Tallies, Tally


def tally_page(t: Tally) -> Page:
    """What one cast did."""
    out = Page()
    out.line((f"{t.source} to {t.cast.target}", "title"), (f"  {t.cast.rounding}", "dim"))
    out.labelled("elements", str(t.elements))
    for label, count, meaning in (
        ("zero", t.zero, "were zero"),
        ("exact", t.exact, "nonzero and unchanged"),
        ("inexact", t.inexact, "changed"),
        ("underflow", t.underflow, "of these became zero"),
        ("overflow", t.overflow, "of these were beyond the largest number"),
        ("subnormal", t.subnormal, "have a subnormal result"),
        ("infinite", t.infinite, f"were infinite, {t.infinite_out} are"),
        ("NaN", t.nan, f"were NaN, {t.nan_out} are"),
    ):
        percent = f"{float(t.share(count)):9.4%}"
        out.labelled(label, f"{count:>14}", (percent, "dim"), f"  {meaning}")
    if t.binades:
        low, high = t.binades[0][0], t.binades[-1][0]
        out.labelled("binades", f"2^{low} to 2^{high} hold the finite nonzero values")
    if t.errors is not None:
        _errors(out, t.errors)
    return out


def _errors(out: Page, e: Errors) -> None:
    out.labelled("SQNR", f"{e.sqnr:.2f} dB over {e.compared} values whose results are finite")
    out.labelled("bias", f"{e.bias:.6g} is the mean of result - value")
    at = "" if e.where is None else f" at element {e.where}"
    out.labelled("worst", f"{e.largest_relative:.6g} is the largest relative error{at}")


def tallies_page(table: Tallies) -> Page:
    """Several casts of one array, one line each."""
    out = Page()
    first = table.rows[0]
    out.line((f"{first.elements} elements of {first.source}", "title"))
    out.line((f"  {first.zero} zero, {first.infinite} infinite, {first.nan} NaN", "dim"))
    with_errors = all(t.errors is not None for t in table)
    header = ["format", "exact", "inexact", "underflow", "subnormal", "overflow"]
    rows = []
    for t in table:
        row = [t.name, *(str(n) for n in (t.exact, t.inexact, t.underflow, t.subnormal))]
        row.append(str(t.overflow))
        if t.errors is not None and with_errors:
            row.append(f"{t.errors.sqnr:.1f}")
        rows.append(row)
    out.table([*header, *(["SQNR dB"] if with_errors else [])], rows, right="123456")
    return out
