"""A progress bar for what takes over a second: on a terminal's standard error, gone when done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def working(text: str, wanted: bool = True) -> Iterator[None]:
    """A sign of life beside work that cannot say how far it is."""
    if not wanted:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[str, int], None]]:
    """A bar for each named task; call what is given with the task and the steps it has taken."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    console = Console(stderr=True)
    tasks: dict[str, TaskID] = {}
    bar = Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True,
        disable=not console.is_terminal,
    )  # fmt: skip
    with bar:

        def show(name: str, done: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done)

        yield show
