"""``halfulp explain``: how a number becomes the code of a format, and where two stacks differ."""

from __future__ import annotations

from typing import Any

import click

from halfulp.catalogue import format
from halfulp.cli import parsing
from halfulp.cli.output import emit
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.profiles import PROFILES, require


@click.command(cls=parsing.NumberCommand, short_help="A number into a format, bit by bit.")
@click.argument("number")
@click.option("--to", metavar="FORMAT", help="The format; several in turn: a,b,c.")
@click.option("--via", metavar="FORMATS", help="Formats it passes through first: a,b,c.")
@parsing.rounding
@parsing.overflow
@click.option(
    "--profile", metavar="NAME", help=f"As this stack does it. One of {', '.join(PROFILES)}."
)
@click.option(
    "--against", metavar="NAME",
    help="Where this stack differs from --profile: in the formats of --to, or in all.",
)  # fmt: skip
@parsing.as_json
@parsing.html
def explain(
    number: str,
    to: str | None,
    via: str | None,
    rounding: str,
    overflow: str | None,
    profile: str | None,
    against: str | None,
    as_json: bool,
    html: str | None,
) -> None:
    """Show every bit and every decision of a conversion: decimal, binary, each format.

    NUMBER is a decimal, 17/23, 0x1.2p3, 0b1.01, 2^-11, inf, nan, or a code: float16:0x3c7c.
    """
    if profile is not None and overflow is not None:
        raise HalfulpError(_("--profile and --overflow both say what overflows become: give one"))
    targets = None if to is None else parsing.names(to)
    if against is not None:
        result, title = _compared(number, targets, via, rounding, profile, against)
    else:
        result, title = _explained(number, targets, via, rounding, profile, overflow)
    emit(result, as_json, html, title)


# What only one of the two needs is imported when it is the one asked for.


def _explained(
    number: str, targets: list[str] | None, via: str | None, rounding: str, profile: str | None,
    overflow: str | None,
) -> tuple[Any, str]:  # fmt: skip
    from halfulp.explanations.conversion import explain

    if targets is None:
        raise HalfulpError(
            _(
                "Missing option '--to': name the format to convert to, or two stacks to "
                "compare, by --profile and --against"
            )
        )
    for target in targets if profile is not None else ():
        require(profile or "", format(target))
    chain = [parsing.names(via), targets]
    result = explain(number, *chain, rounding=rounding, overflow=profile or overflow)
    return result, _("{number} as {formats}").format(number=result.input, formats=",".join(targets))


def _compared(
    number: str, targets: list[str] | None, via: str | None, rounding: str, profile: str | None,
    against: str,
) -> tuple[Any, str]:  # fmt: skip
    from halfulp.explanations.profiles import profile_diff

    if profile is None:
        raise HalfulpError(
            _(
                "--against {against} compares it with another profile: name that by --profile"
            ).format(against=against)
        )
    if via is not None:
        raise HalfulpError(_("--via does not go with --against, which compares single conversions"))
    result = profile_diff(profile, against, number, targets, rounding=rounding)
    return result, _("{subject} under {a} and {b}").format(
        subject=result.subject, a=profile, b=against
    )
