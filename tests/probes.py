"""Numbers on both sides of everything that a cast decides, as arrays of a dtype."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

import halfulp as hu

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-45, -1e-42, 3.4e38, -3.4e38]


def probes(f: hu.Format, dtype: Any, size: int = 1200) -> np.ndarray:
    """Numbers of the format, the middles between them and beyond the largest, each with its
    neighbours in the dtype; specials; random numbers over and beyond the format's range."""
    rng = np.random.default_rng(f.width)
    edges = [0, 1, 2, 1 << f.fraction_bits, f.max_code - 1, f.max_code]
    sampled = rng.integers(0, f.max_code + 1, 60).tolist()
    codes = range(f.max_code + 1) if f.max_code < 130 else {*edges, *sampled}
    exact = [f.magnitude(c) for c in codes if 0 <= c <= f.max_code]
    exact += [f.magnitude(c) + f.ulp(f.magnitude(c)) / 2 for c in codes if 0 <= c <= f.max_code]
    least, largest = max(f.emin - f.precision - 3, -1070), min(f.emax + 2, 1020)
    spread = np.ldexp(rng.standard_normal(200), rng.integers(least, largest, 200))
    with np.errstate(over="ignore"):
        points = np.array([as_float(value) for value in exact]).astype(dtype)
        spread, special = spread.astype(dtype), np.array(SPECIAL).astype(dtype)
        near = [points, np.nextafter(points, dtype(np.inf)), np.nextafter(points, dtype(0))]
    signed = np.concatenate([*near, spread])
    return np.resize(np.concatenate([special, signed, -signed]), size)


def as_float(value: Fraction) -> float:
    return float(value) if value < 2**1023 else float(2**1023)


def every_pattern(name: str) -> np.ndarray:
    """All that one element of a narrow dtype can hold."""
    size = np.dtype(name).itemsize
    return np.arange(1 << (8 * size), dtype=f"uint{8 * size}").view(name)


def codes_of(f: hu.Format) -> np.ndarray:
    """All codes of a narrow format, some of a wide one."""
    dtype = hu.encode(np.zeros(1), f).dtype
    if f.width <= 16:
        return np.arange(f.codes, dtype=dtype)
    codes = np.random.default_rng(1).integers(0, f.codes - 1, 5000, dtype=np.uint64, endpoint=True)
    special = [0, f.sign_bit, f.max_code, f.max_code + 1, f.max_code + 2, f.codes - 1]
    return np.concatenate([np.array(special, np.uint64), codes]).astype(dtype)


def same_bits(found: Any, expected: np.ndarray) -> bool:
    """Whether two arrays are the same in dtype, shape and memory, NaN and signs included."""
    found, expected = np.asarray(found), np.asarray(expected)
    return (found.dtype, found.shape, found.tobytes()) == (
        expected.dtype, expected.shape, expected.tobytes(),
    )  # fmt: skip
