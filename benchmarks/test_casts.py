"""float32 of mixed magnitudes, cast and encoded; ml_dtypes, NumPy and torch beside it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import halfulp as hu

NAMES = [f.name for f in hu.formats() if f.name not in ("float64", "float32")]


@pytest.mark.parametrize("name", NAMES)
def test_cast(x: np.ndarray, against_copy: Any, name: str) -> None:
    out = np.empty_like(x)
    against_copy("halfulp cast", name, lambda: hu.cast(x, name, out=out))


@pytest.mark.parametrize("name", NAMES)
def test_encode(x: np.ndarray, against_copy: Any, name: str) -> None:
    out = hu.encode(x, name)
    against_copy("halfulp encode", name, lambda: hu.encode(x, name, out=out))


@pytest.mark.parametrize("rounding", ["nearest_away", "toward_zero", "up", "to_odd", "stochastic"])
def test_roundings(x: np.ndarray, against_copy: Any, rounding: str) -> None:
    out = np.empty_like(x)
    work = lambda: hu.cast(x, "float16", rounding, seed=0, out=out)  # noqa: E731  # timed as it is
    against_copy("halfulp cast float16", rounding, work)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
def test_ml_dtypes_round_trip(x: np.ndarray, against_copy: Any, name: str) -> None:
    dtype = getattr(ml_dtypes, name)
    with np.errstate(all="ignore"):
        against_copy("ml_dtypes round trip", name, lambda: x.astype(dtype).astype(np.float32))


def test_numpy_round_trip(x: np.ndarray, against_copy: Any) -> None:
    with np.errstate(all="ignore"):
        work = lambda: x.astype(np.float16).astype(np.float32)  # noqa: E731  # timed as it is
        against_copy("NumPy round trip", "float16", work)


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float8_e4m3fn"])
def test_torch_round_trip(x: np.ndarray, against_copy: Any, name: str) -> None:
    tensor, dtype = torch.from_numpy(x), getattr(torch, name)
    against_copy("torch round trip", name, lambda: tensor.to(dtype).float())
