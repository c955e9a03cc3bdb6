"""``halfulp scale``: what a loss scale does to real gradients in each format, and which fit."""

from __future__ import annotations

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.errors import HalfulpError
from halfulp.language import translate as _


@click.command(
    cls=parsing.NumberCommand, short_help="What a loss scale does to gradients, and which fit."
)
@click.argument("source")
@click.option(
    "--scale", "factor", default="65536", show_default=True, metavar="NUMBER",
    help="What multiplies the gradients; in any notation, such as 2^16.",
)  # fmt: skip
@click.option(
    "--formats", metavar="NAMES",
    help="A comma-separated choice; default: float16, bfloat16, float8_e5m2, float8_e4m3fn.",
)  # fmt: skip
@click.option("--step", type=int, metavar="N", help="Of a run, or of digits and gpt; the last.")
@click.option(
    "--keep", default="0.999", show_default=True, metavar="SHARE",
    help="Of each tensor's nonzero elements, that a scale has to keep to fit.",
)  # fmt: skip
@parsing.as_json
@parsing.html
def scale(
    source: str,
    factor: str,
    formats: str | None,
    step: int | None,
    keep: str,
    as_json: bool,
    html: str | None,
) -> None:
    """What becomes of the gradients of SOURCE times a scale in each format, and which scales fit.

    SOURCE is digits or gpt (recorded gradients of the built-in examples), a .npy file of floats, or
    the log of a watched run.
    """
    from halfulp.loss_scales.shares import FORMATS, scale_shares
    from halfulp.loss_scales.sources import gradients_of

    check_html(html)
    chosen = parsing.names(formats) if formats is not None else list(FORMATS)
    if not chosen:
        raise HalfulpError(
            _("--formats names none: give some, such as {format}").format(format=FORMATS[0])
        )
    found = scale_shares(
        gradients_of(source, step), factor, chosen, keep=keep, curves=html is not None
    )
    emit(found, as_json, html, _("{gradients}, scaled").format(gradients=found.looked.title))
