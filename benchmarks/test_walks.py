"""A million weights through a thousand steps, against the same loop in NumPy's float16."""

from __future__ import annotations

from typing import Any

import numpy as np

import halfulp as hu
from conftest import seconds

WEIGHTS, STEPS = 1_000_000, 1000


def test_walk_against_numpy(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(WEIGHTS).astype(np.float16)
    gradient = (rng.standard_normal(WEIGHTS) * 1e-3).astype(np.float16)

    def numpy_loop() -> np.ndarray:
        w = weight.copy()
        for _ in range(STEPS):
            w = w + gradient
        return w

    found = hu.walk(weight, gradient, STEPS, "float16")
    ours = min(seconds(lambda: hu.walk(weight, gradient, STEPS, "float16")) for _ in range(3))
    theirs = seconds(numpy_loop)
    assert np.array_equal(found.final.astype(np.float16), numpy_loop())
    benchmark.pedantic(lambda: hu.walk(weight, gradient, STEPS, "float16"), rounds=1)
    print(f"\n  walk {WEIGHTS} × {STEPS}: {ours:.3f} s; NumPy's loop {theirs:.2f} s, "
          f"{theirs / ours:.0f} ×")  # fmt: skip
