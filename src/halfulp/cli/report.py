"""``halfulp report``: a watched training or a comparison as a page; tables, TensorBoard's files."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.cli.progress import progress_bar, working
from halfulp.errors import HalfulpError
from halfulp.language import translate as _

if TYPE_CHECKING:
    from halfulp.runs.reading import Run

BESIDE = ""  # --html without a name: the log's, with another ending


@click.command(short_help="What a watched training did; as an HTML page, CSV, Parquet.")
@click.argument("log", metavar="RUN")
@click.option(
    "--html", is_flag=False, flag_value=BESIDE, metavar="[FILE]",
    help="Also write a self-contained HTML page; without a name, beside the log.",
)  # fmt: skip
@click.option("--export", metavar="FILE", help="Also write a table: .csv or .parquet.")
@click.option(
    "--table", metavar="NAME",
    help="Which one: tensors (the default), updates, events or samples.",
)  # fmt: skip
@click.option("--tensorboard", metavar="FOLDER", help="Also write events for TensorBoard.")
@parsing.as_json
def report(
    log: str,
    html: str | None,
    export: str | None,
    table: str | None,
    tensorboard: str | None,
    as_json: bool,
) -> None:
    """What was found in a training, and its figures and tables.

    RUN is the log that halfulp.training.watch(…, log="run.db") writes, finished or not, or a
    comparison that halfulp compare … --json wrote (a .json file): it is only read.
    """
    from halfulp.runs.reading import read_run

    if table is not None and export is None:
        raise HalfulpError(_("--table names what --export writes: give --export FILE, too"))
    if html == BESIDE:
        html = str(Path(log).with_suffix(".html"))
    if log.endswith(".json"):
        if export is not None or tensorboard is not None:
            raise HalfulpError(_("--export and --tensorboard are for logs of watched trainings"))
        _comparison(log, html, as_json)
        return
    with closing(read_run(log)) as run:
        _check(run, html, export, table or "tensors", tensorboard)
        if export is not None:
            _export(run, export, table or "tensors")
        if tensorboard is not None:
            _events(run, tensorboard)
        _report(run, html, as_json)


def _comparison(path: str, html: str | None, as_json: bool) -> None:
    from halfulp.report.saved import read_comparison

    check_html(html)
    if html is not None and Path(html).resolve() == Path(path).resolve():
        raise HalfulpError(
            _("{html} is the comparison itself: give the page another name").format(html=html)
        )
    found = read_comparison(path)
    emit(
        found,
        as_json,
        html,
        _("{target} under {n} recipes").format(target=found.target, n=len(found.names)),
    )


def _check(run: Run, html: str | None, export: str | None, table: str, folder: str | None) -> None:
    """Say before long work what could not be written."""
    from halfulp.runs.exports import check_apart, check_export

    check_html(html)
    if html is not None:
        check_apart(run, html)
    if export is not None:
        check_export(run, export, table)
    if folder is not None:
        from halfulp.report.tensorboard import check_folder

        check_folder(folder)


def _report(run: Run, html: str | None, as_json: bool) -> None:
    from halfulp.runs.verdicts import findings

    with working(f"reading {run.path}"):
        found = findings(run)
    if html is not None:
        from halfulp.report.runs import write_run

        with working(f"writing {html}"):
            write_run(run, html, found)
        click.echo(_("wrote {path}").format(path=html), err=True)
    if as_json:
        click.echo(found.to_json())
    else:
        found.page().print()


def _export(run: Run, path: str, table: str) -> None:
    from halfulp.runs.exports import export

    with progress_bar(len(run)) as show:
        export(run, path, table, lambda done: show(path, done))
    click.echo(_("wrote {path}").format(path=path), err=True)


def _events(run: Run, folder: str) -> None:
    from halfulp.report.tensorboard import MOST_SCALARS, to_tensorboard

    with progress_bar(min(len(run), MOST_SCALARS)) as show:
        to_tensorboard(run, folder, lambda done: show(folder, done))
    click.echo(_("wrote {path}").format(path=folder), err=True)
