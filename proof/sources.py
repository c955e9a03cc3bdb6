"""Casts of other floats: every code of the narrow ones, and float64 about every change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import ml_dtypes
import numpy as np

from halfulp.catalogue import Format, format
from proof import oracle
from proof.backends import BACKENDS, JAX, NUMBERS, NUMPY, Backend
from proof.casts import FEW, SOURCES, TARGETS
from proof.oracle import runs
from proof.pieces import MODES, Array, Claim, Found, Piece, compare

AREA = "sources"
WIDE = (format("float32"), format("float64"))
RANDOM = 1 << 20  # patterns of float64 beside those where an answer changes
FLOAT32_PROBES = 1 << 11


def claims(slice: bool = False) -> Iterator[Claim]:
    """Every source but float32."""
    targets = [f for f in TARGETS if not slice or f.name in FEW]
    for backend in BACKENDS:
        for source in (s for s in backend.sources if format(s) not in WIDE):
            if slice and (source not in ("float16", "bfloat16", *FEW) or backend is JAX):
                continue  # JAX compiles for seconds
            wide = [f for f in WIDE if not slice and f.name in backend.sources]
            into = [*targets, *wide]
            yield _claim(
                backend, f"every {source} to codes and values of", f"{len(into)} formats",
                1 << format(source).width,
                partial(check_narrow, backend=backend, source=source, targets=tuple(into)),
                len(into) * 65536 * 12 * backend.nanoseconds * 1e-9,
            )  # fmt: skip
        if backend is not NUMBERS and "float64" in backend.sources:
            for target in targets:
                yield _claim(
                    backend, "float64 to codes and values of", target.name, 1 << 64,
                    partial(check_float64, backend=backend, target=target,
                            random=RANDOM >> 8 if slice else RANDOM),
                    12 * RANDOM * backend.nanoseconds * 1e-9,
                )  # fmt: skip
    probes = FLOAT32_PROBES >> 6 if slice else FLOAT32_PROBES
    for backend in (NUMPY, NUMBERS):
        yield _claim(
            backend, "float64 to codes of", "float32", 1 << 64,
            partial(check_float32, backend=backend, probes=probes), probes * 0.02,
        )  # fmt: skip


def _claim(
    backend: Backend, subject: str, item: str, population: int, check: Callable[[Piece], Found],
    seconds: float,
) -> Claim:  # fmt: skip
    return Claim(
        AREA, subject, item, MODES, backend.name, oracle.REFERENCE, population, check,
        (Piece("all of it", range(1)),), seconds,
        (*SOURCES, f"halfulp.backends.{backend.module}", __name__), backend.packages,
        backend.absent,
    )  # fmt: skip


def check_narrow(
    piece: Piece, *, backend: Backend, source: str, targets: tuple[Format, ...]
) -> Found:
    """Every code of a narrow float to each format; values come in the float itself."""
    dtype = np.dtype(getattr(ml_dtypes, source, source))
    codes = np.arange(format(source).codes, dtype=f"uint{8 * dtype.itemsize}")
    x = codes.view(dtype)
    meant = oracle.meanings(format(source))
    # NaN has the sign of its code, which shows where a format without NaN makes zero of it.
    negative = (codes >= codes.size // 2) & format(source).signed
    wide = np.where(np.isnan(meant) & negative, -meant, meant)
    found = Found(codes.size)
    for target in targets:
        for rounding in MODES:
            expected, values = _expected(wide, target, rounding)
            found += compare(
                [codes], backend.encode(x, target, rounding), expected,
                f"to {target}, {rounding}, codes", _is_nan(target),
            )  # fmt: skip
            with np.errstate(all="ignore"):
                held = values.astype(dtype).view(codes.dtype)
            found += compare(
                [codes], backend.cast(x, target, rounding).view(codes.dtype), held,
                f"to {target}, {rounding}, values", oracle.is_nan(format(source)),
            )  # fmt: skip
    return found


def _expected(wide: Array, target: Format, rounding: str) -> tuple[Array, Array]:
    """Codes and values of float64s in a format, all of which a wide format holds."""
    if target in WIDE:
        held = wide.astype(target.name)
        return held.view(f"uint{target.width}"), wide
    table, patterns = runs(target, rounding, "float64"), wide.view(np.uint64)
    return table.at(patterns, table.codes), table.at(patterns, table.values).view(np.float64)


def _is_nan(target: Format) -> Callable[[Array], Array]:
    if target in WIDE:
        return lambda codes: np.isnan(codes.view(target.name))
    return oracle.is_nan(target)


def check_float64(piece: Piece, *, backend: Backend, target: Format, random: int) -> Found:
    """Float64 next to every change of the answer, and anywhere."""
    tables = {rounding: runs(target, rounding, "float64") for rounding in MODES}
    places = np.unique(np.concatenate([table.starts for table in tables.values()]))
    near = (places[:, None] + np.array([-1, 0, 1], np.int64).astype(np.uint64)).reshape(-1)
    drawn = np.random.default_rng(0).integers(0, 1 << 64, random, np.uint64)
    patterns = np.unique(np.concatenate([near, drawn]))
    x, found = patterns.view(np.float64), Found(patterns.size)
    for rounding, table in tables.items():
        codes, values = backend.encode(x, target, rounding), backend.cast(x, target, rounding)
        found += compare(
            [patterns], codes, table.along(patterns, table.codes), f"{rounding}, codes",
            oracle.is_nan(target),
        )  # fmt: skip
        found += compare(
            [patterns], values.view(np.uint64), table.along(patterns, table.values),
            f"{rounding}, values", lambda bits: np.isnan(bits.view(np.float64)),
        )  # fmt: skip
    return found


def check_float32(piece: Piece, *, backend: Backend, probes: int) -> Found:
    """Float64 about random float32s and their midpoints, each decided by the oracle alone.

    float32 has too many numbers to list where its answers change.
    """
    target, rng = format("float32"), np.random.default_rng(1)
    low = rng.integers(1, 0x7F800000, probes, np.uint32)
    low[:5] = 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x3F800000
    exact = low.view(np.float32).astype(np.float64)
    following = np.array([float(oracle.oracle.value_after(target, code)) for code in low.tolist()])
    places = np.concatenate([exact, (exact + following) / 2]).view(np.uint64)
    near = np.unique(places[:, None] + np.array([-1, 0, 1], np.int64).astype(np.uint64))
    patterns = np.concatenate([near, near | np.uint64(1 << 63)])
    x, found = patterns.view(np.float64), Found(patterns.size)
    for rounding in MODES:
        theirs = [oracle.code(target, value, rounding) for value in x.tolist()]
        codes = backend.encode(x, target, rounding)
        found += compare([patterns], codes, np.array(theirs, np.uint32), f"{rounding}, codes")
    return found
