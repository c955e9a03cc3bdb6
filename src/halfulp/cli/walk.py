"""``halfulp walk``: the recurrence w ← round(w + g) under every strategy, and its closed form."""

from __future__ import annotations

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.cli.progress import working
from halfulp.errors import HalfulpError
from halfulp.language import translate as _
from halfulp.updates import STRATEGIES, walk_all

LONG = 100_000  # steps that may take over a second


@click.command(short_help="Does the weight move? Every strategy, and where it stalls.")
@click.option("--weight", required=True, metavar="NUMBER", help="The weight at the start.")
@click.option("--gradient", required=True, metavar="NUMBER", help="What each step adds.")
@click.option("--steps", required=True, type=int, help="How many updates.")
@click.option("--format", "target", default="float16", show_default=True, help="Of the weight.")
@click.option(
    "--gradient-format", metavar="FORMAT",
    help="What the gradient is rounded to first (default: the format), or none.",
)  # fmt: skip
@click.option("--learning-rate", metavar="NUMBER", help="Multiplies the gradient, in its format.")
@click.option("--strategies", default=",".join(STRATEGIES), show_default=True, metavar="NAMES")
@click.option("--seed", default=0, show_default=True, help="Of the strategy stochastic.")
@parsing.as_json
@parsing.html
def walk(
    weight: str,
    gradient: str,
    steps: int,
    target: str,
    gradient_format: str | None,
    learning_rate: str | None,
    strategies: str,
    seed: int,
    as_json: bool,
    html: str | None,
) -> None:
    """Add a gradient to a weight again and again: does it move, and where does it stall?

    The gradient is added as it is: negate it, or the learning rate, to descend.
    """
    chosen = parsing.names(strategies)
    if not chosen:
        raise HalfulpError(f"no strategy to walk: choose from {', '.join(STRATEGIES)}")
    check_html(html)
    with working("walking …", steps > LONG):
        result = walk_all(
            weight, gradient, steps, target, chosen,
            learning_rate=learning_rate, gradient_format=gradient_format, seed=seed,
        )  # fmt: skip
    title = _("{sum} in {format}").format(sum=f"{weight} + {steps} × {gradient}", format=target)
    emit(result, as_json, html, title)
