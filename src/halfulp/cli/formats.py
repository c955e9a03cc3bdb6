"""``halfulp formats``: the catalogue, and one format in full."""

from __future__ import annotations

import click

from halfulp import catalogue
from halfulp.cli import parsing
from halfulp.cli.output import emit
from halfulp.explanations.formats import CatalogueTable, FormatSheet


@click.command(short_help="The catalogue, or one format in full.")
@click.argument("name", required=False)
@parsing.as_json
def formats(name: str | None, as_json: bool) -> None:
    """List the formats, or show one in full: layout, range, spacing, special codes.

    NAME is one of the list, a custom such as e5m10 or e4m3b7, or one of P3109: p3109_k8p4se.
    """
    if name is None:
        emit(CatalogueTable.of(catalogue.formats()), as_json)
    else:
        emit(FormatSheet.of(catalogue.format(name)), as_json)
