"""L1: evidence from one pass over wide floats, enough to tally any number of casts.

A deterministic cast is decided by little of a value. Whether it is exact depends on the exponent
and the trailing zeros of its significand, so one joint histogram of the two serves every format at
once; what underflows, is subnormal or overflows are stretches of the ordered magnitudes, so a few
thresholds are counted beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.classes import (
    FOLD,
    LEAF,
    MOST,
    Classes,
    add_binades,
    carrier_for,
    lacks,
)
from halfulp.backends.kernels import (
    FLOAT32,
    FLOAT64,
    compiled,
)
from halfulp.backends.lanes import trailing_zeros, wide_vectors
from halfulp.backends.numpy import (
    NATIVE,
    in_threads,
)
from halfulp.backends.references import borrowed, keep
from halfulp.backends.symbols import jitable
from halfulp.carrier import drop_of, placement
from halfulp.casting import Cast, number_code
from halfulp.catalogue import Format, binade
from halfulp.exact import finite
from halfulp.patterns import Carrier

Array = npt.NDArray[Any]

# The signs that are counted: both at once, or one.
BOTH = -1
SIGNS = (BOTH, 0, 1)
# Thresholds that are counted together.
ABREAST = 8


class Evidence(NamedTuple):
    """What one pass over an array collects for any number of casts."""

    source: Format
    joint: Array  # [sign and exponent field, trailing zeros of the fraction] -> elements
    reaching: dict[tuple[int, int], int]  # (sign, magnitude pattern) -> elements at or beyond


# Thresholds: where along the magnitudes of the source a cast's answer changes its kind.


class Edges(NamedTuple):
    """Magnitude patterns of the source, for one sign; each is the first of its kind."""

    kept: int  # the first that does not become zero
    normal: int  # the first whose result is normal
    over: int  # the first that overflows
    gaps: tuple[int, ...]  # exact points of the grid beyond the largest number, in its binade


@lru_cache(maxsize=4096)
def edges(cast: Cast, source: Format, negative: bool) -> Edges:
    """The thresholds of a deterministic cast, by bisection over its exact scalar form."""
    target = cast.target
    end = source.max_code + 1
    first_normal = target.least_field << target.fraction_bits

    def first(reached: Callable[[Any], bool]) -> int:
        low, high = 0, end
        while low < high:
            middle = (low + high) // 2
            value = source.magnitude(middle)
            detail = cast.detail(finite(-value if negative else value, negative))
            low, high = (low, middle) if reached(detail) else (middle + 1, high)
        return low

    kept = first(lambda detail: detail.step.rule.rounded > 0) if target.zero else 1
    normal = first(lambda detail: detail.step.code >= first_normal) if target.subnormals else kept
    over = first(lambda detail: detail.overflow)
    return Edges(kept, normal, over, _gaps(target, source))


def _gaps(target: Format, source: Format) -> tuple[int, ...]:
    top = target.max_code | ((1 << target.fraction_bits) - 1)
    beyond = (target.magnitude(code) for code in range(target.max_code + 1, top + 1))
    return tuple(
        number_code(source, finite(value))
        for value in beyond
        if binade(value) == binade(target.max) and value <= source.max
    )


def signs_of(cast: Cast) -> tuple[int, ...]:
    """The signs that a cast treats apart; BOTH at once where it treats them alike."""
    return (0, 1) if cast.rounding in ("up", "down") or not cast.target.signed else (BOTH,)


def _asked(cast: Cast, source: Format) -> set[tuple[int, int]]:
    """The thresholds that the joint histogram does not answer."""
    asked = set()
    for sign in signs_of(cast):
        if lacks(cast, sign):
            continue
        kept, normal, over, gaps = edges(cast, source, sign == 1)
        for pattern in (kept, normal, over, *gaps, *(gap + 1 for gap in gaps)):
            if not _on_binade(pattern, source):
                asked.add((sign, pattern))
    return asked


def _on_binade(pattern: int, source: Format) -> bool:
    """Whether exponents and powers of two alone tell how many reach a magnitude."""
    fraction = pattern & ((1 << source.fraction_bits) - 1)
    is_normal = pattern >> source.fraction_bits > 0
    return fraction == 0 or (fraction == 1 and is_normal)


# The evidence of wide sources, and what it says of a cast.


def is_told(cast: Cast, seen: Evidence) -> bool:
    """Whether the evidence decides a cast: it draws nothing, and needs no subnormals normalised."""
    reaches = cast.target.emin >= seen.source.emin or not has_subnormals(seen)
    return not cast.is_stochastic and reaches


def has_subnormals(seen: Evidence) -> bool:
    """Whether any element is subnormal in its source."""
    powers = seen.source.fraction_bits
    return any(half[0, :powers].any() for half in np.split(seen.joint, 2))


def evidence(x: Array, casts: Sequence[Cast]) -> Evidence:
    """One pass over contiguous float32 or float64 elements, for all casts that are told by it."""
    source = NATIVE[x.dtype]
    for cast in casts:
        carrier_for(cast, x.dtype)
    asked = {k for cast in casts if not cast.is_stochastic for k in _asked(cast, source)}
    groups = [sorted(p for s, p in asked if s == sign) for sign in SIGNS]
    bits = x.view(np.dtype(f"int{8 * x.dtype.itemsize}"))
    thresholds = [_padded(group, bits.dtype) for group in groups]
    carrier = FLOAT32 if x.dtype.itemsize == 4 else FLOAT64
    kernel = _evidence_kernel(carrier)
    shape = 2 << source.exponent_bits, 1 << source.fraction_bits.bit_length()

    def work(start: int, end: int) -> tuple[Array, ...]:
        joint = np.zeros(shape[0] * shape[1], np.int64)
        counts = [np.zeros(len(group), np.int64) for group in thresholds]
        for first in range(start, end, MOST):
            cells = np.zeros(joint.size, np.uint32)
            kernel(bits[first : min(end, first + MOST)], cells, *thresholds, *counts)
            joint += cells
        return joint, *counts

    joint, *counts = (sum(parts) for parts in zip(*in_threads(x.size, work), strict=True))
    reaching = {
        (sign, pattern): int(count)
        for sign, group, totals in zip(SIGNS, groups, counts, strict=True)
        for pattern, count in zip(group, totals, strict=False)
    }
    return Evidence(source, np.asarray(joint).reshape(shape), reaching)


def _padded(thresholds: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """As many as are counted abreast, or a multiple; no finite number reaches what is added."""
    padded = np.full(-(-len(thresholds) // ABREAST) * ABREAST, np.iinfo(dtype).max, dtype)
    padded[: len(thresholds)] = thresholds
    return padded


def classes_told(cast: Cast, seen: Evidence) -> dict[int, Classes]:
    """What the evidence says of one cast, by sign."""
    return {sign: _signed_classes(cast, seen, sign) for sign in signs_of(cast)}


def _signed_classes(cast: Cast, seen: Evidence, sign: int) -> Classes:
    source = seen.source
    specials = (source.max_code >> source.fraction_bits) + 1  # the exponent field of inf and NaN
    joint = _of_sign(seen.joint, sign)
    finite_joint, power = joint[:specials], source.fraction_bits
    zero = int(joint[0, power])
    infinite = int(joint[specials, power])
    nan = int(joint[specials:].sum()) - infinite
    if lacks(cast, sign):
        return Classes(zero, 0, 0, 0, int(finite_joint.sum()) - zero, infinite, nan, 0)
    kept, normal, over, gaps = edges(cast, source, sign == 1)

    def reaching(pattern: int) -> int:
        """How many finite elements are at or beyond a magnitude."""
        field, fraction = divmod(pattern, 1 << source.fraction_bits)
        if not _on_binade(pattern, source):
            return seen.reaching[sign, pattern] - int(joint[specials:].sum())
        powers = int(finite_joint[field, power]) if field < specials else 0
        return int(finite_joint[field:].sum()) - powers * fraction

    exact = int(finite_joint[_exact_cells(cast.target, source)].sum())
    exact -= sum(reaching(gap) - reaching(gap + 1) for gap in gaps)
    return Classes(
        zero=zero,
        exact=exact,
        underflow=int(finite_joint.sum()) - zero - reaching(kept),
        overflow=reaching(over),
        inexact=reaching(kept) - exact - reaching(over),
        infinite=infinite,
        nan=nan,
        subnormal=reaching(kept) - reaching(normal),
    )


def _of_sign(joint: Array, sign: int) -> Array:
    positive, negative = np.split(joint, 2)
    return positive + negative if sign == BOTH else (positive, negative)[sign]


@lru_cache(maxsize=1024)
def _exact_cells(target: Format, source: Format) -> Array:
    """Which finite cells of one sign's joint histogram hold nonzero numbers that the target has."""
    place = placement(target, source.precision, source.bias)
    fields = range((source.max_code >> source.fraction_bits) + 1)
    drops = np.array([drop_of(max(field, 1), place) for field in fields])
    zeros = np.arange(1 << source.fraction_bits.bit_length())
    cells = zeros[None, :] >= drops[:, None]
    cells[0, source.fraction_bits] = False  # zero itself
    cells[np.array(fields) > binade(target.max) + source.bias] = False
    return np.asarray(cells)


