"""``halfulp lab``: the local page."""

from __future__ import annotations

from pathlib import Path

import click

from halfulp.errors import HalfulpError, missing_extra
from halfulp.language import translate as _


@click.command(short_help="A local page: bits, conversions, walks, loss scales, runs.")
@click.option("--port", default=8765, show_default=True, help="0 takes any that is free.")
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Another address lets others in: whoever reaches it may read the runs.",
)  # fmt: skip
@click.option(
    "--runs", default=".", show_default=True, metavar="FOLDER",
    help="Where logs of watched runs and comparisons (JSON) are read from.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Open no browser.")
def lab(port: int, host: str, runs: str, no_browser: bool) -> None:
    """Serve the lab on this machine and open it: all of halfulp's arithmetic on one page.

    It needs no network, and answers to this machine alone.
    """
    if not Path(runs).is_dir():
        raise HalfulpError(
            _("{runs} is no folder: give the one that runs are read from").format(runs=runs)
        )
    try:
        from halfulp.lab.server import serve
    except ModuleNotFoundError as error:
        raise missing_extra(str(error.name), "lab", "the lab") from None
    serve(port, Path(runs).resolve(), host=host, browser=not no_browser)
