"""Where gradients come from: recorded with halfulp, a .npy file, or the log of a watched run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from halfulp.errors import HalfulpError, listed
from halfulp.gradients import read_gradients, recordings
from halfulp.language import translate as _
from halfulp.loss_scales.counts import Gradients
from halfulp.loss_scales.elements import Elements, of_arrays
from halfulp.loss_scales.sampled import of_run
from halfulp.npy import read_file
from halfulp.runs.reading import read_run

ARRAYS = (".npy", ".npz")  # of which the second is refused in a sentence of its own


def gradients_of(source: str, step: int | None = None) -> Gradients:
    """The gradients that a text names: ``digits``, ``gpt``, a .npy file, or a run's log.

    ``step`` chooses among the recorded ones; the last by default. A log stays open as long as what
    is returned.

    Raises HalfulpError for what is none of these or damaged, and for a step that is not there.

    >>> gradients_of("digits").looked.title
    'digits, step 1,990'
    """
    if source in recordings():
        return built_in(source, step)
    path = Path(source)
    if path.suffix.lower() in ARRAYS:
        if step is not None:
            raise HalfulpError(
                _("{source} has no steps: leave --step {step} out").format(source=source, step=step)
            )
        return of_array(path.name, read_file(path))
    if not path.exists():
        raise HalfulpError(
            _(
                "there are no gradients {source!r}: give {known}, a .npy file, or the log "
                "of a watched run"
            ).format(source=source, known=listed(recordings()))
        )
    return of_run(read_run(path), step)


def built_in(name: str, step: int | None = None) -> Elements:
    """The gradients recorded with halfulp.

    Raises HalfulpError for names and steps that are not there.
    """
    found = read_gradients(name, step)
    about = recordings()[name]
    step = about.steps[-1] if step is None else step
    return of_arrays(name, found, step=step, of_elements=about.elements)


def of_array(name: str, x: npt.NDArray[np.floating]) -> Elements:
    """The gradients of one array, as of one tensor."""
    return of_arrays(name, {"array": x})


__all__ = ["built_in", "gradients_of", "of_array", "of_arrays", "of_run"]
