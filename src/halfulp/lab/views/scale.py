"""Loss scale: real gradients times a scale, what becomes of them in each format, what is safe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from halfulp.catalogue import binade
from halfulp.errors import HalfulpError
from halfulp.explanations.fields import whole
from halfulp.explanations.markup import markup
from halfulp.gradients import recordings
from halfulp.lab.state import State, few_formats
from halfulp.lab.view import Content, View, command
from halfulp.lab.views.runs import files_in, in_shell, run_file, understood
from halfulp.language import N_
from halfulp.language import translate as _

RUN, UPLOAD = "run:", "upload:"
LEAST, MOST = -10, 40  # doublings that the slider covers
MOST_FORMATS = 8


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The counts at one scale, and the curves over all."""
    from halfulp.loss_scales.shares import scale_of, scale_shares
    from halfulp.report.scale_shares import curves_plain, histogram_plain

    if "power" in pressed:
        state = state.with_(scale=f"2^{whole(pressed, 'power', LEAST, MOST)}")
    formats = few_formats(state, "formats", MOST_FORMATS)
    scale_of(state["scale"])
    with _gradients(state["source"], lab) as gradients:
        found = scale_shares(gradients, state["scale"], formats, keep=state["keep"], curves=True)
        figures = {"histogram": histogram_plain(found), "curves": curves_plain(found)}
        shares = markup(found)
    shown = {"shares": shares, "power": _power(found.scale), "least": LEAST, "most": MOST}
    said = command("scale", _named(state["source"]), scale=state["scale"],
                   formats=state["formats"], keep=state["keep"])  # fmt: skip
    return Content(state, shown, said, {k: v for k, v in figures.items() if v is not None})


def _sources(lab: Any) -> Mapping[str, Any]:
    """Where gradients may come from."""
    runs = [f"{RUN}{file.name}" for file in files_in(lab.runs) if file.is_log]
    return {"sources": (*recordings(), *runs)}


def _named(source: str) -> str:
    """What the command line calls a source; an upload has no name there but the file's own."""
    if source.startswith(UPLOAD):
        return _("FILE.npy")
    return in_shell(source.removeprefix(RUN)) if source.startswith(RUN) else source


@contextmanager
def _gradients(source: str, lab: Any) -> Iterator[Any]:
    """The gradients of a source; what a log is wrong in may only be seen when they are used."""
    if source.startswith(UPLOAD):
        yield lab.uploads.get(source.removeprefix(UPLOAD))
    elif source.startswith(RUN):
        file = run_file(lab.runs, source.removeprefix(RUN))
        with understood(file.path):
            yield _of_log(file.path, file.changed, file.size)
    elif source in recordings():
        yield _built_in(source)
    else:
        raise HalfulpError(
            _("there are no gradients {source!r}: choose {known}, a run, or a file").format(
                source=source[:60], known=", ".join(recordings())
            )
        )


@lru_cache(maxsize=4)
def _built_in(name: str) -> Any:
    from halfulp.loss_scales.sources import built_in

    return built_in(name)


@lru_cache(maxsize=4)
def _of_log(path: Path, changed: float, size: int) -> Any:
    """The gradients of a log at its last sampled step, as it was at a time."""
    from halfulp.loss_scales.sources import of_run
    from halfulp.runs.reading import read_run

    return of_run(read_run(path))


def _power(scale: Fraction) -> int:
    """Where the slider stands: the nearest power of two from below that it covers."""
    return max(LEAST, min(MOST, binade(scale)))


VIEW = View(
    name="scale",
    title=N_("Loss scale"),
    about=N_("Real gradients times a scale: what becomes zero or too large, and what is safe."),
    defaults={
        "source": "gpt", "scale": "65536",
        "formats": "float16,bfloat16,float8_e5m2,float8_e4m3fn", "keep": "0.999",
    },
    build=build,
    offers=_sources,
    keys=("power",),
    is_slow=True,
)  # fmt: skip
