"""L3: the catalogue and one format as text."""

from __future__ import annotations

from fractions import Fraction

from halfulp.explanations.formats import CatalogueTable, FormatSheet, Landmark
from halfulp.explanations.page import Page, scientific, shown
from halfulp.records import decimal_string


def catalogue_page(table: CatalogueTable) -> Page:
    """The catalogue, one line a format."""
    out = Page()
    rows = [
        [
            r.name, f"{r.exponent_bits}/{r.fraction_bits}", _short(r.max), _power(r.least_normal),
            _power(r.least_positive), _yes(r.infinities), _count(r.nan_codes), _yes(r.signed_zero),
        ]
        for r in table.formats
    ]  # fmt: skip
    header = ["format", "E/M", "max", "least normal", "least", "inf", "NaN", "-0"]
    out.table(header, rows, right="12346")
    out.blank()
    out.line("  E/M are exponent and stored fraction bits. Also: IEEE P3109 formats by name,")
    out.line("  such as p3109_k8p4se, and customs such as e5m10, e4m3b7, e4m3fn, ue5m3fn.")
    return out


def sheet_page(s: FormatSheet) -> Page:
    """One format in full."""
    out = Page()
    f = s.format
    out.line((f.name, "title"), (f"  {s.width} bits: {_layout(s)}", "dim"))
    out.labelled("precision", f"{s.precision} bits, the implicit one included")
    out.labelled("exponents", f"2^{s.emin} to 2^{s.emax}, bias {f.bias}")
    out.labelled("ulp of 1", f"{_power(f.ulp(1))} = {shown(f.ulp(1))}")
    out.labelled("codes", f"{s.codes}: {s.finite_numbers} different numbers, {s.nan_codes} NaN")
    out.labelled("overflow", f"becomes {s.overflow} unless the cast says otherwise")
    if s.lost_at_one is not None:
        tie = "the tie included" if s.tie_is_lost else "the tie moves it"
        out.labelled(
            "lost",
            f"at weight 1.0 an update up to {shown(s.lost_at_one)} (half an ulp, {tie}) is lost",
        )
    out.blank()
    out.table(["number", "code", "bits", "value"], [_landmark(s, m) for m in s.landmarks])
    return out


def _landmark(s: FormatSheet, m: Landmark) -> list[str]:
    f = s.format
    bits = " ".join(part for part in f.fields(int(m.code, 16)) if part)
    value = shown(m.value, 28) if f.width <= 64 else shown(m.value, 20, digits=9)
    return [m.name, m.code, bits if f.width <= 20 else "", value]


def _layout(s: FormatSheet) -> str:
    f = s.format
    sign = "1 sign, " if f.signed else "no sign, "
    return f"{sign}{f.exponent_bits} exponent, {f.fraction_bits} fraction"


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _count(codes: int) -> str:
    return str(codes) if codes < 10_000 else "many"


def _power(value: Fraction) -> str:
    """A power of two as 2^e, anything else as a decimal."""
    bits = value.numerator.bit_length() - 1
    exponent = bits - (value.denominator.bit_length() - 1)
    if value == Fraction(2) ** exponent and not 1 <= value <= 4:
        return f"2^{exponent}"
    return _short(value)


def _short(value: Fraction) -> str:
    text = decimal_string(value)
    return text if len(text) <= 10 else scientific(value, 5)
