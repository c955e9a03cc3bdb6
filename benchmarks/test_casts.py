"""Casts, codes and back: every format, every rounding, every source."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
import torch

import halfulp as hu
from conftest import ROUNDS, paired, seconds
from halfulp.rounding import DECISIONS

NAMES = [f.name for f in hu.formats() if f.name not in ("float64", "float32")]


@pytest.mark.parametrize("name", NAMES)
def test_cast(x: np.ndarray, x_name: str, against_copy: Any, name: str) -> None:
    out = np.empty_like(x)
    against_copy("cast, nearest-even", f"{name} {x_name}", x, lambda: hu.cast(x, name, out=out))


@pytest.mark.parametrize("rounding", [r for r in DECISIONS if r != "nearest_even"])
def test_roundings(x: np.ndarray, x_name: str, against_copy: Any, rounding: str) -> None:
    out = np.empty_like(x)
    against_copy(
        "cast to float16, other roundings", f"{rounding} {x_name}", x,
        lambda: hu.cast(x, "float16", rounding, seed=0, out=out),
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_encode(x: np.ndarray, x_name: str, against_copy: Any, name: str) -> None:
    out = hu.encode(x, name)
    against_copy("encode", f"{name} {x_name}", x, lambda: hu.encode(x, name, out=out))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "float16"])
def test_decode(x: np.ndarray, x_name: str, against_copy: Any, name: str) -> None:
    codes, out = hu.encode(x, name), np.empty_like(x)
    against_copy("decode", f"{name} {x_name}", x, lambda: hu.decode(codes, name, out=out))


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", ["float16", "float8_e4m3fn"])
def test_sources(x: np.ndarray, x_name: str, against_copy: Any, dtype: Any, name: str) -> None:
    with np.errstate(over="ignore"):
        source = x.astype(dtype)
    out = np.empty_like(source)
    against_copy(
        f"cast from {np.dtype(dtype).name}", f"{name} {x_name}", source,
        lambda: hu.cast(source, name, out=out),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["float16", "float8_e4m3fn"])
def test_torch_tensors(x: np.ndarray, x_name: str, against_copy: Any, name: str) -> None:
    tensor, out = torch.from_numpy(x), torch.empty(x.shape)
    against_copy("torch CPU tensor", f"{name} {x_name}", x, lambda: hu.cast(tensor, name, out=out))


@pytest.mark.parametrize("name", ["float16", "float8_e4m3fn"])
def test_torch_beside_numpy(x: np.ndarray, x_name: str, benchmark: Any, name: str) -> None:
    """The same memory, as a tensor and as an array, pair by pair."""
    out = np.empty_like(x)
    tensor, made = torch.from_numpy(x), torch.from_numpy(out)

    def as_tensor() -> None:
        hu.cast(tensor, name, out=made)

    ratio = paired(as_tensor, lambda: hu.cast(x, name, out=out), 2 * ROUNDS)
    benchmark.pedantic(as_tensor, rounds=3)
    print(f"\n  torch tensor over NumPy array, {name} {x_name}: {ratio:.3f}")


def test_small_calls(benchmark: Any) -> None:
    small = np.ones(1000, np.float32)
    benchmark(lambda: hu.cast(small, "float16"))
    print(f"\n  1,000 elements: {benchmark.stats.stats.median * 1e6:.1f} µs a call")


@pytest.mark.parametrize("rounding", ["nearest_even", "stochastic"])
def test_two_threads(normal: np.ndarray, benchmark: Any, rounding: str) -> None:
    """Where memory does not decide: source and result stay in the caches."""
    part, all_threads = normal[: 1 << 20], numba.get_num_threads()
    out = np.empty_like(part)

    def work() -> None:
        for _ in range(10):
            hu.cast(part, "float8_e4m3fnuz", rounding, seed=0, out=out)

    times = {}
    for threads in (1, all_threads):
        numba.set_num_threads(threads)
        work()
        times[threads] = min(seconds(work) for _ in range(9))
    benchmark.pedantic(work, rounds=1)
    print(f"\n  {rounding}: {all_threads} threads {times[1] / times[all_threads]:.2f} × one")
