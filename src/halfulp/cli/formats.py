"""``halfulp formats``: the catalogue, one format in full, its codes, and formats compared."""

from __future__ import annotations

from typing import Any

import click

from halfulp import catalogue
from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.errors import HalfulpError
from halfulp.explanations.formats import CatalogueTable, FormatSheet
from halfulp.language import translate as _


@click.command(short_help="The catalogue, or one format in full.")
@click.argument("name", required=False)
@click.option("--codes", is_flag=True, help="List every code, of a format of at most 8 bits.")
@parsing.as_json
@parsing.html
def formats(name: str | None, codes: bool, as_json: bool, html: str | None) -> None:
    """List the formats, or show one in full: layout, range, spacing, special codes.

    NAME is one of the list, a custom such as e5m10 or e4m3b7, or one of P3109: p3109_k8p4se.
    Several, with commas between them, are compared.
    """
    check_html(html)
    chosen = [] if name is None else parsing.names(name) or [name]
    record, title = _asked(chosen, codes)
    emit(record, as_json, html, title)


def _asked(names: list[str], codes: bool) -> tuple[Any, str]:
    """The record that was asked for, and the title of its page."""
    if codes:
        from halfulp.explanations.code_table import CodeTable

        if len(names) != 1:
            raise HalfulpError(
                _("--codes lists the codes of one format: name it, float8_e4m3fn say")
            )
        table = CodeTable.of(names[0])
        return table, _("The codes of {format}").format(format=table.format)
    if not names:
        return CatalogueTable.of(catalogue.formats()), _("Formats")
    if len(names) == 1:
        sheet = FormatSheet.of(catalogue.format(names[0]))
        return sheet, _("The format {format}").format(format=sheet.format)
    from halfulp.explanations.ranges import Ranges

    return Ranges.of(names), _("The formats {names}").format(names=", ".join(names))
