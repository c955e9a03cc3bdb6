"""The same through others, as their own calls do it; slow ones on a part, scaled up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gfloat
import ml_dtypes
import numpy as np
import pytest
import torch
from gfloat import formats as gfloat_formats

PART = 1 << 16


def numpy_float16(x: np.ndarray) -> Callable[[], Any]:
    return lambda: x.astype(np.float16).astype(np.float32)


def of_ml_dtypes(name: str) -> Callable[[np.ndarray], Callable[[], Any]]:
    dtype = getattr(ml_dtypes, name)
    return lambda x: lambda: x.astype(dtype).astype(np.float32)


def of_torch(name: str) -> Callable[[np.ndarray], Callable[[], Any]]:
    def prepare(x: np.ndarray) -> Callable[[], Any]:
        tensor, dtype = torch.from_numpy(x), getattr(torch, name)
        return lambda: tensor.to(dtype).float()

    return prepare


def of_gfloat(x: np.ndarray) -> Callable[[], Any]:
    part, info = x[:PART].astype(np.float64), gfloat_formats.format_info_binary16
    return lambda: gfloat.round_ndarray(info, part)


def of_pychop(x: np.ndarray) -> Callable[[], Any]:
    import pychop

    chop, part = pychop.Chop(exp_bits=5, sig_bits=10, rmode=1), x[:PART]
    return lambda: chop(part)


def of_qtorch(rounding: str) -> Callable[[np.ndarray], Callable[[], Any]]:
    def prepare(x: np.ndarray) -> Callable[[], Any]:
        from qtorch.quant import float_quantize

        tensor = torch.from_numpy(x)
        return lambda: float_quantize(tensor, 5, 10, rounding=rounding)

    return prepare


PEERS: dict[str, tuple[Callable[[np.ndarray], Callable[[], Any]], bool]] = {
    "NumPy float16": (numpy_float16, False),
    **{f"ml_dtypes {n}": (of_ml_dtypes(n), False)
       for n in ("bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn")},
    **{f"torch {n}": (of_torch(n), False) for n in ("float16", "bfloat16", "float8_e4m3fn")},
    "gfloat float16": (of_gfloat, True),
    "pychop float16": (of_pychop, True),
    "QPyTorch float16": (of_qtorch("nearest"), False),
    "QPyTorch float16 stochastic": (of_qtorch("stochastic"), False),
}  # fmt: skip


@pytest.mark.parametrize("peer", PEERS)
def test_peer(x: np.ndarray, x_name: str, against_copy: Any, peer: str) -> None:
    prepare, on_part = PEERS[peer]
    with np.errstate(all="ignore"):
        scale = x.size / PART if on_part else 1.0
        work = prepare(x)
        against_copy("others, there and back", f"{peer} {x_name}", x, work, scale=scale, rounds=3)
