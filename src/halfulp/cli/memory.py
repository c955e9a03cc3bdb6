"""``halfulp memory``: what each recipe keeps in memory."""

from __future__ import annotations

from typing import Any

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit


@click.command(short_help="Bytes a parameter, and in all, by recipe.")
@click.argument("target")
@click.option("--recipes", metavar="NAMES", help="A comma-separated choice; default: all.")
@click.option("--optimizer", metavar="NAME", help="Such as adamw (the default) or sgd-momentum.")
@parsing.as_json
@parsing.html
def memory(
    target: str, recipes: str | None, optimizer: str | None, as_json: bool, html: str | None
) -> None:
    """What TARGET takes in memory under each recipe, by role.

    TARGET is a number of parameters (7e9, 350M), a built-in example, or file.py:build, whose model
    is counted, and whose optimizer is taken unless --optimizer names another.
    """
    from halfulp import training
    from halfulp.training.experiment import BUILTIN, built, find_build

    check_html(html)
    chosen = parsing.names(recipes) if recipes is not None else list(training.RECIPES)
    counted: Any = target
    kind: Any = optimizer or "adamw"
    if target in BUILTIN or ":" in target or target.endswith(".py"):
        experiment = built(find_build(target), 0, target)
        counted, kind = experiment.model, optimizer or experiment.optimizer
    name = None if counted is target else target
    result = training.memory(counted, chosen, optimizer=kind, target=name)
    emit(result, as_json, html, f"Memory of {result.target}")
