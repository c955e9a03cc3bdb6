"""How results leave a command: as text, as JSON, and as an HTML file."""

from __future__ import annotations

from typing import Any

import click

from halfulp.files import check_writable
from halfulp.language import translate as _


def check_html(html: str | None) -> None:
    """Say before long work that its page could not be written, or that a package is missing."""
    if html is not None:
        from halfulp.report.figures import require_plotly

        require_plotly()
        check_writable(html)


def emit(record: Any, as_json: bool, html: str | None = None, title: str = "") -> None:
    """Print a record, and write its page where one was asked for (first, because it may fail)."""
    if html is not None:
        from halfulp.report.record import write_record

        write_record(record, html, title)
        click.echo(_("wrote {path}").format(path=html), err=True)
    if as_json:
        click.echo(record.to_json())
    else:
        record.page().print()
