"""``halfulp explain``: how a number becomes the code of a format."""

from __future__ import annotations

import click

from halfulp.cli import parsing
from halfulp.cli.output import emit
from halfulp.errors import HalfulpError
from halfulp.explanations import conversion, profiles
from halfulp.profiles import PROFILES, profile_of


@click.command(cls=parsing.NumberCommand, short_help="A number into a format, bit by bit.")
@click.argument("number")
@click.option("--to", metavar="FORMAT", help="The format; several in turn: a,b,c.")
@click.option("--via", metavar="FORMATS", help="Formats it passes through first: a,b,c.")
@parsing.rounding
@parsing.overflow
@click.option("--profile", metavar="NAME", help=f"A stack: {', '.join(PROFILES)}.")
@click.option("--against", metavar="NAME", help="Show where that stack differs from --profile.")
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
    if against is not None:
        if profile is None:
            raise HalfulpError("--against names the second profile: name the first by --profile")
        diff = profiles.profile_diff(profile, against, number, parsing.names(to) or None)
        emit(diff, as_json, html, f"{diff.subject}: {profile} and {against}")
        return
    if to is None:
        raise HalfulpError("--to is missing: name the format that the number goes into")
    if profile is not None:
        profile_of(profile)
        if overflow is not None:
            raise HalfulpError("--profile and --overflow both say what overflows become: give one")
    chain = [parsing.names(via), parsing.names(to)]
    policy = profile or overflow
    result = conversion.explain(number, *chain, rounding=rounding, overflow=policy)
    emit(result, as_json, html, f"{result.input} as {to}")
