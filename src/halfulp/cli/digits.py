"""``halfulp digits``: a number in any base, exactly."""

from __future__ import annotations

import click

from halfulp import exact
from halfulp.cli import parsing
from halfulp.cli.output import emit


@click.command(cls=parsing.NumberCommand, short_help="A number in any base, exactly.")
@click.argument("number")
@click.option("--base", default=10, show_default=True, help="The base to write it in, 2 to 36.")
@click.option("--from", "source", type=int, help="The base that NUMBER is written in, 2 to 36.")
@click.option("--limit", default=1000, show_default=True, help="Digits after the point at most.")
@click.option("--steps", is_flag=True, help="Show every division and multiplication.")
@parsing.as_json
def digits(
    number: str, base: int, source: int | None, limit: int, steps: bool, as_json: bool
) -> None:
    """Write a number in another base: fractions exact, the repeating part in parentheses.

    NUMBER is a number, or with --from its digits in that base, such as 0.0(0011).
    """
    if steps:
        from halfulp.explanations.base_steps import base_conversion

        emit(base_conversion(number, source, base, limit=limit), as_json)
        return
    value = number if source is None else exact.from_digits(number, source)
    result = exact.digits(value, base, limit=limit)
    click.echo(result.to_json() if as_json else str(result))
