"""The lab in a real browser: fixtures that watch for what no page may do.

A test module takes them by ``pytest_plugins = ["browser"]``.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from halfulp.lab.server import LOOPBACK, bound, server_on
from halfulp.training import watch
from processes import once

ADVICE = (
    "the lab is tested in a browser, and there is none: apt install chromium, or playwright install "
    "chromium, or name one in HALFULP_BROWSER"
)
NAMES = ("chromium", "chromium-browser", "google-chrome")
# It asks for nothing by itself, and no name but the loopback's leads anywhere.
ARGUMENTS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
]  # fmt: skip
# What htmx says of a request that a newer one took the place of.
REPLACED = ("htmx:afterRequest", "htmx:sendAbort")
CHINESE = re.compile("[\u4e00-\u9fff]")
Visit = Callable[..., Page]

expect.set_options(timeout=20_000)


def found_browser() -> str | None:
    """Where a browser is; None where Playwright looks for its own."""
    named = os.environ.get("HALFULP_BROWSER")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def served(runs: Path) -> Iterator[str]:
    """The address of a lab in a thread of this process."""
    with bound(LOOPBACK, 0) as listening:
        server = server_on(listening, runs.resolve())
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def train(log: Path, steps: int = 3) -> Iterator[int]:
    """A small training that is watched, step by step."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    with watch(model, optimizer, log=log, every=1):
        for step in range(steps):
            optimizer.zero_grad()
            model(torch.randn(16, 8)).square().mean().backward()
            optimizer.step()
            yield step


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a lab that has one run."""
    folder = once(tmp_path_factory, "lab", lambda folder: list(train(folder / "run.db")))
    with served(folder) as address:
        yield address


@pytest.fixture(scope="module")  # a session's would leave its loop to all tests that come after
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=found_browser(), args=arguments)
        except Error as error:
            missing = "executable doesn't exist" in error.message.lower()
            raise pytest.fail.Exception(
                ADVICE if missing else error.message, pytrace=False
            ) from None
        yield started
        started.close()


class Watched:
    """What pages asked for, and what went wrong in them."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.asked: list[str] = []
        self.wrong: list[str] = []

    def watch(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self._asked(request.url))
        context.on("weberror", lambda found: self.wrong.append(f"error: {found.error}"))
        context.on("console", self._said)

    def _asked(self, url: str) -> None:
        self.asked.append(url)
        if not url.startswith((self.home, "data:", "blob:", "file:")):
            self.wrong.append(f"left the host: {url}")

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REPLACED):
            self.wrong.append(f"{message.type}: {message.text}")


@pytest.fixture
def watched(lab: str) -> Watched:
    """What this test's pages do."""
    return Watched(lab)


@pytest.fixture
def visit(browser: Browser, watched: Watched) -> Iterator[Visit]:
    """Open a page of the lab in a context of its own; keywords are those of contexts.

    Figures cost most of a page's time: tests that do not look at them leave their script out.
    """
    contexts = []

    def opened(link: str, *, figures: bool = True, **options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(20_000)
        watched.watch(context)
        if not figures:
            context.route("**/plotly.js*", lambda route: route.fulfill(body=""))
        page = context.new_page()
        page.goto(link if "://" in link else watched.home + link)
        page.evaluate("window.sameDocument = true")  # until the page is loaded anew
        return page

    yield opened
    for context in contexts:
        context.close()
    assert watched.wrong == []


def is_same_document(page: Page) -> bool:
    return page.evaluate("window.sameDocument === true")


def result(page: Page) -> str:
    """What a view says, but for drawings and for what the time changes."""
    return page.locator("#result").evaluate(
        """shown => {
          const copy = shown.cloneNode(true);
          for (const part of copy.querySelectorAll('.figure, .figure-tools, #glance')) part.remove();
          return copy.textContent.replace(/\\s+/g, ' ').trim();
        }"""
    )


def give(page: Page, name: str, value: str) -> None:
    """Write into a field, or choose of it, as a hand would."""
    field = page.locator(f"#state [name={name}]")
    if field.evaluate("field => field.matches('select')"):
        field.select_option(value)
    else:
        field.press("ControlOrMeta+a")
        field.press_sequentially(value)


def swipe(page: Page, points: Sequence[tuple[float, float]]) -> None:
    """A finger goes from point to point: slowly, since a tap after a fling would only end that."""
    hand, began = page.context.new_cdp_session(page), time.time() - len(points)
    for i in range(len(points) + 1):
        kind = "touchStart" if not i else "touchMove" if i < len(points) else "touchEnd"
        touches = [{"x": x, "y": y} for x, y in points[i : i + 1]]
        event = {"type": kind, "touchPoints": touches, "timestamp": began + i / 4}
        hand.send("Input.dispatchTouchEvent", event)
    hand.detach()
