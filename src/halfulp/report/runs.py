"""The report of a watched run: what was found first, then what it was found in."""

from __future__ import annotations

from pathlib import Path

from halfulp.files import write_text
from halfulp.report.document import Section, document
from halfulp.report.heat_maps import heat_map_figure
from halfulp.report.magnitudes import roles_figure, worst_figure
from halfulp.report.run_curves import lost_curve, scale_figure
from halfulp.report.run_data import MOST_POINTS, RunData
from halfulp.runs.exports import check_apart
from halfulp.runs.reading import Run
from halfulp.runs.verdicts import Findings, findings

MAPS = """Each line is a tensor, the worst on top; grey is where it was not seen, or had no update.
Choose above the figure what is shown; each share tells its numerator and denominator under the
mouse."""
MAGNITUDES = """How many nonzero elements each power of two holds. Bars on top are what the formats
have: their subnormal numbers pale, their normal ones full. Lines through the histograms are their
ends: dotted the least positive number, dashed the least normal one, solid the largest."""
LOST = """A lost update is one that the optimizer meant, not zero, and that leaves all that is kept
of its weight as it was. The thick line is the training as it runs; the others are what would have
become of the same updates."""
SCALE = """A scale in the window keeps the gradients of a step in the format: the largest does not
overflow, and of no tensor more than the share told in the findings becomes zero. Triangles are
steps that the loss scaler skipped."""


def write_run(run: Run, path: str | Path, found: Findings | None = None) -> Path:
    """Write the report of a run as one HTML file, whole or not at all.

    Raises HalfulpError where the log is damaged, and for a path that cannot be written or is the
    log's own.
    """
    check_apart(run, path)
    text = document(f"{run.about.name}, watched", sections(run, found))
    return write_text(path, text)


def sections(run: Run, found: Findings | None = None) -> list[Section]:
    """The parts of a report. Findings that are known already are not looked for again."""
    found = findings(run) if found is None else found
    data = RunData(run)
    windows = len(found.windows.rows) if found.windows else len(run)
    drawn, points = len(data.steps), min(len(run), MOST_POINTS)
    parts = [
        ("Tensors over steps", MAPS, _few("Drawn", drawn, run), [heat_map_figure(data)]),
        ("Magnitudes", MAGNITUDES, _few("Counted", drawn, run),
         [roles_figure(data), worst_figure(data)]),
        ("Updates lost", LOST, _few("Drawn", points, run), [lost_curve(data)]),
        ("Loss scale", SCALE, _few("The window is", windows, run),
         [scale_figure(run, found.windows)]),
    ]  # fmt: skip
    told = [Section("Findings", _what(run), (found,))]
    for title, prose, few, figures in parts:
        seen = tuple(figure for figure in figures if figure is not None)
        if seen:
            told.append(Section(title, prose + few, (), seen))
    return told


def _few(what: str, steps: int, run: Run) -> str:
    """A sentence on how many steps a figure is from, where it is not all."""
    if steps >= len(run):
        return ""
    return f" {what} from {steps:,} of {len(run):,} sampled steps, evenly spread."


def _what(run: Run) -> str:
    """What was watched, in a sentence."""
    about = run.about
    ranks = f" on {about.ranks} ranks" if about.ranks > 1 else ""
    made = ", ".join(f"{name} {version}" for name, version in about.versions)
    return (
        f"{about.name}, {about.parameters:,} parameters, trained by {about.optimizer}{ranks}; one "
        f"step in {about.every:,} was sampled{f' ({made})' if made else ''}. From {run.path}."
    )
