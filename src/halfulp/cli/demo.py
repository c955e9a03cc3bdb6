"""``halfulp demo``: why weights stop moving, end to end, ending in one HTML report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from halfulp.cli import parsing
from halfulp.cli.output import check_html
from halfulp.cli.progress import progress_bar
from halfulp.explanations.columns import wrapped
from halfulp.explanations.page import WIDTH, Page
from halfulp.files import write_text
from halfulp.language import N_
from halfulp.language import translate as _

if TYPE_CHECKING:  # the report is imported when the demo runs
    from halfulp.report.document import Section

TITLE = N_("Why a float16 weight does not move")


@click.command(short_help="The whole story, ending in an HTML report.")
@click.option(
    "--html", default="halfulp-demo.html", show_default=True, metavar="FILE",
    help="Where the report goes.",
)  # fmt: skip
@click.option("--steps", default=2000, show_default=True, help="Steps of each training.")
@click.option("--seed", default=0, show_default=True, help="Of the trainings.")
@parsing.as_json
def demo(html: str, steps: int, seed: int, as_json: bool) -> None:
    """Why a float16 weight does not move: bits, sums, updates, a real training, and a report."""
    from halfulp import training
    from halfulp.report import story
    from halfulp.report.document import document
    from halfulp.training.experiment import find_build

    check_html(html)
    training.check_run(seed, steps)
    told: list[Section] = []
    for part in story.numbers():
        told.append(part)
        if not as_json:
            _tell(len(told), part)
    build = find_build("digits")
    with progress_bar(steps) as show:
        comparison = training.compare(
            build, story.TRAINED, seed=seed, steps=steps, target="digits", progress=show
        )
    told.append(story.training(comparison))
    numbered = [replace(part, title=f"{n}. {part.title}") for n, part in enumerate(told, start=1)]
    write_text(html, document(_(TITLE), [story.introduction(), *numbered]))
    if as_json:
        click.echo(comparison.to_json())
        return
    _tell(len(told), told[-1])
    click.echo("\n" + _("The report, with figures, is in {path}").format(path=html))


def _tell(number: int, part: Section) -> None:
    heading = Page()
    heading.line((f"{number}. {part.title}", "key"))
    for paragraph in part.prose.split("\n\n"):
        for line in wrapped(paragraph, WIDTH):
            heading.line(line)
    heading.blank()
    heading.print()
    for record in part.records:
        record.page().print()
    click.echo()
