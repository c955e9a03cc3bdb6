"""The same training under several recipes: same seeds, same batches; who loses what."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch

from halfulp import __version__
from halfulp.errors import HalfulpError
from halfulp.files import write_text
from halfulp.records import Record, data_frame
from halfulp.training.experiment import Build, find_build, with_options
from halfulp.training.recipes import RECIPES, Recipe, recipe
from halfulp.training.running import RecipeResult, Start, started, train

Progress = Callable[[str, int], None]  # the recipe, and how many steps it has taken


@dataclass(frozen=True)
class Comparison(Record):
    """One training under several recipes, from one seed or from several."""

    renderer = "halfulp.training.comparison_text:comparison_page"

    target: str
    seeds: tuple[int, ...]
    steps: int
    metric: str
    recipes: tuple[RecipeResult, ...]  # of each recipe, one a seed

    def of(self, name: str) -> tuple[RecipeResult, ...]:
        """The results of one recipe, a seed each."""
        return tuple(r for r in self.recipes if r.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The recipes, in order."""
        return tuple(dict.fromkeys(r.name for r in self.recipes))

    def loss_of(self, name: str) -> float:
        """The mean loss of a recipe over the seeds."""
        return fmean(r.loss for r in self.of(name))

    def updates_of(self, name: str) -> tuple[int, int]:
        """The lost and all nonzero updates of a recipe, over the seeds."""
        rows = self.of(name)
        return sum(r.lost for r in rows), sum(r.updates for r in rows)

    def to_pandas(self) -> Any:
        """One row a recipe and seed, without the loss curves."""
        return data_frame(self.recipes, leave_out=["losses"])


class Job(NamedTuple):
    """One recipe from one seed."""

    recipe: Recipe
    seed: int


class Run(NamedTuple):
    """What all jobs of a comparison share; it travels to other processes."""

    source: Build | str  # a build, or the target that it is found by
    options: tuple[tuple[str, Any], ...]
    name: str
    steps: int | None
    emulate: bool | None
    folder: Path | None

    @property
    def build(self) -> Build:
        """The build function."""
        found = find_build(self.source) if isinstance(self.source, str) else self.source
        return with_options(found, self.name, **dict(self.options))


class Done(NamedTuple):
    """What a job came to, and what its training began with."""

    result: RecipeResult
    metric: str
    fingerprint: str


def compare(
    build: Build | str,
    recipes: Sequence[str | Recipe] = tuple(RECIPES),
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    target: str | None = None,
    options: dict[str, Any] | None = None,
    emulate: bool | None = None,
    processes: int = 1,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Train what ``build(seed)`` returns under each recipe, and count what each loses.

    ``build`` is a function, or what ``halfulp compare`` takes: an example's name, or
    ``"file.py:build"``, with keyword ``options``. ``seeds`` repeats all of it from several seeds.
    ``steps`` stops early. ``emulate`` is as in :func:`halfulp.training.prepare`. With ``processes``
    trainings run side by side. With a ``folder`` each finished training is kept there, and taken
    from there when the same comparison is run again. The caller's random state (torch, NumPy,
    random) is left as it was.

    Raises HalfulpError for unknown recipes, a build that fails or gives another start for the same
    seed, and a training that raises.
    """
    chosen = [recipe(name) for name in recipes]
    if not chosen:
        raise HalfulpError(f"no recipe to compare: choose from {', '.join(RECIPES)}")
    several = tuple(seeds) if seeds is not None else (seed,)
    for each in several or (None,):
        check_run(each, steps, processes)
    name = target or (build if isinstance(build, str) else str(getattr(build, "__name__", "build")))
    place = None if folder is None else _checked_folder(folder)
    given = tuple((options or {}).items())
    run = Run(build, given, name, steps, emulate, place)
    jobs = [Job(by, each) for by in chosen for each in several]
    done = _in_processes(run, jobs, processes, progress) if processes > 1 else None
    done = done or [_done(run, job, progress) for job in jobs]
    _check_same_starts(done, name)
    taken = max(len(d.result.losses) for d in done)
    return Comparison(name, several, taken, done[0].metric, tuple(d.result for d in done))


def check_run(seed: Any, steps: int | None, processes: int = 1) -> None:
    """A seed that all generators take, and at least one step and process.

    Raises HalfulpError for anything else.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise HalfulpError(f"seed is {seed!r}: allowed are 0 to 4294967295")
    if steps is not None and steps < 1:
        raise HalfulpError(f"steps is {steps}: give 1 or more")
    if processes < 1:
        raise HalfulpError(f"processes is {processes}: give 1 or more")


