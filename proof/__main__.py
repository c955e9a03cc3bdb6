"""``python -m proof``: run what is not done yet, and print the table."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import click
from rich.console import Console

from halfulp.errors import HalfulpError, unknown
from halfulp.files import write_text
from proof import casts, operations, p3109, pairs, sources, stochastic, table
from proof.pieces import Claim
from proof.running import Result, resumed, run
from proof.store import Store

AREAS = {
    module.AREA: module.claims
    for module in (casts, sources, stochastic, pairs, operations, p3109)
}  # fmt: skip
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def all_claims(only: str = "", slice: bool = False) -> Iterator[Claim]:
    """The claims of all areas, or of those named with commas. Raises HalfulpError for others."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(AREAS)
    for name in names:
        if name not in AREAS:
            raise unknown("area", name, AREAS)
    for name in names:
        yield from AREAS[name](slice)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", default="", help=f"Areas, with commas: {', '.join(AREAS)}.")
@click.option("--slice", is_flag=True, help="A sample of seconds, the same in every run.")
@click.option("--list", "listing", is_flag=True, help="What there is and how far; runs nothing.")
@click.option("--jobs", type=click.IntRange(1), default=os.cpu_count(), help="Pieces at a time.")
@click.option("--state", type=Path, default=Path(".proof"), help="Folder of what is done.")
@click.option("--markdown", type=Path, help="Write the table here too, between the file's marks.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one entry a claim.")
def main(
    only: str, slice: bool, listing: bool, jobs: int, state: Path, markdown: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Hold halfulp to independent references, over all inputs where that is possible.

    What is done is kept, and done again only if the sources or versions it depends on change.
    Exit status: 0 no mismatch, 1 some, 2 wrong use, 130 interrupted.
    """
    store, progress = Store(state), Console(stderr=True)
    try:
        claims = list(all_claims(only, slice))
        results = resumed(claims, store)[0] if listing else run(claims, store, jobs, progress)
        show(results, as_json=as_json, markdown=markdown)
    except KeyboardInterrupt:
        progress.print("interrupted: what is done is kept, run again to go on")
        sys.exit(130)
    except HalfulpError as error:
        progress.print(f"error: {error}", style="red", markup=False)
        sys.exit(2)
    sys.exit(int(any(result.failed for result in results)))


def show(results: list[Result], *, as_json: bool, markdown: Path | None) -> None:
    """The table, wherever it was asked for."""
    if as_json:
        print(table.as_json(results))
    else:
        wide = Console(width=None if sys.stdout.isatty() else 200)
        table.draw(results, wide)
    if markdown is not None:
        write_text(markdown, placed(markdown, table.markdown(results, date.today().isoformat())))


def placed(path: Path, text: str) -> str:
    """A file with the text in place of what stood between its marks; else the text itself."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{text}\n{end}{after}" if begin and end else text


if __name__ == "__main__":
    main()
