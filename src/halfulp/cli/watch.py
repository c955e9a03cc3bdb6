"""``halfulp watch``: a watched training as it goes on, or once."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from halfulp.cli import parsing
from halfulp.language import translate as _

if TYPE_CHECKING:
    from halfulp.explanations.page import Page
    from halfulp.runs.glance import Glance
    from halfulp.runs.reading import Run
    from halfulp.runs.verdicts import Findings

POLL = 0.5  # seconds between looks at the log
SHARE = 20  # findings are judged again once so many times what they took has passed
QUIT = ("q", "Q", "\x1b")


@click.command(short_help="A watched training as it goes on, and what is wrong with it.")
@click.argument("log")
@click.option("--once", is_flag=True, help="Print what is there now, and leave.")
@click.option(
    "--fail-on", type=click.Choice(["warning", "error"]),
    help="Print once; exit with 1 where anything as severe was found.",
)  # fmt: skip
@parsing.as_json
def watch(log: str, once: bool, fail_on: str | None, as_json: bool) -> int:
    """What the training that writes LOG is doing: its loss scale, the updates it loses, findings.

    LOG is what halfulp.training.watch(…, log="run.db") writes. On a terminal the view is live, also
    before the first step is sampled: q leaves. Elsewhere it is printed once.
    """
    is_live = not once and not as_json and fail_on is None
    if is_live and sys.stdout.isatty():
        _live(log)
        return 0
    found = _once(log, as_json)
    return int(fail_on is not None and found.fails(fail_on))


def _once(log: str, as_json: bool) -> Findings:
    """Print a run as it stands, and what was found."""
    from halfulp.runs.glance_text import glance_page
    from halfulp.runs.verdicts_text import findings_page

    with _opened(log) as run:
        now, found = _looked(run)
    if as_json:
        both = {"glance": now.to_dict(), "findings": found.to_dict()}
        click.echo(json.dumps(both, indent=2, ensure_ascii=False))
        return found
    glance_page(now).print()
    click.echo()
    findings_page(found).print()
    return found


def _looked(run: Run) -> tuple[Glance, Findings]:
    from halfulp.runs.glance import glance
    from halfulp.runs.verdicts import findings

    return glance(run), findings(run)


@contextmanager
def _opened(log: str) -> Iterator[Run]:
    from halfulp.runs.reading import read_run

    run = read_run(log)
    try:
        yield run
    finally:
        run.close()


class _View:
    """What is on the screen, made anew where the log has grown."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.now: Glance | None = None
        self.found: Findings | None = None
        self.changed: Any = None  # sizes and times of the files when they were read
        self.due = 0.0  # when findings may be judged again

    def page(self) -> Page:
        """The page as of now."""
        from halfulp.runs.glance import glance
        from halfulp.runs.glance_text import glance_page

        changed = _stamp(self.log)
        if self.now is None or changed != self.changed or self.is_stale:
            with _opened(self.log) as run:
                now = glance(run)
                if self.now is None or now.key != self.now.key or self.is_stale:
                    self.now = now
                    self._judge(run)
            self.changed = changed
        return glance_page(self.now, self.found)

    @property
    def is_stale(self) -> bool:
        """Whether findings are older than what is shown, and may be judged again."""
        if self.now is None or time.monotonic() < self.due:
            return False
        return self.found is None or self.found.sampled != self.now.sampled

    def _judge(self, run: Run) -> None:
        from halfulp.runs.verdicts import findings

        begin = time.monotonic()
        if begin >= self.due:
            self.found = findings(run)
            end = time.monotonic()
            self.due = end + SHARE * (end - begin)


def _stamp(log: str) -> Any:
    """What tells that a log has grown: size and time of it, and of what is not yet in it."""
    parts = []
    for name in (log, f"{log}-wal"):
        try:
            status = os.stat(name)
        except OSError:
            continue
        parts.append((status.st_size, status.st_mtime_ns))
    return parts


def _live(log: str) -> None:
    """Show a run until a key or an interrupt ends it; the last page stays."""
    from rich.console import Console
    from rich.live import Live

    view = _View(log)
    console = Console(highlight=False)
    try:
        first = _drawn(view.page())  # what cannot be read is said before the screen is taken
        with _keys() as pressed, Live(first, console=console, auto_refresh=False) as live:
            while pressed(POLL) not in QUIT:
                live.update(_drawn(view.page()), refresh=True)
    except KeyboardInterrupt:
        return


def _drawn(page: Page) -> Any:
    """A page as rich draws it: lines are cut, not wrapped."""
    from rich.text import Text

    from halfulp.explanations.page import STYLES

    drawn = Text(no_wrap=True, overflow="ellipsis")
    for line in page.lines:
        for part in line:
            text, style = (part, "") if isinstance(part, str) else part
            drawn.append(text, STYLES.get(style, ""))
        drawn.append("\n")
    leaves = _("q leaves")
    return drawn.append(f"\n  {leaves}", STYLES["dim"])


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key, and says which; "" where none came."""
    try:
        import termios
        import tty

        kept = termios.tcgetattr(sys.stdin)
    except (ImportError, OSError, ValueError, termios.error):
        yield _asleep
        return
    try:
        tty.setcbreak(sys.stdin)
        yield _pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, kept)


def _pressed(seconds: float) -> str:
    import select

    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 1).decode(errors="replace") if ready else ""


def _asleep(seconds: float) -> str:
    time.sleep(seconds)
    return ""
