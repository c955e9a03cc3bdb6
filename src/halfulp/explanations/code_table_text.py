"""L3: every code of a small format as text: a grid, whose columns are the last bits of a code."""

from __future__ import annotations

from collections.abc import Sequence

from halfulp.catalogue import Format, NanStyle
from halfulp.exact import Number
from halfulp.explanations.code_table import CodeRow, CodeTable
from halfulp.explanations.columns import columns
from halfulp.explanations.page import WIDTH, Page
from halfulp.language import N_
from halfulp.language import translate as _
from halfulp.records import decimal_string

MOST = 8  # codes a line
SHORT = 7  # characters that are left to a decimal, before m×2^e is tried
KINDS = {
    "zero": N_("zero"), "subnormal": N_("subnormal"), "normal": N_("normal"),
    "inf": N_("infinity"), "nan": N_("NaN"),
}  # fmt: skip


def codes_page(t: CodeTable) -> Page:
    """The codes without sign as a grid, and what the sign makes of them."""
    out = Page()
    f = t.format
    title = _("Every code of {format}").format(format=f)
    out.line((title, "title"))
    layout = (
        _("{codes} codes of 1 sign, {exponent} exponent and {fraction} fraction bits.")
        if f.signed
        else _("{codes} codes of {exponent} exponent and {fraction} fraction bits, no sign.")
    )
    out.paragraph(layout.format(codes=f.codes, exponent=f.exponent_bits, fraction=f.fraction_bits))
    out.blank()
    out.table(*_grid(t))
    if f.signed:
        out.blank()
        out.paragraph(_sign(f))
    return out


def _grid(t: CodeTable) -> tuple[list[str], list[list[str]], str]:
    """Header, lines and leaning of the widest grid that fits."""
    rows = t.rows[: t.format.sign_bit or None]
    wide = min(MOST, len(rows))
    while True:
        header = [_("code"), _("bits"), *(_tail(r, wide) for r in rows[:wide]), ""]
        lines = [_line(rows[i : i + wide]) for i in range(0, len(rows), wide)]
        if wide == 1 or _width(header, lines) <= WIDTH:
            return header, lines, "".join(str(i) for i in range(2, 2 + wide))
        wide //= 2


def _width(header: list[str], lines: list[list[str]]) -> int:
    return sum(2 + max(map(columns, column)) for column in zip(header, *lines, strict=True))


def _tail(row: CodeRow, wide: int) -> str:
    """The bits by which the codes of a line differ."""
    varying = wide.bit_length() - 1
    return "…" + row.bits[len(row.bits) - varying :] if varying else ""


def _line(rows: Sequence[CodeRow]) -> list[str]:
    """The first code of a line, the bits that all its codes share, their values and kinds."""
    kinds = dict.fromkeys(_(KINDS[row.kind]) for row in rows)
    return [rows[0].code, _head(rows), *(_exact(row.value) for row in rows), ", ".join(kinds)]


def _head(rows: Sequence[CodeRow]) -> str:
    fields = rows[0].fields
    varying = len(rows).bit_length() - 1
    bits = [fields.sign, fields.exponent, fields.fraction]
    for i in (2, 1, 0):
        hidden = min(varying, len(bits[i]))
        bits[i] = bits[i][: len(bits[i]) - hidden] + "·" * hidden
        varying -= hidden
    return " ".join(part for part in bits if part)


def _exact(value: Number) -> str:
    """A value in full: a decimal where it is short, else an odd number times a power of two."""
    if not value.is_finite:
        return str(value) if not value.is_nan else "NaN"
    decimal = decimal_string(value.value)
    if len(decimal) <= SHORT:
        return decimal
    top, bottom = value.value.numerator, value.value.denominator
    twos = (top & -top).bit_length() - 1
    odd, exponent = top >> twos, twos - (bottom.bit_length() - 1)
    power = f"2^{exponent}" if odd == 1 else f"{odd}×2^{exponent}"
    return power if len(power) < len(decimal) else decimal


def _sign(f: Format) -> str:
    """What the codes with the sign bit mean."""
    if f.signed_zero:
        said = _("With the sign bit, {first} to {last}, they are the same with a minus sign.")
    elif f.nan is NanStyle.NEGATIVE_ZERO:
        said = _(
            "With the sign bit, {next} to {last}, they are the same with a minus sign; "
            "{first} is NaN."
        )
    else:
        said = _(
            "With the sign bit, {next} to {last}, they are the same with a minus sign; "
            "{first} is zero."
        )
    first = f.sign_bit
    return said.format(first=f.hex(first), next=f.hex(first + 1), last=f.hex(f.codes - 1))