def binades(seen: Evidence) -> dict[int, int]:
    """How many finite nonzero elements each binade has, but the source's subnormals."""
    positive, negative = np.split(seen.joint, 2)
    totals = (positive + negative).sum(axis=1)
    last = seen.source.max_code >> seen.source.fraction_bits
    bias = seen.source.bias
    return {field - bias: int(totals[field]) for field in range(1, last + 1) if totals[field]}


def subnormal_binades(x: Array) -> dict[int, int]:
    """The binades of contiguous float32 or float64 elements below the least normal number."""
    least = float(NATIVE[x.dtype].least_normal)
    found: dict[int, int] = {}
    for start in range(0, x.size, FOLD):
        part = np.abs(x[start : start + FOLD])
        few = part[(part < least) & (part > 0)]
        add_binades(found, few, np.ones(few.size, np.int64))
    return found


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.

#: What a loop calls for each element; compiled() puts it in place.
one: Any = None


@cache
def _evidence_kernel(carrier: Carrier) -> Any:
    """``(patterns, the joint histogram, thresholds of each sign, their counts)``."""
    return compiled(_evidence_loop, f"evidence_{carrier.name}", _evidence_of_leaf(carrier))


def _evidence_loop(bits, joint, both, positive, negative, in_both, in_positive, in_negative):
    wide_vectors()
    owned, twin = np.empty(LEAF, np.int32), np.zeros_like(joint)
    bits, cells, joints = borrowed(bits), borrowed(owned), (borrowed(joint), borrowed(twin))
    both, positive, negative = borrowed(both), borrowed(positive), borrowed(negative)
    for start in range(0, bits.size, LEAF):
        part = bits[start : start + LEAF]
        one(part, cells, joints, both, positive, negative, in_both, in_positive, in_negative)
    for i in range(joint.size):
        joint[i] += twin[i]
    keep(owned)


