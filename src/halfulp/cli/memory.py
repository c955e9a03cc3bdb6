"""``halfulp memory``: what each recipe keeps in memory."""

from __future__ import annotations

from typing import Any

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html, emit
from halfulp.language import translate as _


@click.command(cls=parsing.NumberCommand, short_help="Bytes a parameter, and in all, by recipe.")
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
    from halfulp.training.experiment import built, find_build

    check_html(html)
    chosen = parsing.names(recipes) if recipes is not None else list(training.RECIPES)
    counted: Any = target
    kind: Any = "adamw" if optimizer is None else optimizer
    if _is_build(target):
        experiment = built(find_build(target), 0, target)
        counted = experiment.model
        kind = experiment.optimizer if optimizer is None else optimizer
    name = None if counted is target else target
    result = training.memory(counted, chosen, optimizer=kind, target=name)
    emit(result, as_json, html, _("Memory of {target}").format(target=result.target))


def _is_build(target: str) -> bool:
    """Whether a target names a build; what names nothing is refused here, where both are known."""
    from halfulp.errors import HalfulpError, listed
    from halfulp.training.experiment import BUILTIN
    from halfulp.training.footprint import count_of

    if target in BUILTIN or target.endswith(".py") or target.rpartition(":")[0].endswith(".py"):
        return True
    try:
        count_of(target)
    except HalfulpError as error:
        raise HalfulpError(
            _("{error}; or a model: {known}, or file.py:build").format(
                error=error, known=listed(BUILTIN)
            )
        ) from None
    return False
