"""``halfulp add`` and ``halfulp multiply``: two numbers in a format, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from halfulp.cli import parsing
from halfulp.cli.output import emit
from halfulp.explanations.operation import explain_operation
from halfulp.promotion import RULES


def _operands(command: Callable[..., Any]) -> Any:
    """The arguments and options that both operations take."""
    for decorate in (
        parsing.html, parsing.as_json, parsing.overflow, parsing.rounding,
        click.option(
            "--in", "within", metavar="FORMAT",
            help="The format of the result; by default what the operands promote to.",
        ),
        click.option(
            "--promotion", metavar="NAME", default="halfulp", show_default=True,
            help=f"Whose rule says where two formats meet: {', '.join(RULES)}.",
        ),
        click.argument("b"), click.argument("a"),
        click.command(
            cls=parsing.NumberCommand,
            short_help=f"{command.__name__.title()} two numbers in a format, bit by bit.",
        ),
    ):  # fmt: skip
        command = decorate(command)
    return command


@_operands
def add(a: str, b: str, as_json: bool, html: str | None, **options: Any) -> None:
    """Add two numbers: exponents compared, one shifted, the sum normalised and rounded.

    A and B are numbers in a format (1.125:float16, float16:0x3c80), or numbers alone.
    """
    _show("add", a, b, as_json, html, **options)


@_operands
def multiply(a: str, b: str, as_json: bool, html: str | None, **options: Any) -> None:
    """Multiply two numbers: exponents added, significands multiplied, normalised and rounded.

    A and B are numbers in a format (1.125:float16, float16:0x3c80), or numbers alone.
    """
    _show("multiply", a, b, as_json, html, **options)


def _show(
    operation: str, a: str, b: str, as_json: bool, html: str | None, within: str | None,
    **options: Any,
) -> None:  # fmt: skip
    work = explain_operation(operation, a, b, within, **options)
    emit(work, as_json, html, f"{operation} {a} {b}")
