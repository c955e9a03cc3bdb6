"""``halfulp lint``: what low precision will do to a training, before its first step."""

from __future__ import annotations

from typing import Any

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.cli.progress import progress_bar
from halfulp.language import translate as _


@click.command(short_help="What will go wrong, said before the first step.")
@click.argument("target")
@click.option("--formats", default="float16,bfloat16", show_default=True, metavar="NAMES")
@click.option("--steps", default=100, show_default=True, help="That are predicted.")
@click.option("--no-batches", is_flag=True, help="Go by weights and settings: train no copy.")
@click.option("--learning-rate", type=float, help="For a build that takes one, as the examples do.")
@click.option("--seed", default=0, show_default=True, help="Of weights and batches.")
@click.option(
    "--fail-on", type=click.Choice(["error", "warning"]),
    help="Exit with 1 where something at least so grave is found.",
)  # fmt: skip
@parsing.as_json
@parsing.html
def lint(
    target: str,
    formats: str,
    steps: int,
    no_batches: bool,
    learning_rate: float | None,
    seed: int,
    fail_on: str | None,
    as_json: bool,
    html: str | None,
) -> int:
    """Say what low precision will do to the training of TARGET.

    TARGET is a built-in example (digits, convnet, gpt, underflow), or file.py:build, where
    build(seed) returns a halfulp.training.Experiment. For each format a copy of its model is
    trained for the steps, its weights kept in that format, and the updates lost are counted.
    """
    from halfulp import training
    from halfulp.training.comparison import check_run
    from halfulp.training.experiment import find_build, with_options
    from halfulp.training.running import started

    check_html(html)
    check_run(seed, steps)
    build = with_options(find_build(target), target, learning_rate=learning_rate)
    with started(build, seed, target) as start, progress_bar(steps) as show:
        made = start.experiment
        given: dict[str, Any] = {} if no_batches else {"batches": start.batches, "loss": made.loss}
        result = training.lint(
            made.model, made.optimizer, formats=parsing.names(formats), steps=steps, seed=seed,
            target=target, progress=lambda done: show(_("rehearsing"), done), **given,
        )  # fmt: skip
    emit(result, as_json, html, _("Lint of {target}").format(target=target))
    return int(fail_on is not None and result.fails(fail_on))
