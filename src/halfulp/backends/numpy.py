"""L1: NumPy arrays: view their bits, launch the kernels on every thread, wrap the answer.

float32 and float64 are read by the kernels themselves. Floats of 16 bits and fewer have so few
codes that the cast of each is computed once (through float32, exactly) and looked up.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from threading import current_thread
from typing import Any

import ml_dtypes  # noqa: F401  # registers bfloat16, float8 … with NumPy by name
import numba
import numpy as np
import numpy.typing as npt

from halfulp.backends.kernels import carrier_of, cast_kernel, flat_plan, lookup_kernel
from halfulp.casting import Cast, cast_to
from halfulp.catalogue import Format, NanStyle, format, formats
from halfulp.errors import HalfulpError

Array = npt.NDArray[Any]

# Below this many elements a second thread costs more than it brings.
PIECE = 1 << 18
# What is copied at a time from arrays that are strided or of foreign byte order: half an L2 cache.
BLOCK = 1 << 15
# What the names of the threads of the pool begin with.
POOL = "halfulp"

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
NATIVE = {_FLOAT32: format("float32"), _FLOAT64: format("float64")}
FLOAT_DTYPES = {f.name for f in formats()}


def added_dtype(a: Format, b: Format) -> Format | None:
    """The format of NumPy's own sum of arrays of two formats; None where it has none.

    Of two of ml_dtypes' small types NumPy often takes the first, whichever that is.
    """
    if a.name not in FLOAT_DTYPES or b.name not in FLOAT_DTYPES:
        return None
    try:
        return format((np.zeros(1, a.name) + np.zeros(1, b.name)).dtype.name)
    except (TypeError, HalfulpError):
        return None


def cast_array(x: Array, cast: Cast, *, seed: int = 0, out: Array | None = None) -> Array:
    """The values of ``x`` rounded to the target, in x's own dtype and shape.

    A result beyond x's own dtype (which a wider target can produce) overflows as that dtype does.
    Raises HalfulpError for dtypes that are no floats, and for an ``out`` that does not fit;
    nothing is written then.
    """
    check_dtype(x)
    out = checked_out(out, x.shape, x.dtype)
    return _run(x, out, cast, seed, codes=False)


def encode_array(x: Array, cast: Cast, *, seed: int = 0, out: Array | None = None) -> Array:
    """The codes of ``x`` in the target, in the least unsigned dtype that holds them."""
    check_dtype(x)
    out = checked_out(out, x.shape, code_dtype(cast.target))
    return _run(x, out, cast, seed, codes=True)


def code_dtype(target: Format) -> np.dtype[Any]:
    """The unsigned dtype of a format's codes: 8, 16, 32 or 64 bits."""
    for bits in (8, 16, 32, 64):
        if target.width <= bits:
            return np.dtype(f"uint{bits}")
    raise HalfulpError(f"{target} has codes of {target.width} bits: arrays hold at most 64")


def decode_array(
    codes: Array, source: Format, dtype: str = "float32", *, out: Array | None = None
) -> Array:
    """The values of an array of codes, exactly.

    Raises HalfulpError where ``codes`` are no integers of the format, where ``dtype`` cannot hold
    every number of the format, and for an ``out`` that does not fit; nothing is written then.
    """
    result = _float_dtype(dtype if out is None else getattr(out, "dtype", dtype))
    if not format(result.name).holds(source):
        raise HalfulpError(
            f"{result} cannot hold every number of {source}: ask for dtype='float64', or decode "
            "Python ints"
        )
    if codes.dtype.kind not in "iu":
        raise HalfulpError(f"codes are integers, not {codes.dtype}: use encode to make them")
    check_codes(codes, source)
    out = checked_out(out, codes.shape, result)
    if source.width > 16:
        out[...] = _decode(codes.astype(np.uint64), source)
        return out
    unsigned = code_dtype(source)
    if codes.dtype.itemsize != unsigned.itemsize:
        codes = codes.astype(unsigned)
    loop(codes.view(unsigned.newbyteorder(codes.dtype.byteorder)), out, _decoding(source, result))
    return out


@lru_cache(maxsize=64)
def _decoding(source: Format, result: np.dtype[Any]) -> Work:
    table = np.zeros(1 << (8 * code_dtype(source).itemsize), result)
    table[: source.codes] = _values(source, result)
    return looked_up(table)


@lru_cache(maxsize=64)
def _values(source: Format, dtype: np.dtype[Any]) -> Array:
    """The values of all codes of a narrow format, to be looked up."""
    return np.asarray(_decode(np.arange(source.codes, dtype=np.uint64), source).astype(dtype))


def check_codes(codes: Array, source: Format) -> None:
    """Raise HalfulpError where any integer is no code of the format."""
    unsigned = codes.dtype.kind == "u"
    if not codes.size or (unsigned and 8 * codes.dtype.itemsize == source.width):
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


