"""L3: the catalogue and one format as text."""

from __future__ import annotations

from fractions import Fraction

from halfulp.block_catalogue import BlockFormat
from halfulp.catalogue import Format
from halfulp.explanations.density_text import digits_text
from halfulp.explanations.formats import CatalogueTable, FormatSheet, Landmark
from halfulp.explanations.page import Page, scientific, shown
from halfulp.language import N_
from halfulp.language import translate as _
from halfulp.records import decimal_string

# What overflow becomes, as sheets name it.
FATES = (N_("infinity"), N_("nan"), N_("max"))


def catalogue_page(table: CatalogueTable) -> Page:
    """The catalogue, one line a format."""
    out = Page()
    rows = [
        [
            r.name, f"{r.exponent_bits}/{r.fraction_bits}", _short(r.max),
            power_text(r.least_normal), power_text(r.least_positive), _yes(r.infinities),
            _count(r.nan_codes), _yes(r.signed_zero),
        ]
        for r in table.formats
    ]  # fmt: skip
    header = [_("format"), "E/M", _("max"), _("least normal"), _("least"), "inf", "NaN", "-0"]
    out.table(header, rows, right="12346")
    out.blank()
    out.paragraph(
        _(
            "E/M are exponent and stored fraction bits. Also: IEEE P3109 formats by name, such as "
            "p3109_k8p4se, and customs such as e5m10, e4m3b7, e4m3fn, ue5m3fn."
        )
    )
    return out


def format_page(f: Format) -> Page:
    """A format as its sheet."""
    return sheet_page(FormatSheet.of(f))


def block_page(f: BlockFormat) -> Page:
    """A block format: what its elements share."""
    out = Page()
    text = _("{bits} bits an element, its share of the scale included")
    memory = text.format(bits=f"{f.bits_per_element:g}")
    out.line((f.name, "title"), (f"  {memory}", "dim"))
    out.labelled(_("elements"), f.element.name)
    out.labelled(_("blocks"), _("{n} elements along axis {axis}").format(n=f.size, axis=f.axis))
    text = _("{format} by the rule {rule}")
    out.labelled(_("scales"), text.format(format=f.scale, rule=f.scale_rule))
    if f.tensor_scale:
        out.labelled("", _("and one float32 that scales all blocks"))
    return out


def sheet_page(s: FormatSheet) -> Page:
    """One format in full."""
    out = Page()
    f = s.format
    out.line((f.name, "title"), (f"  {_layout(s)}", "dim"))
    text = _("{bits} bits, the implicit one included")
    out.labelled(_("precision"), text.format(bits=s.precision))
    text = _("2^{least} to 2^{most}, bias {bias}")
    out.labelled(_("exponents"), text.format(least=s.emin, most=s.emax, bias=f.bias))
    out.labelled(_("ulp of 1"), f"{power_text(f.ulp(1))} = {shown(f.ulp(1))}")
    text = _("{codes}: {numbers} different numbers, {nans} NaN")
    text = text.format(codes=s.codes, numbers=s.finite_numbers, nans=s.nan_codes)
    out.labelled(_("codes"), text)
    out.labelled(_("digits"), digits_text(s.density))
    text = _("becomes {fate} unless the cast says otherwise")
    out.labelled(_("overflow"), text.format(fate=_(s.overflow)))
    if s.lost_at_one is not None:
        out.labelled(_("lost"), _lost(s).format(value=shown(s.lost_at_one)))
    out.blank()
    out.table(
        [_("number"), _("code"), _("bits"), _("value")], [_landmark(s, m) for m in s.landmarks]
    )
    return out


def _lost(s: FormatSheet) -> str:
    if s.tie_is_lost:
        return _("at weight 1.0 an update up to {value} (half an ulp, the tie included) is lost")
    return _("at weight 1.0 an update up to {value} (half an ulp, the tie moves it) is lost")


def _landmark(s: FormatSheet, m: Landmark) -> list[str]:
    f = s.format
    bits = " ".join(part for part in f.fields(int(m.code, 16)) if part)
    value = shown(m.value, 28) if f.width <= 64 else shown(m.value, 20, digits=9)
    return [_(m.name), m.code, bits if f.width <= 20 else "", value]


def _layout(s: FormatSheet) -> str:
    f = s.format
    text = (
        _("{width} bits: 1 sign, {exponent} exponent, {fraction} fraction")
        if f.signed
        else _("{width} bits: no sign, {exponent} exponent, {fraction} fraction")
    )
    return text.format(width=s.width, exponent=f.exponent_bits, fraction=f.fraction_bits)


def _yes(flag: bool) -> str:
    return _("yes") if flag else _("no")


def _count(codes: int) -> str:
    return str(codes) if codes < 10_000 else _("many")


def power_text(value: Fraction) -> str:
    """A power of two as 2^e, anything else as a decimal."""
    bits = value.numerator.bit_length() - 1
    exponent = bits - (value.denominator.bit_length() - 1)
    if value == Fraction(2) ** exponent and not 1 <= value <= 4:
        return f"2^{exponent}"
    return _short(value)


def _short(value: Fraction) -> str:
    text = decimal_string(value)
    return text if len(text) <= 10 else scientific(value, 5)
