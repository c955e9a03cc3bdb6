"""Ours: the ways that halfulp casts arrays, one entry a backend. NumPy arrays in and out.

A backend that cannot be imported says why; what it would have shown is then not covered.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from halfulp.casting import Cast
from halfulp.catalogue import Format
from halfulp.conversion import cast, encode
from halfulp.profiles import profiled_cast
from proof.pieces import MODES, Array

#: ``(values, target, rounding, **options of hu.cast)`` gives values or codes.
Conversion = Callable[..., Array]


def _nothing() -> str:
    return ""


@dataclass(frozen=True)
class Backend:
    """One way to cast, and how much of it a long run affords."""

    name: str
    cast: Conversion
    encode: Conversion
    module: str  # of halfulp.backends
    packages: tuple[str, ...]
    sources: tuple[str, ...]  # dtypes of arrays that it takes
    everything: tuple[str, ...]  # roundings that are held to the oracle on all of float32
    sampled: tuple[str, ...]  # and those on a sample
    nanoseconds: float  # an element, about, on one core
    lacks: Callable[[], str] = _nothing  # what else it needs, and is not here

    @property
    def absent(self) -> str:
        """Why the backend cannot be used here; nothing where it can."""
        try:
            import_module(f"halfulp.backends.{self.module}")
        except ImportError as error:
            return str(error)
        return self.lacks()


# torch.


def torch_cast(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By hu.cast on a CPU tensor."""
    return _as_array(cast(_tensor(x), *cast_by, **options))


def torch_encode(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By hu.encode on a CPU tensor."""
    return _as_array(encode(_tensor(x), *cast_by, **options))


def rule_cast(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By the rule on integer tensors: what devices other than the CPU run."""
    return _on_integers(x, cast_by, options, codes=False, fused=False)


def rule_encode(x: Array, *cast_by: Any, **options: Any) -> Array:
    """The codes of the same."""
    return _on_integers(x, cast_by, options, codes=True, fused=False)


def fused_cast(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By the rule on integer tensors as torch.compile makes one kernel of it."""
    return _on_integers(x, cast_by, options, codes=False, fused=True)


def fused_encode(x: Array, *cast_by: Any, **options: Any) -> Array:
    """The codes of the same."""
    return _on_integers(x, cast_by, options, codes=True, fused=True)


def no_compiler() -> str:
    """Why torch.compile cannot make a kernel for this processor."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return "" if shutil.which(compiler) else f"torch.compile needs the C++ compiler {compiler}"


def _on_integers(
    x: Array, cast_by: Any, options: dict[str, Any], *, codes: bool, fused: bool
) -> Array:
    from halfulp.backends.torch import on_integers

    spec, seed = _job(*cast_by, **options).spec, options.get("seed", 0)
    return _as_array(on_integers(_tensor(x), spec, seed, codes=codes, fused=fused))


def _job(
    target: Format, rounding: str, *, overflow: str | None = None, random_bits: int = 32,
    seed: int = 0,
) -> Cast:  # fmt: skip
    return profiled_cast(target, rounding, overflow, random_bits)


def _tensor(x: Array) -> Any:
    """A CPU tensor of the same memory and dtype."""
    import torch

    if hasattr(np, x.dtype.name) and x.dtype.name.startswith("float"):
        return torch.from_numpy(x)
    return torch.from_numpy(x.view(f"int{8 * x.itemsize}")).view(getattr(torch, x.dtype.name))


def _as_array(tensor: Any) -> Array:
    """The memory of a CPU tensor, in the dtype of its name."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if hasattr(np, name):
        return np.asarray(tensor.numpy())
    signed = {1: torch.int8, 2: torch.int16}[tensor.itemsize]
    return np.asarray(tensor.view(signed).numpy().view(np.dtype(name)))


# JAX, under jit; it compiles for every shape, so that arrays go in blocks of few sizes.

_BLOCK = 1 << 18


def jax_cast(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By a compiled hu.cast on JAX arrays."""
    return _in_blocks(cast, x, cast_by, options)


def jax_encode(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By a compiled hu.encode on JAX arrays."""
    return _in_blocks(encode, x, cast_by, options)


def _in_blocks(work: Any, x: Array, cast_by: Any, options: dict[str, Any]) -> Array:
    compiled = _jitted(work, cast_by, tuple(options.items()))
    if "seed" in options:  # what is drawn goes by an element's place
        return np.asarray(compiled(x))
    size = min(_BLOCK, max(256, 1 << (x.size - 1).bit_length()))
    padded = np.resize(x, -(-x.size // size) * size).reshape(-1, size)
    return np.concatenate([np.asarray(compiled(block)) for block in padded])[: x.size]


@lru_cache(maxsize=256)
def _jitted(work: Any, cast_by: Any, options: tuple[tuple[str, Any], ...]) -> Any:
    import jax

    return jax.jit(lambda x: work(x, *cast_by, **dict(options)))


# Single numbers, by Python's integers.


def number_cast(x: Array, *cast_by: Any, **options: Any) -> Array:
    """By hu.cast on Python floats."""
    return np.array([cast(value, *cast_by, **options) for value in x.tolist()]).astype(x.dtype)


def number_encode(x: Array, target: Format, *cast_by: Any, **options: Any) -> Array:
    """By hu.encode on Python floats."""
    codes = [encode(value, target, *cast_by, **options) for value in x.tolist()]
    return np.array(codes, f"uint{max(8, 1 << (target.width - 1).bit_length())}")


_NARROW = (
    "float16", "bfloat16", "float8_e5m2", "float8_e5m2fnuz", "float8_e4m3fn", "float8_e4m3",
    "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e3m4", "float8_e8m0fnu", "float6_e2m3fn",
    "float6_e3m2fn", "float4_e2m1fn",
)  # fmt: skip
_TORCH = (
    "float64", "float32", "float16", "bfloat16", "float8_e5m2", "float8_e5m2fnuz", "float8_e4m3fn",
    "float8_e4m3fnuz", "float8_e8m0fnu",
)  # fmt: skip
_KERNELS = ("numpy", "numba", "llvmlite", "ml_dtypes")
_TENSORS = (*_KERNELS, "torch")
_NEAREST, *_OTHERS = MODES

NUMPY = Backend(
    "numpy", cast, encode, "numpy", _KERNELS, ("float64", "float32", *_NARROW), MODES, (), 1.0
)
TORCH = Backend(
    "torch", torch_cast, torch_encode, "torch", _TENSORS, _TORCH, (_NEAREST,), tuple(_OTHERS), 1.0
)
RULE = Backend(
    "torch, rule on integers", rule_cast, rule_encode, "torch", _TENSORS, _TORCH, (), MODES, 100.0
)
FUSED = Backend(
    "torch, rule compiled", fused_cast, fused_encode, "torch", _TENSORS, ("float32",),
    (_NEAREST,), (), 6.0, no_compiler,
)  # fmt: skip
JAX = Backend(
    "jax, jit", jax_cast, jax_encode, "jax", (*_KERNELS, "jax", "jaxlib"),
    ("float32", *_NARROW[:-3]), (_NEAREST,), tuple(_OTHERS), 6.0,
)  # fmt: skip
NUMBERS = Backend(
    "single numbers", number_cast, number_encode, "numpy", _KERNELS, ("float64", "float32"),
    (), MODES, 30000.0,
)  # fmt: skip
BACKENDS = (NUMPY, TORCH, RULE, FUSED, JAX, NUMBERS)
