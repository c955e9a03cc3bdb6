"""``halfulp bits``: one number in one format, bit by bit, and the same number in all others."""

from __future__ import annotations

import click

from halfulp.cli import parsing
from halfulp.cli.output import emit
from halfulp.explanations.bits import bits_sheet
from halfulp.language import translate as _


@click.command(cls=parsing.NumberCommand, short_help="A number's bits, neighbours, other formats.")
@click.argument("number")
@click.option("--format", "target", default="float16", show_default=True, metavar="NAME")
@parsing.as_json
@parsing.html
def bits(number: str, target: str, as_json: bool, html: str | None) -> None:
    """Look at a number in a format: its bits, its neighbours, and what other formats make of it.

    NUMBER is a decimal, 17/23, 0x1.2p3, 0b1.01, 2^-11, inf, nan, or a code: float16:0x3c7c.
    """
    sheet = bits_sheet(number, target)
    emit(sheet, as_json, html, _("{sum} in {format}").format(sum=sheet.input, format=sheet.format))
