"""Runs: reports of watched trainings, live while they go on, and of comparisons."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from halfulp import language
from halfulp.errors import HalfulpError
from halfulp.explanations.markup import markup
from halfulp.lab.state import State
from halfulp.lab.view import Content, View, command
from halfulp.language import N_
from halfulp.language import translate as _

MOST_FILES = 200  # of the folder, the newest first
ENDINGS = (".db", ".json")


class File(NamedTuple):
    """A run in the folder, or a comparison."""

    name: str
    path: Path
    changed: float  # seconds
    size: int

    @property
    def is_log(self) -> bool:
        """A log of a watched run, which may still be written."""
        return self.path.suffix == ".db"


def files_in(folder: Path) -> list[File]:
    """The runs and comparisons of a folder, the newest first; nothing that leads out of it."""
    try:
        paths = [path for path in folder.iterdir() if path.suffix in ENDINGS]
    except OSError:  # it is gone, or closed to us
        return []
    found = [file for path in paths if (file := _file(folder, path))]
    return sorted(found, key=lambda f: -f.changed)[:MOST_FILES]


def _file(folder: Path, path: Path) -> File | None:
    """A file as it is; None for what is none of the folder's, and where it goes meanwhile."""
    try:
        path.name.encode()  # what is no text cannot be in a link
        if not path.is_file() or path.resolve().parent != folder:
            return None
        beside = path.with_name(f"{path.name}-wal")
        about = [p.stat() for p in (path, beside) if p.is_file()]
        changed, size = max(s.st_mtime for s in about), sum(s.st_size for s in about)
    except (OSError, ValueError):
        return None
    return File(path.name, path, changed, size)


def run_file(folder: Path, name: str) -> File:
    """A file of the folder by its name.

    Raises HalfulpError for every other name.
    """
    found = {f.name: f for f in files_in(folder)}
    if name not in found:
        raise HalfulpError(
            _("there is no run {name!r} in the folder that the lab was started with").format(
                name=name[:60]
            )
        )
    return found[name]


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The list of runs, and the report of one."""
    state = state.with_(run=pressed["open"]) if "open" in pressed else state
    if not state["run"]:
        shown = {"folder": lab.runs.name, "chosen": None}
        return Content(state, shown, command("watch", "run.db"))
    chosen = run_file(lab.runs, state["run"])
    shown = {"chosen": chosen, "folder": lab.runs.name, "glance": None,
             "sections": ()}  # fmt: skip
    if chosen.is_log:
        shown["glance"] = _glance(chosen.path)
    if "poll" not in pressed:
        shown["sections"] = _parts(language.chosen(), chosen.path, chosen.changed, chosen.size)
    figures = {
        f"{i}-{j}": figure
        for i, section in enumerate(shown["sections"])
        for j, figure in enumerate(section.figures)
    }
    page = Path(chosen.name).with_suffix(".html")
    said = command("report", in_shell(chosen.name), html=in_shell(page.name))
    return Content(state, shown, said, figures)


def in_shell(name: str) -> str:
    """A file of the folder as a command takes it, which is no option then."""
    return f"./{name}" if name.startswith("-") else name


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Whatever reading a file raises is its damage: a file can say anything."""
    try:
        yield
    except HalfulpError as error:
        raise HalfulpError(str(error).replace(f"{path.parent}{os.sep}", "")) from error
    except Exception as error:
        logging.getLogger(__name__).exception("reading %s", path)  # it may be our fault as well
        text = _("{path} is damaged: what it says makes no sense")
        raise HalfulpError(text.format(path=path.name)) from error


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The run of a log, which pages know by its name alone."""
    from halfulp.runs.reading import read_run

    with understood(path), closing(read_run(path)) as run:
        run.path = path.name
        yield run


def _glance(path: Path) -> Markup:
    from halfulp.runs.glance import glance

    with _opened(path) as run:
        return markup(glance(run))


class Part(NamedTuple):
    """A part of a report, drawn: only then is seen whether a damaged file can be."""

    title: str
    prose: str
    records: tuple[Markup, ...]
    figures: tuple[str, ...]  # as JSON

    @staticmethod
    def of(section: Any) -> Part:
        """A section of a report, drawn."""
        records = tuple(markup(record) for record in section.records)
        figures = tuple(figure.to_json() for figure in section.figures)
        return Part(section.title, section.prose, records, figures)


@lru_cache(maxsize=4)
def _parts(spoken: str, path: Path, changed: float, size: int) -> tuple[Part, ...]:
    """The parts of a report: made once in a language for what a file was at a time."""
    if path.suffix == ".json":
        from halfulp.report.record import section
        from halfulp.report.saved import read_comparison

        with understood(path):
            return (Part.of(section(read_comparison(path))),)
    from halfulp.report.runs import sections

    with _opened(path) as run:
        return tuple(Part.of(section) for section in sections(run))


VIEW = View(
    name="runs",
    title=N_("Runs"),
    about=N_("Trainings that halfulp watched, live while they go on, and comparisons of recipes."),
    defaults={"run": ""},
    build=build,
    offers=lambda lab: {"files": files_in(lab.runs)},
    keys=("open", "poll"),
    is_slow=True,
)
