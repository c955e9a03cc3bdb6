"""The report of a watched run: what was found first, then what it was found in."""

from __future__ import annotations

from pathlib import Path

from halfulp.files import write_text
from halfulp.language import N_, plural
from halfulp.language import translate as _
from halfulp.report.document import Section, document
from halfulp.report.heat_maps import heat_map_figure
from halfulp.report.magnitudes import roles_figure, worst_figure
from halfulp.report.run_curves import lost_curve, scale_figure
from halfulp.report.run_data import MOST_POINTS, RunData
from halfulp.runs.exports import check_apart
from halfulp.runs.reading import Run
from halfulp.runs.verdicts import Findings, findings

MAPS = N_(
    """Each line is a tensor, the worst on top; grey is where it was not seen, or had no update.
Choose above the figure what is shown; each share tells its numerator and denominator under the
mouse."""
)
MAGNITUDES = N_(
    """How many nonzero elements each power of two holds. Bars on top are what the formats
have: their subnormal numbers pale, their normal ones full. Lines through the histograms are their
ends: dotted the least positive number, dashed the least normal one, solid the largest."""
)
LOST = N_(
    """A lost update is one that the optimizer meant, not zero, and that leaves all that is kept
of its weight as it was. The thick line is the training as it runs; the others are what would have
become of the same updates."""
)
SCALE = N_(
    """A scale in the window keeps the gradients of a step in the format: the largest does not
overflow, and of no tensor more than the share told in the findings becomes zero. Triangles are
steps that the loss scaler skipped."""
)


DRAWN = N_(" Drawn from {steps:,} of {all:,} sampled steps, evenly spread.")
COUNTED = N_(" Counted from {steps:,} of {all:,} sampled steps, evenly spread.")
WINDOW = N_(" The window is from {steps:,} of {all:,} sampled steps, evenly spread.")


def write_run(run: Run, path: str | Path, found: Findings | None = None) -> Path:
    """Write the report of a run as one HTML file, whole or not at all.

    Raises HalfulpError where the log is damaged, and for a path that cannot be written or is the
    log's own.
    """
    check_apart(run, path)
    title = _("{model}, watched").format(model=run.about.name)
    text = document(title, sections(run, found))
    return write_text(path, text)


def sections(run: Run, found: Findings | None = None) -> list[Section]:
    """The parts of a report. Findings that are known already are not looked for again."""
    found = findings(run) if found is None else found
    data = RunData(run)
    windows = len(found.windows.rows) if found.windows else len(run)
    drawn, points = len(data.steps), min(len(run), MOST_POINTS)
    parts = [
        (_("Tensors over steps"), MAPS, _few(DRAWN, drawn, run), [heat_map_figure(data)]),
        (_("Magnitudes"), MAGNITUDES, _few(COUNTED, drawn, run),
         [roles_figure(data), worst_figure(data)]),
        (_("Updates lost"), LOST, _few(DRAWN, points, run), [lost_curve(data)]),
        (_("Loss scale"), SCALE, _few(WINDOW, windows, run), [scale_figure(run, found.windows)]),
    ]  # fmt: skip
    told = [Section(_("Findings"), _what(run), (found,))]
    for title, prose, few, figures in parts:
        seen = tuple(figure for figure in figures if figure is not None)
        if seen:
            told.append(Section(title, _(prose) + few, (), seen))
    return told


def _few(what: str, steps: int, run: Run) -> str:
    """A sentence on how many steps a figure is from, where it is not all."""
    if steps >= len(run):
        return ""
    return _(what).format(steps=steps, all=len(run))


def _what(run: Run) -> str:
    """What was watched, in a sentence."""
    about = run.about
    made = ", ".join(f"{name} {version}" for name, version in about.versions)
    said = plural(
        "{model}, {parameters:,} parameters, trained by {optimizer}; one step in {every:,} was "
        "sampled{made}. From {path}.",
        "{model}, {parameters:,} parameters, trained by {optimizer} on {ranks} ranks; one step in "
        "{every:,} was sampled{made}. From {path}.", about.ranks,
    )  # fmt: skip
    return said.format(
        model=about.name, parameters=about.parameters, optimizer=about.optimizer,
        ranks=about.ranks, every=about.every, path=run.path,
        made=_(" ({versions})").format(versions=made) if made else "",
    )  # fmt: skip
