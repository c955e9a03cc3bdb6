"""L1: the loops over arrays, compiled by Numba from the same function texts that Python ints run.

A kernel is compiled once per carrier, rounding and kind of result; the format comes as plain ints
at run time. Kernels release the GIL and know where in the array they start, so that any number of
threads gives the same bits.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from types import FunctionType, ModuleType
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from halfulp import carrier, noise, patterns, rounding
from halfulp.backends import lanes, odd, vectors
from halfulp.backends.lanes import (
    float_add,
    float_field,
    float_subtract,
    lane,
    unlane,
    wide_vectors,
)
from halfulp.backends.symbols import jitable
from halfulp.backends.vectors import LINE, fence, stream_line
from halfulp.carrier import Outcome, Placement
from halfulp.casting import Cast
from halfulp.catalogue import Format
from halfulp.noise import Key, key_of
from halfulp.patterns import Carrier, Plan, Shape, fits, pattern_cast, plan, shape_of

_CALLED: tuple[Callable[..., Any], ...] = (
    rounding.round_off, rounding.clamp, rounding.positive, rounding.at_most, rounding.at_least,
    rounding.chance_of, *rounding.DECISIONS.values(), carrier.convert, carrier.round_at,
    carrier.drop_of, carrier.base_of, carrier.settle, carrier.settle_plainly, carrier.choose,
    noise.random_word, noise.mix,
)  # fmt: skip
for _function in _CALLED:
    jitable(_function)


def fingerprint(*modules: ModuleType) -> str:
    """A hash of the texts a kernel is compiled from, so that no stale kernel is found on disk."""
    texts = "".join(inspect.getsource(module) for module in modules)
    return hashlib.sha256(texts.encode()).hexdigest()


RULE_TEXTS = fingerprint(
    rounding, carrier, noise, patterns, lanes, odd, vectors, sys.modules[__name__]
)


def compiled(loop: Callable[..., Any], name: str, one: Any = None) -> Any:
    """A loop compiled around ``one``, the body it names, and kept on disk where possible.

    Numba keys what it keeps on disk by a function's name and code, but not by the globals it uses
    (and by closures only within one process). So each kernel gets a name of its own, made of what
    it was specialised for and of the texts it came from.
    """
    kernel = FunctionType(loop.__code__, {**loop.__globals__, "one": one})
    kernel.__qualname__ = kernel.__name__ = f"{name}_{RULE_TEXTS[:16]}"
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(kernel)
    except RuntimeError:  # Numba found no folder it may write to: compile for this process alone
        return numba.njit(nogil=True, error_model="numpy")(kernel)


# Elements computed at a time in an L1 cache before they are streamed to memory.
BUFFER = 1 << 10
# From how many bytes on results are streamed past the caches, which could not hold them anyway.
STREAMED = 1 << 22

#: What a loop calls for each element; :func:`compiled` puts it in place.
one: Any = None


@jitable
def _same(value):  # type: ignore[no-untyped-def]  # Numba infers it
    return value


FLOAT32 = Carrier(
    "float32", patterns.FLOAT32, 32, lane, unlane, float_field, float_add, float_subtract,
    jitable,
)  # fmt: skip
FLOAT32_WIDE = Carrier(
    "float32_wide", patterns.FLOAT32, 64, np.int64, np.int32, float_field,
    compiles=jitable,
)  # fmt: skip
FLOAT64 = Carrier(
    "float64", patterns.FLOAT64, 64, np.int64, _same, float_field, float_add, float_subtract,
    jitable,
)  # fmt: skip


def carrier_of(native: Format, cast: Cast) -> Carrier | None:
    """The narrowest carrier that holds every step of a cast from float32 or float64, or None."""
    for made in (FLOAT32, FLOAT32_WIDE, FLOAT64):
        if made.source == native and fits(cast, native, made.bits):
            return made
    return None


def flat_plan(cast: Cast, made: Carrier, seed: int, *, codes: bool) -> npt.NDArray[np.int64]:
    """A plan as kernels take it: one array, which costs Numba a tenth of nested tuples a call."""
    flat = _flat_plan(cast, made, codes)
    if not cast.is_stochastic:
        return flat
    drawn = flat.copy()  # seeds come and go: all else is worked out once
    drawn[KEY : KEY + len(Key._fields)] = key_of(seed)
    return drawn


@lru_cache(maxsize=4096)
def _flat_plan(cast: Cast, made: Carrier, codes: bool) -> npt.NDArray[np.int64]:
    return flattened(plan(cast, made, 0, codes=codes))


#: How many ints a flat plan has.
PLAN = len(Placement._fields) + len(Outcome._fields) + len(Key._fields) + len(Plan._fields) - 3


#: Where in it the key of the noise is.
KEY = len(Placement._fields) + len(Outcome._fields) + Plan._fields.index("key") - 2


def flattened(ints: Plan) -> npt.NDArray[np.int64]:
    """A plan as one array."""
    parts = [part if isinstance(part, tuple) else (part,) for part in ints]
    return np.array([number for part in parts for number in part], dtype=np.int64)


@jitable
def unflattened(p):  # type: ignore[no-untyped-def]  # Numba infers it
    """The Plan of a flat one, inside a kernel."""
    return Plan(
        Placement(p[0], p[1], p[2], p[3], p[4], p[5]),
        Outcome(p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17]),
        p[18],
        p[19],
        Key(p[20], p[21]),
        p[22],
        p[23],
    )


def cast_kernel(cast: Cast, made: Carrier, *, codes: bool) -> Any:
    """The kernel of a cast: ``(bits in, patterns out, index of the first element, flat plan)``."""
    return _cast_kernel(made, shape_of(cast, made, codes=codes))


@cache
def _cast_kernel(made: Carrier, shape: Shape) -> Any:
    return compiled(_cast_loop, f"cast_{named(made, shape)}", cast_one(made, shape))


def named(made: Carrier, shape: Shape) -> str:
    """What a kernel of this shape is called on disk."""
    flags = "".join(str(int(flag)) for flag in (shape.codes, shape.normalise, shape.plain))
    return f"{made.name}_{shape.rounding}_{shape.way.value}_{flags}"


def _cast_loop(bits, out, first, flat):  # type: ignore[no-untyped-def]  # Numba infers them
    wide_vectors()
    plan = unflattened(flat)
    buffer = np.empty(BUFFER, out.dtype)
    start, end, streams = 0, head_of(out), out.size * out.itemsize >= STREAMED
    while start < bits.size:
        high = (first + start) >> 32  # of an index; it seldom changes
        end = min(end, ((high + 1) << 32) - first)
        streamed = streams and start > 0 and end == start + BUFFER
        # Slices, since Numba gathers where it cannot see that an index is not negative.
        source, target = bits[start:end], buffer if streamed else out[start:end]
        for i in range(source.size):
            target[i] = one(source[i], first + start + i, high, plan)
        if streamed:
            stream(buffer, out, start)
        start = end
        end = min(start + BUFFER, bits.size) if streams else bits.size
    fence()


@jitable
def head_of(out):  # type: ignore[no-untyped-def]  # Numba infers it
    """How many elements come before the first whole cache line: stores across two are slow."""
    return min(out.size, (-out.ctypes.data % LINE) // out.itemsize)


@jitable
def stream(buffer, out, start):  # type: ignore[no-untyped-def]  # Numba infers them
    """A full buffer to ``out[start:]``, which begins a cache line."""
    for i in range(0, BUFFER, LINE // out.itemsize):
        stream_line(buffer, i, out, start + i)


@cache
def cast_one(made: Carrier, shape: Shape) -> Any:
    """:func:`halfulp.patterns.pattern_cast` for kernels to call."""
    return jitable(pattern_cast(made, shape))


def _lookup_loop(codes, table, out):  # type: ignore[no-untyped-def]  # Numba infers them
    wide_vectors()
    buffer = np.empty(BUFFER, out.dtype)
    start, end, streams = 0, head_of(out), out.size * out.itemsize >= STREAMED
    while start < codes.size:
        streamed = streams and start > 0 and end == start + BUFFER
        source, target = codes[start:end], buffer if streamed else out[start:end]
        for i in range(source.size):
            target[i] = table[source[i]]
        if streamed:
            stream(buffer, out, start)
        start = end
        end = min(start + BUFFER, codes.size) if streams else codes.size
    fence()


@cache
def lookup_kernel() -> Any:
    """``out[i] = table[codes[i]]``: ``(codes, table, out)``, of any dtypes."""
    return compiled(_lookup_loop, "lookup")
