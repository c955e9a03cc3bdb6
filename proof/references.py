"""Theirs: independent programs, their versions, and where they differ for a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ml_dtypes
import numpy as np

from proof.pieces import Array, Known


@dataclass(frozen=True)
class Reference:
    """A program that casts float32 to nearest, ties to even."""

    name: str
    package: str
    encode: Callable[[Array, str], Array]  # float32 and a format's name to codes
    formats: tuple[str, ...]
    overflow: str | None  # the profile of its fates
    nanoseconds: float  # an element, about, on one core
    same_nan: bool = False  # NaN has the same code; else any will do


def titled(package: str, name: str = "") -> str:
    """A package with its version, as the table says it."""
    return f"{name or package} {version_of(package) or '(not installed)'}"


def version_of(package: str) -> str:
    """The version of an installed package; nothing where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def absent(package: str) -> str:
    """Why a package cannot be used here; nothing where it can."""
    try:
        import_module(package)
    except ImportError as error:
        return str(error)
    return ""


def by_numpy(x: Array, name: str) -> Array:
    """NumPy's own float16, or a dtype of ml_dtypes."""
    with np.errstate(all="ignore"):
        y = x.astype(np.dtype(getattr(ml_dtypes, name, name)))
    return y.view(f"uint{8 * y.itemsize}")


def by_torch(x: Array, name: str) -> Array:
    """Tensor.to(dtype)."""
    import torch

    y: Any = torch.from_numpy(x).to(getattr(torch, name))
    signed = {1: torch.int8, 2: torch.int16}[y.itemsize]
    return np.asarray(y.view(signed).numpy().view(f"uint{8 * y.itemsize}"))


REFERENCES = (
    Reference("NumPy", "numpy", by_numpy, ("float16",), None, 100.0),
    Reference(
        "ml_dtypes", "ml_dtypes", by_numpy,
        (
            "bfloat16", "float8_e5m2", "float8_e5m2fnuz", "float8_e4m3fn", "float8_e4m3",
            "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e3m4", "float8_e8m0fnu",
            "float6_e2m3fn", "float6_e3m2fn", "float4_e2m1fn",
        ),
        "ml_dtypes", 8.0, True,
    ),
    Reference(
        "torch", "torch", by_torch,
        (
            "float16", "bfloat16", "float8_e5m2", "float8_e5m2fnuz", "float8_e4m3fn",
            "float8_e4m3fnuz", "float8_e8m0fnu",
        ),
        "torch", 3.0,
    ),
)  # fmt: skip


# Known differences. Each says exactly what ours and theirs are, so that nothing hides behind it.


def _tie_taken_up(inputs: Sequence[Array], ours: Array, theirs: Array) -> Array:
    magnitude = inputs[0] & 0x7FFFFFFF
    is_tie = (magnitude & 0x7FFFFF == 0x400000) & (magnitude >= 0x800000)
    return np.asarray(is_tie & (ours % 2 == 0) & (theirs == ours + 1))


def _subnormal_misplaced(inputs: Sequence[Array], ours: Array, theirs: Array) -> Array:
    magnitude = inputs[0] & 0x7FFFFFFF
    nearer_below = (magnitude > 0x400000) & (magnitude <= 0x600000)  # 1 to 1.5 times 2**-127
    return np.asarray(nearer_below & (ours == 0) & (theirs == 1))


def known_differences(name: str) -> tuple[Known, ...]:
    """What ml_dtypes and torch do otherwise in a format, knowingly."""
    if name != "float8_e8m0fnu":
        return ()
    return (
        Known("ties: ours to the even code, theirs up", _tie_taken_up),
        Known("2⁻¹²⁷ < |x| ≤ 1.5·2⁻¹²⁷, subnormal: ours 2⁻¹²⁷, theirs 2⁻¹²⁶", _subnormal_misplaced),
    )