def _evidence_of_leaf(carrier: Carrier) -> Any:
    count_cells, count_reaching = _cells_of_leaf(carrier), _reaching_of_leaf(carrier)
    magnitudes = (1 << carrier.source.magnitude_bits) - 1
    sign_bit = -(1 << carrier.source.magnitude_bits)

    @jitable
    def leaf(part, cells, joints, both, positive, negative, in_both, in_positive, in_negative):
        count_cells(part, cells, joints)
        count_reaching(part, 0, magnitudes, both, in_both)
        count_reaching(part, 0, -1, positive, in_positive)
        count_reaching(part, sign_bit, -1, negative, in_negative)

    return leaf


def _cells_of_leaf(carrier: Carrier) -> Any:
    fraction_bits = carrier.source.fraction_bits
    zeros_bits = fraction_bits.bit_length()
    rows = (2 << carrier.source.exponent_bits) - 1
    widen, store = carrier.widen, carrier.store

    @jitable
    def count_cells(part, cells, joints):
        """The joint histogram: first all cells, which is vector code, then the counts.

        Those of neighbours go to two histograms: one cell is not counted up twice in a row.
        """
        wide_vectors()
        for i in range(part.size):
            pattern = widen(part[i])
            zeros = trailing_zeros(pattern | (1 << fraction_bits))
            cells[i] = store((((pattern >> fraction_bits) & rows) << zeros_bits) + zeros)
        joint, twin = joints
        for i in range(np.uint64(part.size // 2)):
            joint[np.uint32(cells[i + i])] += 1
            twin[np.uint32(cells[i + i + np.uint64(1)])] += 1
        if part.size % 2:
            joint[cells[part.size - 1]] += 1

    return count_cells


def _reaching_of_leaf(carrier: Carrier) -> Any:
    widen, store = carrier.widen, carrier.store

    @jitable
    def count_reaching(part, flip, kept, thresholds, counts):
        """Magnitudes at or beyond each threshold; of the other sign, patterns are below all."""
        wide_vectors()
        largest = widen(0)
        for i in range(part.size):
            magnitude = (widen(part[i]) ^ flip) & kept
            largest = magnitude if magnitude > largest else largest
        for t in range(0, thresholds.size, ABREAST):
            if largest < thresholds[t]:  # they ascend
                break
            t0, t1, t2, t3 = thresholds[t], thresholds[t + 1], thresholds[t + 2], thresholds[t + 3]
            t4, t5, t6, t7 = (
                thresholds[t + 4],
                thresholds[t + 5],
                thresholds[t + 6],
                thresholds[t + 7],
            )
            n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = widen(0)
            for i in range(part.size):
                magnitude = (widen(part[i]) ^ flip) & kept
                n0 = n0 + widen(magnitude >= t0)
                n1 = n1 + widen(magnitude >= t1)
                n2 = n2 + widen(magnitude >= t2)
                n3 = n3 + widen(magnitude >= t3)
                n4 = n4 + widen(magnitude >= t4)
                n5 = n5 + widen(magnitude >= t5)
                n6 = n6 + widen(magnitude >= t6)
                n7 = n7 + widen(magnitude >= t7)
            counts[t] += store(n0)
            counts[t + 1] += store(n1)
            counts[t + 2] += store(n2)
            counts[t + 3] += store(n3)
            counts[t + 4] += store(n4)
            counts[t + 5] += store(n5)
            counts[t + 6] += store(n6)
            counts[t + 7] += store(n7)

    return count_reaching
