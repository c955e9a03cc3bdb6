"""``halfulp explain``: how a number becomes the code of a format."""

from __future__ import annotations

import click

from halfulp.cli import parsing
from halfulp.cli.output import emit
from halfulp.explanations import conversion


@click.command(cls=parsing.NumberCommand, short_help="A number into a format, bit by bit.")
@click.argument("number")
@click.option("--to", required=True, metavar="FORMAT", help="The format; several in turn: a,b,c.")
@click.option("--via", metavar="FORMATS", help="Formats it passes through first: a,b,c.")
@parsing.rounding
@parsing.overflow
@parsing.as_json
@parsing.html
def explain(
    number: str,
    to: str,
    via: str | None,
    rounding: str,
    overflow: str | None,
    as_json: bool,
    html: str | None,
) -> None:
    """Show every bit and every decision of a conversion: decimal, binary, each format.

    NUMBER is a decimal, 17/23, 0x1.2p3, 0b1.01, 2^-11, inf, nan, or a code: float16:0x3c7c.
    """
    chain = [parsing.names(via), parsing.names(to)]
    result = conversion.explain(number, *chain, rounding=rounding, overflow=overflow)
    emit(result, as_json, html, f"{result.input} as {to}")