def _done(run: Run, job: Job, progress: Progress | None = None) -> Done:
    """One job, trained now or taken from where it was kept."""
    with started(run.build, job.seed, run.name) as start:
        if start.is_empty:
            raise HalfulpError(f"{run.name}: build({job.seed}) returned no batches")
        metric, key = start.experiment.metric, _key(run, job, start)
        result = _kept(run, job, key)
        if result is None:
            shown = partial(progress, job.recipe.name) if progress else None
            result = train(start, job.recipe, run.steps, run.emulate, shown)
            _keep(run, job, key, result)
        return Done(result, metric, start.fingerprint)


def _in_processes(
    run: Run, jobs: list[Job], processes: int, progress: Progress | None
) -> list[Done]:
    try:
        pickle.dumps(run)
    except Exception as error:  # pickle raises whatever it meets
        raise HalfulpError(
            f"{run.name}: its build cannot be sent to other processes ({error}): give it as "
            "file.py:build, or take processes=1"
        ) from error
    context, threads = (
        multiprocessing.get_context("spawn"),
        max(1, torch.get_num_threads() // processes),
    )
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (threads,)) as pool:
        futures = {pool.submit(_done, run, job): i for i, job in enumerate(jobs)}
        found: dict[int, Done] = {}
        for future in as_completed(futures):
            done = found[futures[future]] = future.result()
            if progress:
                progress(done.result.name, len(done.result.losses))
    return [found[i] for i in range(len(jobs))]


def _check_same_starts(done: list[Done], name: str) -> None:
    """Every recipe began with the same weights and batch, or nothing is compared."""
    starts: dict[int, str] = {}
    for d in done:
        if starts.setdefault(d.result.seed, d.fingerprint) != d.fingerprint:
            raise HalfulpError(
                f"{name}: build({d.result.seed}) gave other weights or another first batch when "
                "called again: draw all that is random from generators seeded with the seed"
            )


# What is kept of finished trainings.


def _checked_folder(folder: str | Path) -> Path:
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HalfulpError(f"cannot keep trainings in {place}: {error.strerror}") from error
    return place


def _key(run: Run, job: Job, start: Start) -> str:
    """All that a result depends on: kept ones of anything else are not taken."""
    told = (
        job.recipe.to_json(), job.seed, run.steps, run.emulate, sorted(map(str, run.options)),
        start.fingerprint, torch.__version__, __version__,
    )  # fmt: skip
    return hashlib.sha256(repr(told).encode()).hexdigest()


def _place(run: Run, job: Job) -> Path | None:
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in job.recipe.name)
    return None if run.folder is None else run.folder / f"{stem}-{job.seed}.json"


def _kept(run: Run, job: Job, key: str) -> RecipeResult | None:
    place = _place(run, job)
    if place is None or not place.is_file():
        return None
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        if found["key"] != key:
            return None
        result: RecipeResult = RecipeResult.from_dict(found["result"])
        return result
    except (OSError, ValueError, KeyError, TypeError):
        return None  # a file that is broken is made anew


def _keep(run: Run, job: Job, key: str, result: RecipeResult) -> None:
    if place := _place(run, job):
        write_text(str(place), json.dumps({"key": key, "result": result.to_dict()}))
