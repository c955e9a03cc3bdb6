"""Berkeley SoftFloat 3e, called from compiled loops through the functions softfloatpy exports.

A call through Python takes half a microsecond, which is too long for billions; the wheel's own
library has SoftFloat's C functions, which are called in place. The rounding mode is a global of
that library, so that a process does one piece at a time.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from numba import njit

from halfulp.catalogue import format
from proof import references
from proof.pieces import IEEE_754, Array

PACKAGE = "softfloatpy"

#: The five of IEEE 754, in our order, as SoftFloat names them.
ROUNDINGS = dict(zip(IEEE_754, ("NEAR_EVEN", "NEAR_MAX_MAG", "MIN_MAG", "MAX", "MIN"), strict=True))
#: Ours -> SoftFloat's, with how many operands.
OPERATIONS = {
    "add": ("add", 2), "sub": ("sub", 2), "mul": ("mul", 2), "div": ("div", 2), "sqrt": ("sqrt", 1),
    "fma": ("mulAdd", 3),
}  # fmt: skip
PREFIXES = {"float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64"}


def reference() -> str:
    """How the table names it."""
    return references.titled(PACKAGE, "SoftFloat 3e, softfloatpy")


@cache
def absent() -> str:
    """Why SoftFloat cannot be used here; nothing where it can."""
    reason = references.absent(PACKAGE)
    if reason:
        return reason
    if not hasattr(_library(), "f32_add"):
        return "this build of softfloatpy does not export SoftFloat's functions"
    return ""


def operate(name: str, source: str, rounding: str, operands: tuple[Array, ...]) -> Array:
    """An operation on patterns of a float; arrays of equal length."""
    theirs, _ = OPERATIONS[name]
    return _run(f"{PREFIXES[source]}_{theirs}", source, source, rounding, operands)


def convert(patterns: Array, source: str, target: str, rounding: str) -> Array:
    """A conversion between floats."""
    name = f"{PREFIXES[source]}_to_{PREFIXES[target]}"
    return _run(name, source, target, rounding, (patterns,))


def _run(name: str, source: str, target: str, rounding: str, operands: tuple[Array, ...]) -> Array:
    softfloat: Any = import_module(PACKAGE)
    softfloat.set_rounding_mode(softfloat.RoundingMode[ROUNDINGS[rounding]])
    out = np.empty(operands[0].shape, f"uint{format(target).width}")
    function = _function(name, len(operands), source, target)
    _LOOPS[len(operands)](function, *operands, out)
    return out


@cache
def _function(name: str, arity: int, source: str, target: str) -> Any:
    """A C function of patterns.

    SoftFloat's floats are structs of one integer, which calls pass as the integer itself: in
    registers of 32 bits or 64, of which those of 16 bits use the low half.
    """
    function = getattr(_library(), name)
    function.restype = _register(target)
    function.argtypes = [_register(source)] * arity
    return function


def _register(name: str) -> Any:
    return ctypes.c_uint64 if name == "float64" else ctypes.c_uint32


@cache
def _library() -> Any:
    return ctypes.CDLL(import_module(f"{PACKAGE}._core").__file__)


@njit(nogil=True)
def _one(function, a, out):  # type: ignore[no-untyped-def]  # types are inferred
    for i in range(out.size):
        out[i] = function(a[i])


@njit(nogil=True)
def _two(function, a, b, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = function(a[i], b[i])


@njit(nogil=True)
def _three(function, a, b, c, out):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] = function(a[i], b[i], c[i])


_LOOPS = {1: _one, 2: _two, 3: _three}
