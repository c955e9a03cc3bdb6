"""Doing pieces, in worker processes, and keeping what comes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import connection, get_context, parent_process
from threading import Thread

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from halfulp.errors import HalfulpError
from proof.backends import NUMPY
from proof.pieces import Claim, Found, Piece
from proof.store import Done, Store


@dataclass
class Result:
    """A claim, and what its pieces that are done have shown."""

    claim: Claim
    found: Found = field(default_factory=Found)
    done: int = 0  # pieces
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)  # of pieces that could not be done

    @property
    def failed(self) -> bool:
        """Whether ours was found to differ, or to fail."""
        return bool(self.found.mismatches or self.errors)

    def add(self, done: Done) -> None:
        """Another piece's result."""
        self.found += done.found
        self.done += 1
        self.seconds += done.seconds


Task = tuple[Result, Piece]


def run(claims: Iterable[Claim], store: Store, jobs: int, console: Console) -> list[Result]:
    """Do what is not done yet of all claims that can be checked here, ``jobs`` pieces at a time."""
    results, todo = resumed(claims, store)
    with _progress(console) as progress:
        seconds = sum(result.claim.seconds for result, _ in todo)
        bar = progress.add_task("", total=seconds, pieces=f"0/{len(todo)}")
        for number, ((result, piece), answer) in enumerate(_answers(todo, jobs), 1):
            if isinstance(answer, str):
                result.errors.append(f"{piece.name}: {answer}")
            else:
                store.put(result.claim, piece, answer)
                result.add(answer)
            name = f"{result.claim.area}: {result.claim.item}, {result.claim.backend}"
            progress.update(
                bar, advance=result.claim.seconds, description=name[:48],
                pieces=f"{number}/{len(todo)}",
            )  # fmt: skip
    return results


def resumed(claims: Iterable[Claim], store: Store) -> tuple[list[Result], list[Task]]:
    """What is done already, and the pieces that are not, those of NumPy's kernels first."""
    results, todo = [], []
    for claim in claims:
        result = Result(claim)
        results.append(result)
        for piece in () if claim.absent else claim.pieces:
            done = store.get(claim, piece)
            if done is None:
                todo.append((result, piece))
            else:
                result.add(done)
    todo.sort(key=lambda task: task[0].claim.backend != NUMPY.name)
    return results, todo


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:48}"), BarColumn(),
        TextColumn("{task.fields[pieces]} pieces,"), TimeElapsedColumn(), TextColumn("gone,"),
        TimeRemainingColumn(), TextColumn("left"),
    )  # fmt: skip
    # Pieces take seconds to a minute: their speed is an average over minutes.
    return Progress(*columns, console=console, transient=True, speed_estimate_period=600)


def _answers(todo: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Done | str]]:
    """What each piece comes to, or why it could not be done, as they come."""
    if jobs == 1 or len(todo) < 2:
        for task in todo:
            yield task, work(task[0].claim.check, task[1])
        return
    # Each process is one thread, so that they do not stand in each other's way.
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin) as pool:
        rest, under_way = iter(todo), dict[Future[Done | str], Task]()
        while True:
            for task in islice(rest, 2 * jobs - len(under_way)):
                under_way[pool.submit(work, task[0].claim.check, task[1])] = task
            if not under_way:
                return
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                task = under_way.pop(future)
                try:
                    yield task, future.result()
                except BrokenProcessPool:
                    raise HalfulpError(
                        f"a process ended while it did {task[0].claim.name} or the piece beside "
                        "it: run again to go on"
                    ) from None


def work(check: Callable[[Piece], Found], piece: Piece) -> Done | str:
    """One piece. What cannot be computed is a finding as well, and must not end the others."""
    start = time.perf_counter()
    try:
        return Done(check(piece), time.perf_counter() - start)
    except Exception as error:  # whatever it is that ours or theirs raised
        return f"{type(error).__name__}: {error}"


def _begin() -> None:
    """A process ends with the one that started it, even if that was killed."""
    parent = parent_process()
    assert parent is not None

    def end_with_it() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    Thread(target=end_with_it, daemon=True).start()
