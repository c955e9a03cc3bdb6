"""How fast the lab answers: a click, a page, a cold start, and fifty who click at once."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import httpx2
import pytest

from halfulp.lab import rendering
from halfulp.lab.app import FILES, make_app
from halfulp.lab.server import hosts_of
from halfulp.lab.views import VIEWS

CLIENTS, CLICKS = 50, 20


@contextmanager
def started(folder: Path) -> Iterator[str]:
    """A lab of its own, as users start it; its address."""
    command = [Path(sys.executable).with_name("halfulp"), "lab", "--port", "0", "--no-browser"]
    with subprocess.Popen(
        [*command, "--runs", str(folder)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2].rstrip("/")
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(tmp_path_factory.mktemp("runs").resolve()) as address:
        yield address


def answer(url: str, part: bool = False) -> bytes:
    headers = {"HX-Request": "true"} if part else {}
    with urlopen(Request(url, headers=headers)) as found:
        text: bytes = found.read()
        return text


def milliseconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def click(lab: str, bit: int) -> bytes:
    return answer(f"{lab}/bits?x=float16:0x3c{bit:x}c&format=float16&flip={bit}", part=True)


def test_click(benchmark: Any, lab: str) -> None:
    for bit in range(16):
        click(lab, bit)
    took = [milliseconds(lambda bit=i % 16: click(lab, bit)) for i in range(400)]
    benchmark.pedantic(lambda: click(lab, 3), rounds=20)
    share = statistics.quantiles(took, n=100)
    print(f"\n  a bit click: {share[49]:.1f} ms, 99th percentile {share[98]:.1f} ms")


def test_click_in_process(benchmark: Any, tmp_path: Path) -> None:
    """The same without a socket and its protocol."""
    app = make_app(hosts_of("127.0.0.1", 80), tmp_path.resolve())
    headers = [(b"host", b"127.0.0.1"), (b"hx-request", b"true")]

    def click(bit: int) -> None:
        query = f"x=float16:0x3c{bit:x}c&format=float16&flip={bit}".encode()
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http",
            "path": "/bits", "query_string": query, "headers": headers, "server": ("127.0.0.1", 80),
        }  # fmt: skip
        asyncio.run(app(scope, received, sent))

    async def received() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def sent(message: Any) -> None:
        assert message.get("status", 200) == 200

    for bit in range(16):
        click(bit)
    took = [milliseconds(lambda bit=i % 16: click(bit)) for i in range(400)]
    benchmark.pedantic(lambda: click(3), rounds=20)
    share = statistics.quantiles(took, n=100)
    print(f"\n  in process: {share[49]:.1f} ms, 99th percentile {share[98]:.1f} ms")


def test_pages(benchmark: Any, lab: str) -> None:
    own = (rendering.styles().encode(), rendering.script().encode())
    shared = sum(map(len, (*own, rendering.static(FILES["htmx.js"]))))
    for view in VIEWS:
        text = answer(f"{lab}/{view}")
        figures = sum(len(part.partition(b"</script>")[0])
                      for part in text.split(b'<script type="application/json">')[1:])  # fmt: skip
        size = (len(text) - figures + shared) / 1000
        print(f"\n  {view}: {size:.0f} kB with styles and scripts, before figures", end="")
    benchmark.pedantic(lambda: answer(f"{lab}/bits"), rounds=20)


def test_cold_start(benchmark: Any, tmp_path: Path) -> None:
    def start() -> float:
        begun = time.perf_counter()
        with started(tmp_path) as address:
            answer(f"{address}/bits")
            return time.perf_counter() - begun

    took = [start() for _ in range(5)]
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n  cold start to the first view: {statistics.median(took):.2f} s of 5, "
          f"{max(took):.2f} s at most")  # fmt: skip


def test_fifty_at_once(benchmark: Any, lab: str) -> None:
    async def clicks(session: httpx2.AsyncClient, number: int) -> list[float]:
        took = []
        for i in range(CLICKS):
            start = time.perf_counter()
            url = f"{lab}/bits?x={number}.{i}&format=float16&flip={i % 16}"
            found = await session.get(url, headers={"HX-Request": "true"})
            assert found.status_code == 200
            took.append(1e3 * (time.perf_counter() - start))
        return took

    async def everyone() -> list[float]:
        async with AsyncExitStack() as stack:
            # Made beforehand: each takes longer to make than a click to answer.
            made = [httpx2.AsyncClient(timeout=30, verify=False) for _ in range(CLIENTS)]
            sessions = [await stack.enter_async_context(session) for session in made]
            every = await asyncio.gather(*(clicks(s, n) for n, s in enumerate(sessions)))
        return [took for each in every for took in each]

    took = asyncio.run(everyone())
    benchmark.pedantic(lambda: None, rounds=1)
    share = statistics.quantiles(took, n=100)
    print(f"\n  {CLIENTS} clients, {CLICKS} clicks each, at once: no error, {share[49]:.0f} ms, "
          f"99th percentile {share[98]:.0f} ms")  # fmt: skip
