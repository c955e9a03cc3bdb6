"""L3: every code of a small format, and what it means."""

from __future__ import annotations

from dataclasses import dataclass

from halfulp.casting import code_number
from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.explanations.conversion import Fields, fields_of
from halfulp.language import translate as _
from halfulp.records import Record

WIDEST = 8  # bits of a code


@dataclass(frozen=True)
class CodeRow(Record):
    """One code of a format."""

    code: str
    bits: str
    fields: Fields  # their texts, the exponent's value, and the kind
    value: Number

    @property
    def kind(self) -> str:
        """What it is: normal, subnormal, zero, inf or nan."""
        return self.fields.kind

    @property
    def number(self) -> int:
        """The code as an int."""
        return int(self.code, 16)


@dataclass(frozen=True)
class CodeTable(Record):
    """All codes of a format of at most 8 bits, in order.

    >>> table = CodeTable.of("float4_e2m1fn")
    >>> [str(row.value) for row in table.rows][:8]
    ['0', '0.5', '1', '1.5', '2', '3', '4', '6']
    """

    renderer = "halfulp.explanations.code_table_text:codes_page"

    format: Format
    rows: tuple[CodeRow, ...]

    @staticmethod
    def of(target: str | Format) -> CodeTable:
        """The codes of a format.

        Raises HalfulpError for an unknown format, and for one of more than 8 bits.
        """
        f = format(target)
        if f.width > WIDEST:
            raise HalfulpError(
                _(
                    "{format} has 2^{width} codes: tables of codes are for formats of at most "
                    "{most} bits, such as float8_e4m3fn"
                ).format(format=f, width=f.width, most=WIDEST)
            )
        return CodeTable(f, tuple(_row(f, code) for code in range(f.codes)))


def _row(f: Format, code: int) -> CodeRow:
    bits = f"{code:0{f.width}b}"
    return CodeRow(f.hex(code), bits, fields_of(f, code), code_number(f, code))
