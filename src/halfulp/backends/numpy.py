"""L1: NumPy arrays: view their bits, launch the kernels on every thread, wrap the answer.

float32 and float64 are read by the kernels themselves. Floats of 16 bits and fewer have so few
codes that the cast of each is computed once (through float32, exactly) and looked up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16, float8 … with NumPy by name
import numba
import numpy as np
import numpy.typing as npt

from halfulp.backends.kernels import Source, cast_kernel, plan, source_of
from halfulp.casting import Cast
from halfulp.catalogue import Format, NanStyle, format, formats
from halfulp.errors import HalfulpError

Array = npt.NDArray[Any]

# Below this many elements a second thread costs more than it brings.
PIECE = 1 << 16
# What is copied at a time from arrays that are strided or of foreign byte order: half an L2 cache.
BLOCK = 1 << 15

_NATIVE = {np.dtype(np.float32): format("float32"), np.dtype(np.float64): format("float64")}
FLOAT_DTYPES = {f.name for f in formats()}


def cast_array(x: Array, cast: Cast, *, seed: int = 0, out: Array | None = None) -> Array:
    """The values of ``x`` rounded to the target, in x's own dtype and shape.

    A result beyond x's own dtype (which a wider target can produce) overflows as that dtype does.
    Raises HalfulpError for dtypes that are no floats, and for an ``out`` that does not fit;
    nothing is written then.
    """
    _check_dtype(x)
    out = _checked_out(out, x.shape, x.dtype)
    return _run(x, out, cast, seed, codes=False)


def encode_array(x: Array, cast: Cast, *, seed: int = 0, out: Array | None = None) -> Array:
    """The codes of ``x`` in the target, in the least unsigned dtype that holds them."""
    _check_dtype(x)
    out = _checked_out(out, x.shape, code_dtype(cast.target))
    return _run(x, out, cast, seed, codes=True)


def code_dtype(target: Format) -> np.dtype[Any]:
    """The unsigned dtype of a format's codes: 8, 16, 32 or 64 bits."""
    for bits in (8, 16, 32, 64):
        if target.width <= bits:
            return np.dtype(f"uint{bits}")
    raise HalfulpError(f"{target} has codes of {target.width} bits: arrays hold at most 64")


def decode_array(codes: Array, source: Format, dtype: str = "float32") -> Array:
    """The values of an array of codes, exactly.

    Raises HalfulpError where ``codes`` are no integers of the format, or where ``dtype`` cannot
    hold every number of the format.
    """
    result = _float_dtype(dtype)
    if not format(result.name).holds(source):
        raise HalfulpError(
            f"{result} cannot hold every number of {source}: ask for dtype='float64', or decode "
            "Python ints"
        )
    if codes.dtype.kind not in "iu":
        raise HalfulpError(f"codes are integers, not {codes.dtype}: use encode to make them")
    _check_codes(codes, source)
    if source.width <= 16:
        return np.asarray(_values(source, result)[codes])
    return np.asarray(_decode(codes.astype(np.uint64), source).astype(result))


@lru_cache(maxsize=64)
def _values(source: Format, dtype: np.dtype[Any]) -> Array:
    """The values of all codes of a narrow format, to be looked up."""
    return np.asarray(_decode(np.arange(source.codes, dtype=np.uint64), source).astype(dtype))


def _check_codes(codes: Array, source: Format) -> None:
    if not codes.size:
        return
    least, largest = int(codes.min()), int(codes.max())
    if least < 0 or largest >= source.codes:
        wrong = least if least < 0 else largest
        raise HalfulpError(
            f"{source} has no code {wrong}: its codes are 0 to {source.hex(source.codes - 1)}"
        )


def _decode(codes: Array, source: Format) -> Array:
    """The straight line of catalogue.py, backwards, in float64."""
    magnitude = (codes & np.uint64((1 << source.magnitude_bits) - 1)).astype(np.int64)
    negative = codes >> np.uint64(source.magnitude_bits) != 0
    field = magnitude >> source.fraction_bits
    significand = magnitude - (field << source.fraction_bits)
    normal = field >= source.least_field
    significand += normal * (1 << source.fraction_bits)
    significand *= normal | source.subnormals
    exponent = np.maximum(field, source.least_field) - (source.bias + source.fraction_bits)
    with np.errstate(over="ignore"):  # in the codes of infinity and NaN, replaced below
        values = np.ldexp(significand.astype(np.float64), exponent)
    special = np.inf if source.infinities else np.nan
    values = np.where(magnitude > source.max_code, special, values)
    values = np.where(magnitude > source.max_code + source.infinities, np.nan, values)
    values = np.where(negative, -values, values)
    if source.signed and not source.signed_zero:
        values = np.where(values == 0, 0.0, values)
    if source.nan is NanStyle.NEGATIVE_ZERO:
        values = np.where(negative & (magnitude == 0), np.nan, values)
    return values


# What dtypes are.


def _check_dtype(x: Array) -> None:
    if isinstance(x, np.ma.MaskedArray):
        raise HalfulpError("a masked array would lose its mask: cast x.filled(0) or x.data")
    if x.dtype.name not in FLOAT_DTYPES:
        raise HalfulpError(
            f"an array of dtype {x.dtype} cannot be cast: give floats, such as "
            "x.astype('float64'), or Python numbers"
        )


