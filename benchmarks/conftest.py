"""Benchmarks print ratios against copying the same bytes, measured pair by pair in the same run."""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from halfulp.backends.numpy import in_threads

SIZE = 1 << 24
ROUNDS = 21


class Line(NamedTuple):
    """One measured call: its time over that of copies of the same array."""

    group: str
    name: str
    threads: float  # over a copy by the same threads, median of pairs
    plain: float  # over one call of np.copyto, which is a single thread
    milliseconds: float


TABLE: list[Line] = []


def wide_data() -> np.ndarray:
    """Random signs and fractions, exponents from 2**-40 to 2**40: nothing to predict."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(SIZE) * np.exp2(rng.integers(-40, 40, SIZE))
    return x.astype(np.float32)


@pytest.fixture(scope="session")
def wide() -> np.ndarray:
    return wide_data()


@pytest.fixture(scope="session")
def normal() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(SIZE, dtype=np.float32)


@pytest.fixture(params=["normal", "wide"])
def x(request: Any) -> np.ndarray:
    """The data a benchmark runs on, each kind in turn; ``x_name`` says which."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def x_name(request: Any) -> str:
    return str(request.node.callspec.params["x"])


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(work: Callable[[], Any], base: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The median of work's time over base's, each pair measured side by side."""
    work(), base()
    return statistics.median(1 / (seconds(base) / seconds(work)) for _ in range(rounds))


def copies(source: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """``np.copyto`` of an array in one call, and by as many threads as halfulp takes."""
    flat, target = source.reshape(-1), np.empty_like(source.reshape(-1))

    def part(start: int, end: int) -> None:
        np.copyto(target[start:end], flat[start:end])

    return lambda: np.copyto(target, flat), lambda: in_threads(flat.size, part)


@pytest.fixture
def against_copy(benchmark: Any) -> Callable[..., None]:
    """Measure a call as a ratio to copies of the array ``source``."""

    def measure(
        group: str, name: str, source: np.ndarray, work: Callable[[], Any], *,
        scale: float = 1.0, rounds: int = ROUNDS,
    ) -> None:  # fmt: skip
        plain, threaded = copies(source)
        gc.collect()
        by_threads = paired(work, threaded, rounds) * scale
        by_plain = paired(work, plain, rounds) * scale
        benchmark.pedantic(work, rounds=3, iterations=1, warmup_rounds=0)
        took = benchmark.stats.stats.median * 1e3 * scale
        TABLE.append(Line(group, name, by_threads, by_plain, took))

    return measure


@pytest.fixture(scope="session", autouse=True)
def print_table() -> Iterator[None]:
    yield
    if not TABLE:
        return
    print(
        f"\n\n{SIZE} elements, {numba.get_num_threads()} threads. Times a copy of the same bytes by"
    )
    print("np.copyto on the same threads; by one call of np.copyto (one thread); and milliseconds.")
    group = ""
    for line in TABLE:
        if line.group != group:
            group = line.group
            print(f"\n{group}")
        print(
            f"  {line.name:38} {line.threads:8.2f} {line.plain:8.2f} {line.milliseconds:10.1f} ms"
        )
    sys.stdout.flush()
