"""L1: all that a monitor asks of one tensor, in one call: made for many small arrays.

It is the evidence of a tally (:mod:`~halfulp.backends.evidence`), and its verdict on each cast, but
decided by compiled code, so that an array of a few hundred elements takes microseconds. Casts draw
nothing, and their targets have both signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends import evidence
from halfulp.backends.classes import LEAF, carrier_for
from halfulp.backends.evidence import edges, subnormal_binades
from halfulp.backends.kernels import FLOAT32, FLOAT64, compiled
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.numpy import NATIVE, in_threads
from halfulp.backends.references import borrowed, keep
from halfulp.backends.symbols import jitable
from halfulp.casting import Cast, cast_to
from halfulp.catalogue import Format
from halfulp.errors import HalfulpError, listed
from halfulp.patterns import Carrier

Array = npt.NDArray[Any]


class Seen(NamedTuple):
    """What one array holds; counts are of elements."""

    elements: int
    zero: int
    infinite: int
    nan: int
    largest: float  # finite magnitude
    least: float  # nonzero magnitude
    counts: Array  # [format, (exact, underflow, subnormal, overflow)], as a Tally has them
    binades: dict[int, int]

    def merged(self, other: Seen) -> Seen:
        """What two arrays hold together."""
        binades = dict(self.binades)
        for exponent, count in other.binades.items():
            binades[exponent] = binades.get(exponent, 0) + count
        leasts = [least for least in (self.least, other.least) if least]
        return Seen(
            elements=self.elements + other.elements,
            zero=self.zero + other.zero,
            infinite=self.infinite + other.infinite,
            nan=self.nan + other.nan,
            largest=max(self.largest, other.largest),
            least=min(leasts, default=0.0),
            counts=self.counts + other.counts,
            binades=binades,
        )


class _Plan(NamedTuple):
    """What decides the casts from one source: patterns of magnitudes, as the kernel takes them."""

    thresholds: Array  # ascending, a multiple of those counted abreast
    kept: Array  # per format, where in thresholds; the first that does not become zero
    normal: Array  # the first whose result is normal
    over: Array  # the first that overflows
    gaps: Array  # [format, i]: exact points beyond the largest number; the one after is next
    cells: Array  # [format, field, trailing zeros]: whether a number is one of the format


def observe(x: Array, formats: Sequence[str]) -> Seen:
    """What an array of float32 or float64 holds, and what casts to formats would do to it.

    Raises HalfulpError for formats without a sign, and those that the dtype is too narrow for.

    >>> seen = observe(np.float32([1.0, 1e-9, 70000.0, 0.1, 0.0]), ("float16",))
    >>> seen.counts.tolist(), seen.largest
    ([[1, 1, 0, 1]], 70000.0)
    """
    flat = np.ascontiguousarray(x).reshape(-1)
    made = _plan(tuple(formats), flat.dtype.str)
    source = NATIVE[flat.dtype]
    bits = flat.view(f"i{flat.itemsize}")
    kernel = _kernel(FLOAT32 if flat.itemsize == 4 else FLOAT64)
    size = (source.max_code >> source.fraction_bits) + 2

    def work(start: int, end: int) -> tuple[Array, ...]:
        shapes: tuple[Any, ...] = (3, 2, (len(formats), 4), size)
        told = tuple(np.zeros(shape, np.int64) for shape in shapes)
        kernel(bits[start:end], *made, *told)
        return told

    parts = list(zip(*in_threads(flat.size, work), strict=True))
    specials, counts, by_field = (np.sum(parts[i], axis=0) for i in (0, 2, 3))
    extremes = np.array([max(p[0] for p in parts[1]), min(p[1] for p in parts[1])])
    nonzero = flat.size - int(specials.sum())
    values = extremes.astype(bits.dtype).view(flat.dtype).tolist() if nonzero else (0.0, 0.0)
    fields = np.flatnonzero(by_field[1:-1]) + 1
    binades = dict(zip((fields - source.bias).tolist(), by_field[fields].tolist(), strict=True))
    if by_field[0] > specials[0]:
        binades.update(subnormal_binades(flat))
    zero, infinite, nan = specials.tolist()
    largest, least = values
    ordered = dict(sorted(binades.items()))
    return Seen(flat.size, zero, infinite, nan, largest, least, counts, ordered)


@lru_cache(maxsize=256)
def _plan(formats: tuple[str, ...], dtype: str) -> _Plan:
    """The plan for casts to nearest even, from float32 or float64."""
    casts = [cast_to(name) for name in formats]
    source = NATIVE[np.dtype(dtype)]
    if wrong := [c.target.name for c in casts if not _is_decided(c, source)]:
        raise HalfulpError(
            f"{listed(wrong)} cannot be watched: give formats with a sign whose numbers are not "
            f"smaller than {source.name}'s"
        )
    for cast in casts:
        carrier_for(cast, np.dtype(dtype))
    of = [edges(cast, source, False) for cast in casts]
    most = max((len(e.gaps) for e in of), default=0)
    every = {p for e in of for p in (*e[:3], *e.gaps, *(gap + 1 for gap in e.gaps))}
    integers = np.dtype(f"i{np.dtype(dtype).itemsize}")
    size = -(-len(every) // evidence.ABREAST) * evidence.ABREAST
    thresholds = np.full(size, np.iinfo(integers).max, integers)
    thresholds[: len(every)] = sorted(every)
    at = {pattern: i for i, pattern in enumerate(sorted(every))}
    gaps = np.full((len(of), most), -1, np.int64)
    for row, e in zip(gaps, of, strict=True):
        row[: len(e.gaps)] = [at[gap] for gap in e.gaps]
    sides = zip(*((e.kept, e.normal, e.over) for e in of), strict=True)
    kept, normal, over = (np.array([at[pattern] for pattern in side], np.int64) for side in sides)
    cells = np.array([evidence.exact_cells(cast.target, source) for cast in casts])
    return _Plan(thresholds, kept, normal, over, gaps, cells)


def _is_decided(cast: Cast, source: Format) -> bool:
    return cast.target.signed and cast.target.emin >= source.emin


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.

#: What a loop calls; compiled() puts it in place.
one: Any = None


@cache
def _kernel(carrier: Carrier) -> Any:
    """``(patterns, the plan, zeros infinities NaNs, largest and least pattern, counts, elements of
    each exponent field)``.
    """
    return compiled(_loop, f"observing_{carrier.name}", _leaf(carrier))


def _loop(bits, thresholds, kept, normal, over, gaps, cells, specials, extremes, counts, by_field):
    wide_vectors()
    zeros, fields = cells.shape[2], by_field.size
    mine, twin = np.zeros((2, 2 * zeros * fields), np.uint32)
    own, reached = np.empty(LEAF, np.int32), np.zeros(thresholds.size, np.int64)
    joints, scratch, reaching = (borrowed(mine), borrowed(twin)), borrowed(own), borrowed(reached)
    patterns, limits = borrowed(bits), borrowed(thresholds)
    last = np.int64(fields - 1) << (zeros - 1)  # infinity's pattern
    extremes[1] = last
    for start in range(0, bits.size, LEAF):
        part = patterns[start : start + LEAF]
        one(part, scratch, joints, limits, reaching, extremes, last)
    count_cells_of((mine + twin).reshape(zeros, 2, fields), cells, specials, counts, by_field)
    for f in range(len(counts)):  # thresholds are reached by what is not finite, too
        counts[f, 1] = bits.size - specials[0] - reached[kept[f]]
        counts[f, 2] = reached[kept[f]] - reached[normal[f]]
        counts[f, 3] = reached[over[f]] - by_field[fields - 1]
        for gap in gaps[f]:
            if gap >= 0:  # what lies at it alone, since the next threshold is the next pattern
                counts[f, 0] -= reached[gap] - reached[gap + 1]
    keep(mine)
    keep(twin)
    keep(own)
    keep(reached)


@jitable
def count_cells_of(joint, cells, specials, counts, by_field):
    """What trailing zeros and exponents tell: zeros, infinities, NaN, and exact numbers."""
    zeros, last = len(joint), by_field.size - 1
    for z in range(zeros):
        for field in range(last + 1):
            found = np.int64(joint[z, 0, field]) + np.int64(joint[z, 1, field])
            by_field[field] += found
            if found == 0 or field == last:
                continue
            for f in range(len(counts)):
                counts[f, 0] += found * cells[f, field, z]
    specials[0] = np.int64(joint[zeros - 1, 0, 0]) + np.int64(joint[zeros - 1, 1, 0])
    specials[1] = np.int64(joint[zeros - 1, 0, last]) + np.int64(joint[zeros - 1, 1, last])
    specials[2] = by_field[last] - specials[1]


def _leaf(carrier: Carrier) -> Any:
    count_cells = evidence.cells_of_leaf(carrier)
    count_reaching = evidence.reaching_of_leaf(carrier)
    widen, store = carrier.widen, carrier.store
    magnitudes = (1 << carrier.source.magnitude_bits) - 1

    @jitable
    def leaf(part, scratch, joints, limits, reaching, extremes, last):
        wide_vectors()
        count_cells(part, scratch, joints, (0, 0))
        count_reaching(part, 0, magnitudes, limits, reaching)
        infinity, nothing, everything = widen(last), widen(0), widen(magnitudes)
        largest, least = nothing, infinity
        for i in range(part.size):
            magnitude = widen(part[i]) & magnitudes
            finite = magnitude if magnitude < infinity else nothing
            largest = finite if finite > largest else largest
            nonzero = magnitude if magnitude > nothing else everything
            least = nonzero if nonzero < least else least
        extremes[0] = max(extremes[0], np.int64(store(largest)))
        extremes[1] = min(extremes[1], np.int64(store(least)))

    return leaf