def _float_dtype(name: str) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.name not in FLOAT_DTYPES:
        raise HalfulpError(f"dtype {name!r} is no float dtype: try 'float32' or 'float64'")
    return dtype


def _checked_out(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise HalfulpError(f"out must be an array of {dtype} {shape}: found {found}")
    if not out.flags.writeable:
        raise HalfulpError("out is read-only: give an array that can be written")
    return out


# How a cast runs.


def _run(x: Array, out: Array, cast: Cast, seed: int, *, codes: bool) -> Array:
    native = x.dtype.newbyteorder("=")
    if native in _NATIVE:
        return _run_native(x, out, cast, seed, codes=codes)
    if cast.is_stochastic:
        # Each element draws for itself, so there is nothing to look up.
        return _run_as(np.float32, x, out, cast, seed, codes=codes)
    table = _table(native, cast, codes)
    indices = x.astype(native, copy=False).view(_codes_of(native))
    out[...] = table[indices]
    return out


def _codes_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned dtype of the same memory (6- and 4-bit floats fill a byte)."""
    return np.dtype(f"uint{8 * dtype.itemsize}")


@lru_cache(maxsize=64)
def _table(dtype: np.dtype[Any], cast: Cast, codes: bool) -> Array:
    every = np.arange(1 << (8 * dtype.itemsize), dtype=_codes_of(dtype)).view(dtype)
    out = np.empty(every.shape, code_dtype(cast.target) if codes else dtype)
    return _run_as(np.float32, every, out, cast, 0, codes=codes)


def _run_as(
    wider: type[np.floating[Any]], x: Array, out: Array, cast: Cast, seed: int, *, codes: bool
) -> Array:
    """By way of a wider float, which holds every number of x's dtype exactly."""
    widened = x.astype(wider)
    if codes:
        return _run_native(widened, out, cast, seed, codes=True)
    with np.errstate(over="ignore", invalid="ignore"):
        out[...] = _run_native(widened, widened, cast, seed, codes=False).astype(x.dtype)
    return out


def _run_native(x: Array, out: Array, cast: Cast, seed: int, *, codes: bool) -> Array:
    source = source_of(_NATIVE[x.dtype.newbyteorder("=")], cast)
    if source is None and x.dtype.itemsize == 4:
        return _run_as(np.float64, x, out, cast, seed, codes=codes)
    if source is None:
        raise HalfulpError(
            f"{cast.target} is wider than arrays can be cast to (53 significand bits, 63-bit "
            "codes): cast Python numbers"
        )
    kernel = cast_kernel(cast, source, codes=codes)
    job = plan(cast, source, seed, codes=codes)

    def work(bits: Array, patterns: Array, first: int) -> None:
        kernel(bits.view(source.bits), _patterns(patterns, source, codes), first, job)

    _loop(x, out, work)
    return out


def _patterns(out: Array, source: Source, codes: bool) -> Array:
    return out if codes else out.view(source.bits)


Work = Callable[[Array, Array, int], None]


def _loop(x: Array, out: Array, work: Work) -> None:
    """Run ``work`` over all elements in C order: in place if memory allows, else by blocks."""
    plain = x.flags.c_contiguous and out.flags.c_contiguous and x.dtype.isnative
    same = x.__array_interface__["data"][0] == out.__array_interface__["data"][0]
    apart = (same and x.dtype == out.dtype) or not np.may_share_memory(x, out)
    if plain and out.dtype.isnative and apart:
        _in_threads(x.reshape(-1), out.reshape(-1), work)
        return
    first = 0
    for source, target in _blocks(x, out):
        work(source, target, first)
        first += source.size


def _blocks(x: Array, out: Array) -> Iterator[tuple[Array, Array]]:
    """Contiguous blocks of native byte order, copied in and out by NumPy's own iterator."""
    dtypes = [array.dtype.newbyteorder("=") for array in (x, out)]
    # NumPy's stubs spell the flag "contig" wrongly.
    flags: Any = [["readonly", "contig"], ["writeonly", "contig"]]
    with np.nditer(
        [x, out],
        flags=["external_loop", "buffered", "zerosize_ok", "copy_if_overlap"],
        op_flags=flags,
        op_dtypes=dtypes, order="C", casting="equiv", buffersize=BLOCK,
    ) as blocks:  # fmt: skip
        yield from blocks


def _in_threads(x: Array, out: Array, work: Work) -> None:
    threads = min(numba.get_num_threads(), x.size // PIECE)
    if threads < 2:
        work(x, out, 0)
        return
    bounds = [x.size * i // threads for i in range(threads + 1)]
    pool = _pool(os.getpid())
    rest = [
        pool.submit(work, x[start:end], out[start:end], start)
        for start, end in pairwise(bounds[1:])
    ]
    work(x[: bounds[1]], out[: bounds[1]], 0)
    for future in rest:
        future.result()


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child has none of its parent's and gets its own."""
    return ThreadPoolExecutor(max(1, numba.get_num_threads() - 1), f"halfulp-{process}")
