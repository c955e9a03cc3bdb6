"""Benchmarks print ratios against copying the same array, measured in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

SIZE = 1 << 24
ROUNDS = 31
TABLE: list[tuple[str, str, float]] = []


def mixed_magnitudes() -> np.ndarray:
    """Random signs and fractions, exponents from 2**-40 to 2**40: nothing to predict."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(SIZE) * np.exp2(rng.integers(-40, 40, SIZE))
    return x.astype(np.float32)


@pytest.fixture(scope="session")
def x() -> np.ndarray:
    return mixed_magnitudes()


def paired(work: Callable[[], Any], base: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The median of work's time over base's, each pair measured side by side."""
    work(), base()
    ratios = []
    for _ in range(rounds):
        start = time.perf_counter()
        base()
        middle = time.perf_counter()
        work()
        ratios.append((time.perf_counter() - middle) / (middle - start))
    return statistics.median(ratios)


@pytest.fixture
def against_copy(x: np.ndarray, benchmark: Any) -> Callable[..., None]:
    """Measure a call by pytest-benchmark, and as a ratio to np.copyto of the float32 array."""
    target = np.empty_like(x)

    def measure(group: str, name: str, work: Callable[[], Any]) -> None:
        TABLE.append((group, name, paired(work, lambda: np.copyto(target, x))))
        benchmark.pedantic(work, rounds=3, iterations=1, warmup_rounds=0)

    return measure


@pytest.fixture(scope="session", autouse=True)
def print_table() -> Iterator[None]:
    yield
    if not TABLE:
        return
    print("\n\nTimes np.copyto of the same 2**24 float32 (median of pairs in this run):")
    for group, name, ratio in TABLE:
        print(f"  {group:34} {name:24} {ratio:8.2f}")