def check_dtype(x: Array) -> None:
    """Raise HalfulpError for what is no array of floats that can be cast."""
    if isinstance(x, np.ma.MaskedArray):
        raise HalfulpError("a masked array would lose its mask: cast x.filled(0) or x.data")
    if not _is_float(x.dtype):
        raise HalfulpError(
            f"an array of dtype {x.dtype} cannot be cast: give floats, such as "
            "x.astype('float64'), or Python numbers"
        )


@lru_cache(maxsize=256)
def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.name in FLOAT_DTYPES


def _float_dtype(name: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(object)
    with suppress(TypeError):
        dtype = np.dtype(name)
    if dtype.name not in FLOAT_DTYPES:
        raise HalfulpError(f"dtype {name!r} is no float dtype: try 'float32' or 'float64'")
    return dtype


def checked_out(out: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The array to write to: a new one, or ``out`` if it fits.

    Raises HalfulpError where it does not.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise HalfulpError(f"out must be an array of {dtype} {shape}: found {found}")
    if not out.flags.writeable:
        raise HalfulpError("out is read-only: give an array that can be written")
    return out


# How a cast runs.

#: What is done to a stretch of elements: ``(values in, values or codes out, index of the first)``.
Work = Callable[[Array, Array, int], None]


def _run(x: Array, out: Array, cast: Cast, seed: int, *, codes: bool) -> Array:
    native = x.dtype if x.dtype.isnative else x.dtype.newbyteorder("=")
    loop(x, out, work_of(native, cast, seed, codes=codes))
    return out


def work_of(dtype: np.dtype[Any], cast: Cast, seed: int, *, codes: bool) -> Work:
    """A cast of contiguous elements of a float dtype, of native byte order."""
    return _work(dtype, cast, seed if cast.is_stochastic else 0, codes)


@lru_cache(maxsize=1024)
def _work(dtype: np.dtype[Any], cast: Cast, seed: int, codes: bool) -> Work:
    if dtype in NATIVE:
        return _direct(dtype, cast, seed, codes) or by_way_of(_FLOAT64, dtype, cast, seed, codes)
    if cast.is_stochastic:
        # Each element draws for itself, so there is nothing to look up.
        return by_way_of(_FLOAT32, dtype, cast, seed, codes)
    return looked_up(_table(dtype, cast, codes))


def _direct(dtype: np.dtype[Any], cast: Cast, seed: int, codes: bool) -> Work | None:
    """By a kernel that reads the dtype itself."""
    carrier = carrier_of(NATIVE[dtype], cast)
    if carrier is None and dtype == _FLOAT64:
        raise HalfulpError(
            f"{cast.target} is wider than arrays can be cast to (53 significand bits, 63-bit "
            "codes): cast Python numbers"
        )
    if carrier is None:
        return None
    kernel = cast_kernel(cast, carrier, codes=codes)
    plan = flat_plan(cast, carrier, seed, codes=codes)
    bits = np.dtype(f"int{8 * dtype.itemsize}")

    def work(x: Array, out: Array, first: int) -> None:
        kernel(x.view(bits), out if codes else out.view(bits), first, plan)

    return work


def looked_up(table: Array) -> Work:
    """By a table with an entry for every code of a dtype of 8 or 16 bits."""
    kernel, patterns = lookup_kernel(), table.view(codes_of(table.dtype))
    bits = np.dtype(f"uint{(len(table) - 1).bit_length()}")

    def work(x: Array, out: Array, first: int) -> None:
        kernel(x.view(bits), patterns, out.view(patterns.dtype))

    return work


def by_way_of(
    wider: np.dtype[Any], dtype: np.dtype[Any], cast: Cast, seed: int, codes: bool
) -> Work:
    """By way of a wider float that holds every number of the dtype, a cache block at a time."""
    widen = widening(dtype, wider)
    cast_wide = _work(wider, cast, seed, codes)
    narrow = _work(wider, cast_to(dtype.name), 0, True)

    def work(x: Array, out: Array, first: int) -> None:
        wide, made = np.empty((2, min(BLOCK, x.size)), wider)
        for start in range(0, x.size, BLOCK):
            part, end = wide[: x.size - start], min(start + BLOCK, x.size)
            widen(x[start:end], part, 0)
            if codes:
                cast_wide(part, out[start:end], first + start)
            else:
                values = made[: part.size]
                cast_wide(part, values, first + start)
                narrow(values, out[start:end].view(codes_of(dtype)), 0)

    return work


def widening(dtype: np.dtype[Any], wider: np.dtype[Any]) -> Work:
    """The elements of a dtype as a wider float that holds them."""
    if dtype.itemsize <= 2:
        return looked_up(_memory_values(dtype, wider))

    def work(x: Array, out: Array, first: int) -> None:
        with np.errstate(invalid="ignore"):  # NaN that signal
            out[...] = x

    return work


def codes_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The unsigned dtype of the same memory (6- and 4-bit floats fill a byte)."""
    return np.dtype(f"uint{8 * dtype.itemsize}")


def every_pattern(dtype: np.dtype[Any]) -> Array:
    """All that can lie in the memory of one element, in the order of the codes."""
    return np.arange(1 << (8 * dtype.itemsize), dtype=codes_of(dtype)).view(dtype)


@lru_cache(maxsize=64)
def _memory_values(dtype: np.dtype[Any], wider: np.dtype[Any]) -> Array:
    """The values of all patterns of a narrow dtype; of the unused bits of a byte as it has them."""
    with np.errstate(invalid="ignore"):  # NaN that signal
        return every_pattern(dtype).astype(wider)


@lru_cache(maxsize=256)
def _table(dtype: np.dtype[Any], cast: Cast, codes: bool) -> Array:
    """What a cast makes of every pattern of a narrow dtype: values of the dtype, or codes."""
    every = every_pattern(dtype)
    out = np.empty(every.shape, code_dtype(cast.target) if codes else dtype)
    by_way_of(_FLOAT32, dtype, cast, 0, codes)(every, out, 0)
    return out


def loop(x: Array, out: Array, work: Work) -> None:
    """Run ``work`` over all elements in C order: in place if memory allows, else by blocks."""
    shared = np.may_share_memory(x, out)
    in_place = shared and _same_place(x, out)
    if (in_place or not shared) and _is_plain(x) and _is_plain(out):
        flat, into = x.reshape(-1), out.reshape(-1)
        run = _in_place(work) if in_place else work
        in_threads(x.size, lambda start, end: run(flat[start:end], into[start:end], start))
        return
    first = 0
    for source, target in _blocks(x, out):
        work(source, target, first)
        first += source.size


def _in_place(work: Work) -> Work:
    """``work`` by way of a block: kernels read and write the same array an element at a time."""

    def run(x: Array, out: Array, first: int) -> None:
        block = np.empty(min(x.size, BLOCK), x.dtype)
        for start in range(0, x.size, BLOCK):
            target = out[start : start + BLOCK]
            source = block[: target.size]
            source[...] = x[start : start + BLOCK]
            work(source, target, first + start)

    return run


def _is_plain(x: Array) -> bool:
    """Whether kernels can run over the memory as it lies."""
    return x.flags.c_contiguous and x.flags.aligned and x.dtype.isnative


def _same_place(x: Array, out: Array) -> bool:
    return x.ctypes.data == out.ctypes.data and x.dtype == out.dtype


def stretches(x: Array, size: int) -> Iterator[tuple[int, Array]]:
    """All elements in C order as contiguous native stretches, with the index of their first.

    That is all of an array at once where its memory allows, else blocks of ``size`` elements.
    """
    if _is_plain(x):
        yield 0, x.reshape(-1)
        return
    flags: Any = [["readonly", "contig", "aligned"]]
    with np.nditer(
        [x], flags=["external_loop", "buffered", "zerosize_ok"], op_flags=flags,
        op_dtypes=[x.dtype.newbyteorder("=")], order="C", casting="equiv", buffersize=size,
    ) as blocks:  # fmt: skip
        first = 0
        for block in blocks:
            yield first, np.asarray(block)
            first += np.asarray(block).size


def _blocks(x: Array, out: Array) -> Iterator[tuple[Array, Array]]:
    """Contiguous blocks of native byte order, copied in and out by NumPy's own iterator."""
    dtypes = [array.dtype.newbyteorder("=") for array in (x, out)]
    # NumPy's stubs spell the flag "contig" wrongly.
    flags: Any = [["readonly", "contig", "aligned"], ["writeonly", "contig", "aligned"]]
    with np.nditer(
        [x, out],
        flags=["external_loop", "buffered", "zerosize_ok", "copy_if_overlap"],
        op_flags=flags,
        op_dtypes=dtypes, order="C", casting="equiv", buffersize=BLOCK,
    ) as blocks:  # fmt: skip
        yield from blocks


def in_threads(size: int, work: Callable[[int, int], Any], piece: int = PIECE) -> list[Any]:
    """The answers of ``work(start, end)`` over stretches of ``size`` elements, one a thread.

    They come in the order of the stretches, and must not depend on where these end. ``piece`` is
    the least that is worth a thread.
    """
    pieces = size // piece
    threads = min(numba.get_num_threads(), pieces) if pieces > 1 else 1
    if threads < 2 or current_thread().name.startswith(POOL):  # which must not wait for its own
        return [work(0, size)]
    bounds = [size * i // threads for i in range(threads + 1)]
    pool = _pool(os.getpid())
    rest = [pool.submit(work, start, end) for start, end in pairwise(bounds[1:])]
    return [work(0, bounds[1]), *(future.result() for future in rest)]


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child has none of its parent's and gets its own."""
    return ThreadPoolExecutor(max(1, numba.get_num_threads() - 1), f"{POOL}-{process}")
