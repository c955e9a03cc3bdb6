"""A run as the event file that TensorBoard reads: scalars, and histograms of exponents."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from math import log2
from pathlib import Path
from typing import Any

import numpy as np

from halfulp.errors import HalfulpError, missing_extra
from halfulp.runs.reading import Run
from halfulp.runs.samples import Head, Observed
from halfulp.runs.scale_window import windows

#: Sampled steps that are written at most, evenly spread: of all scalars, and of histograms.
MOST_SCALARS, MOST_HISTOGRAMS = 500, 50


def to_tensorboard(
    run: Run, folder: str | Path, progress: Callable[[int], None] | None = None
) -> Path:
    """Write a run for TensorBoard into a folder, which is made where there is none.

    Scalars are the share of updates lost under each way (``lost``), the loss scale and its window
    as exponents of two (``loss scale``), and the largest magnitude of each tensor by role
    (``largest …``); histograms are of exponents. A long run is thinned to 500 sampled steps, 50 of
    them with histograms.

    Raises HalfulpError where tensorboard or torch are not installed, and for a folder that cannot
    be written or holds events already.
    """
    target = check_folder(folder)
    writer_of = _writer()
    try:
        with tempfile.TemporaryDirectory(prefix=".halfulp-", dir=_existing(target)) as partial:
            with writer_of(log_dir=partial) as writer:
                _write(run, writer, progress or (lambda done: None))
            target.mkdir(parents=True, exist_ok=True)
            for file in Path(partial).iterdir():
                file.replace(target / file.name)
    except OSError as error:
        raise HalfulpError(f"cannot write {folder}: {error.strerror or error}") from None
    return Path(folder)


def check_folder(folder: str | Path) -> Path:
    """The folder behind any links; or say, before long work, that it could not be written.

    Raises HalfulpError for what is no folder, and for one that holds events already.
    """
    target = Path(folder).resolve()
    there = _existing(target)
    if not there.is_dir():
        raise HalfulpError(f"cannot write events to {folder}: {there} is no folder")
    if any(target.glob("events.out.tfevents.*")):
        raise HalfulpError(
            f"{folder} holds events already, which TensorBoard would mix with these: name another "
            "folder"
        )
    return target


def _writer() -> Any:
    try:
        return import_module("torch.utils.tensorboard").SummaryWriter
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("torch"):
            raise missing_extra("torch", "torch", "writing for TensorBoard") from None
        raise HalfulpError(
            f"writing for TensorBoard needs {error.name}, which is not installed: pip install "
            "tensorboard"
        ) from None


def _existing(path: Path) -> Path:
    """The path, or the nearest folder around it that is there."""
    return next(p for p in (path, *path.parents) if p.exists())


def _write(run: Run, writer: Any, progress: Callable[[int], None]) -> None:
    steps = run.steps(MOST_SCALARS)
    with_histograms = set(run.steps(MOST_HISTOGRAMS))
    heads = {head.step: head for head in run.heads}
    _write_windows(run, writer)
    for done, step in enumerate(steps, start=1):
        _write_scale(writer, heads[step])
        _write_lost(run, writer, step)
        _write_tensors(run, writer, step, step in with_histograms)
        progress(done)


def _write_windows(run: Run, writer: Any) -> None:
    for row in windows(run, most=MOST_SCALARS).rows:
        for name, end in (("least", row.least), ("largest", row.largest)):
            if end is not None:
                tag = f"loss scale/{name} that fits {row.format}, log2"
                writer.add_scalar(tag, _exponent(end), row.step)


def _write_scale(writer: Any, head: Head) -> None:
    if head.loss_scale:
        writer.add_scalar("loss scale/running, log2", _exponent(head.loss_scale), head.step)


def _write_lost(run: Run, writer: Any, step: int) -> None:
    rows = run.updates(step)
    if rows is None or not rows.updates.any():
        return
    total = rows.updates.sum()
    for way, lost in zip(run.about.ways, rows.lost.sum(0), strict=True):
        writer.add_scalar(f"lost/{way.format}, {way.strategy}", lost / total, step)
    running = rows.lost[np.arange(rows.series.size), rows.running].sum()
    writer.add_scalar("lost/as it runs", running / total, step)


def _write_tensors(run: Run, writer: Any, step: int, histograms: bool) -> None:
    seen = run.observed(step)
    for row, number in enumerate(seen.series.tolist()):
        series = run.series[number]
        if seen.largest[row] > 0:
            tag = f"largest {series.role}/{series.name}"
            writer.add_scalar(tag, float(seen.largest[row]), step)
            if histograms:
                _write_histogram(
                    writer, f"exponents of {series.role}/{series.name}", seen, row, step
                )


def _write_histogram(writer: Any, tag: str, seen: Observed, row: int, step: int) -> None:
    """A bucket a binade, from its exponent to the next; an empty one before them marks the left."""
    counted = seen.histogram(row)
    if not counted:
        return
    low, high = min(counted), max(counted)
    exponents = range(low, high + 1)
    counts = [counted.get(e, 0) for e in exponents]
    middles = np.arange(low, high + 1) + 0.5
    writer.add_histogram_raw(
        tag, min=float(low), max=float(high + 1), num=sum(counts),
        sum=float(middles @ counts), sum_squares=float(middles**2 @ counts),
        bucket_limits=[float(low), *(e + 1.0 for e in exponents)], bucket_counts=[0, *counts],
        global_step=step,
    )  # fmt: skip


def _exponent(scale: Fraction | float) -> float:
    return log2(scale)
