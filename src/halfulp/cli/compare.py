"""``halfulp compare``: the same training under several recipes."""

from __future__ import annotations

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.cli.progress import progress_bar


@click.command(short_help="One training under several recipes.")
@click.argument("target")
@click.option("--recipes", metavar="NAMES", help="A comma-separated choice; default: all.")
@click.option("--seed", default=0, show_default=True, help="Of weights and batches.")
@click.option("--steps", type=int, help="Stop after so many.")
@click.option("--learning-rate", type=float, help="For a build that takes one, as the examples do.")
@parsing.as_json
@parsing.html
def compare(
    target: str,
    recipes: str | None,
    seed: int,
    steps: int | None,
    learning_rate: float | None,
    as_json: bool,
    html: str | None,
) -> None:
    """Train TARGET under each recipe, same seed and batches: who loses which updates?

    TARGET is the built-in example "digits", or file.py:build, where build(seed) returns a
    halfulp.training.Experiment.
    """
    from halfulp import training
    from halfulp.training.experiment import find_build, with_options

    check_html(html)
    chosen = parsing.names(recipes) if recipes is not None else list(training.RECIPES)
    build = with_options(find_build(target), target, learning_rate=learning_rate)
    with progress_bar(steps) as show:
        result = training.compare(
            build, chosen, seed=seed, steps=steps, target=target, progress=show
        )
    emit(result, as_json, html, f"{target} under {len(chosen)} recipes")
