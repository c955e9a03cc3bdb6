"""``halfulp compare``: the same training under several recipes."""

from __future__ import annotations

from typing import Any

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.cli.progress import progress_bar
from halfulp.language import translate as _


@click.command(short_help="One training under several recipes.")
@click.argument("target")
@click.option("--recipes", metavar="NAMES", help="A comma-separated choice; default: all.")
@click.option("--attribute", metavar="RECIPE", help="Each site of one recipe alone, instead.")
@click.option("--seed", default=0, show_default=True, help="Of weights and batches.")
@click.option("--seeds", type=int, metavar="N", help="Repeat from N seeds, --seed being the first.")
@click.option("--steps", type=int, help="Stop after so many.")
@click.option("--learning-rate", type=float, help="For a build that takes one, as the examples do.")
@click.option("--emulate", is_flag=True, help="Emulate what torch could compute in itself, too.")
@click.option("--processes", default=1, show_default=True, help="Trainings side by side.")
@click.option("--resume", metavar="FOLDER", help="Keep finished trainings, and go on from them.")
@parsing.as_json
@parsing.html
def compare(
    target: str,
    recipes: str | None,
    attribute: str | None,
    seed: int,
    seeds: int | None,
    steps: int | None,
    learning_rate: float | None,
    emulate: bool,
    processes: int,
    resume: str | None,
    as_json: bool,
    html: str | None,
) -> None:
    """Train TARGET under each recipe, same seed and batches: who loses which updates?

    TARGET is a built-in example (digits, convnet, gpt, underflow), or file.py:build, where
    build(seed) returns a halfulp.training.Experiment. With --attribute, one site of a recipe at a
    time takes its format, all else being float32: what does each cost in loss?
    """
    from halfulp import training
    from halfulp.errors import HalfulpError

    check_html(html)
    if recipes is not None and attribute is not None:
        raise HalfulpError(_("--recipes and --attribute were both given: choose one"))
    if seeds is not None and seeds < 1:
        raise HalfulpError(_("--seeds is {seeds}: give 1 or more").format(seeds=seeds))
    chosen = parsing.names(recipes) if recipes is not None else list(training.RECIPES)
    several = range(seed, seed + (seeds or 1))
    options = {} if learning_rate is None else {"learning_rate": learning_rate}
    with progress_bar(steps) as show:
        shared: dict[str, Any] = {
            "seeds": several, "steps": steps, "target": target, "options": options,
            "processes": processes, "folder": resume, "progress": show,
        }  # fmt: skip
        result: Any = (
            training.attribute(target, attribute, **shared)
            if attribute is not None
            else training.compare(target, chosen, emulate=emulate or None, **shared)
        )
    title = (
        _("{target} under {recipe}, site by site") if attribute else _("{target} under {n} recipes")
    )
    emit(result, as_json, html, title.format(target=target, recipe=attribute, n=len(chosen)))
