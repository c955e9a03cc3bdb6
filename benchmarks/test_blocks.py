"""Block formats: values and codes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import halfulp as hu

NAMES = [f.name for f in hu.block_formats()]


@pytest.mark.parametrize("name", NAMES)
def test_cast(x: np.ndarray, x_name: str, against_copy: Any, name: str) -> None:
    out = np.empty_like(x)
    work = lambda: hu.cast(x, name, out=out)  # noqa: E731  # timed as it is
    against_copy("cast to block formats", f"{name} {x_name}", x, work, rounds=11)
