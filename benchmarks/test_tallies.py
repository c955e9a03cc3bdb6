"""Tallies of float32 and float16 arrays, in any number of formats at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import halfulp as hu

NAMES = [f.name for f in hu.formats() if f.name not in ("float64", "float32")]


@pytest.mark.parametrize("count", [1, len(NAMES)])
def test_counts(x: np.ndarray, x_name: str, against_copy: Any, count: int) -> None:
    against_copy(
        "tally, counts", f"{count} formats {x_name}", x, lambda: hu.tally(x, NAMES[:count])
    )


def test_errors(x: np.ndarray, x_name: str, against_copy: Any) -> None:
    work = lambda: hu.tally(x, NAMES[:12], errors=True)  # noqa: E731  # timed as it is
    against_copy("tally with error sums", f"12 formats {x_name}", x, work, rounds=7)


def test_narrow(x: np.ndarray, x_name: str, against_copy: Any) -> None:
    with np.errstate(over="ignore"):
        source = x.astype(np.float16)
    against_copy(
        "tally of float16, counts and errors", f"12 formats {x_name}", source,
        lambda: hu.tally(source, NAMES[:12], errors=True),
    )  # fmt: skip
