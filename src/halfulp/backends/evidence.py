"""L1: evidence from one pass over wide floats, enough to tally any number of casts.

A deterministic cast is decided by little of a value. Whether it is exact depends on the exponent
and the trailing zeros of its significand, so one joint histogram of the two serves every format at
once; what underflows, is subnormal or overflows are stretches of the ordered magnitudes, so a few
thresholds are counted beside it.
"""

from __future__ import annotations

import math
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
from halfulp.backends.lanes import leading_ones, ones_of, trailing_zeros, wide_vectors
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
ABREAST = 4
# From how many elements on a wider histogram pays, and how many numbers of leading ones it tells.
MANY, RANKS = 1 << 18, 7


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
    return pattern & ((1 << source.fraction_bits) - 1) <= 1


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
    """One pass over contiguous float32 or float64 elements, for all casts that are told by it.

    Thresholds among the subnormals of the source take a second one where there are any.
    """
    source = NATIVE[x.dtype]
    for cast in casts:
        carrier_for(cast, x.dtype)
    asked = {k for cast in casts if not cast.is_stochastic for k in _asked(cast, source)}
    deep = {(sign, pattern) for sign, pattern in asked if pattern >> source.fraction_bits == 0}
    ranks = _ranks(asked - deep, source) if x.size >= MANY and x.dtype.itemsize == 4 else []
    ranked = {key for key in asked - deep if _leading_ones(key[1], source)[0] in ranks}
    cells, reaching = _counted(x, asked - deep - ranked, ranks)
    seen = Evidence(source, np.ascontiguousarray(cells.sum(axis=1).T), reaching)
    reaching.update(_reaching_told(cells, ranked, ranks, source))
    if has_subnormals(seen):
        reaching.update(_counted(x, deep, [])[1])
    else:
        reaching.update({key: int(_of_sign(seen.joint, key[0])[1:].sum()) for key in deep})
    return seen


def _counted(
    x: Array, asked: set[tuple[int, int]], ranks: list[int]
) -> tuple[Array, dict[tuple[int, int], int]]:
    """The histogram of trailing zeros, ranks of leading ones, and signs and exponents together;
    and how many elements reach each threshold.
    """
    source = NATIVE[x.dtype]
    groups = [sorted(pattern for s, pattern in asked if s == sign) for sign in SIGNS]
    bits = x.view(np.dtype(f"int{8 * x.dtype.itemsize}"))
    thresholds = [_padded(group, bits.dtype) for group in groups]
    kernel = _evidence_kernel(FLOAT32 if x.dtype.itemsize == 4 else FLOAT64)
    told = sum(1 << rank for rank in ranks), len(ranks).bit_length()
    shape = source.fraction_bits + 1, 1 << told[1], 2 << source.exponent_bits

    def work(start: int, end: int) -> tuple[list[Array], list[Array]]:
        counts = [np.zeros(len(group), np.int64) for group in thresholds]
        joints = []
        for first in range(start, end, MOST):
            joints.append(np.zeros(math.prod(shape), np.uint32))
            kernel(bits[first : min(end, first + MOST)], joints[-1], told, *thresholds, *counts)
        return joints, counts

    parts = in_threads(x.size, work)
    joint = np.zeros(math.prod(shape), np.int64)
    for cells in (cells for joints, _ in parts for cells in joints):
        joint += cells
    counts = [sum(of_group) for of_group in zip(*(found for _, found in parts), strict=True)]
    reaching = {
        (sign, pattern): int(count)
        for sign, group, totals in zip(SIGNS, groups, counts, strict=True)
        for pattern, count in zip(group, totals, strict=False)
    }
    return joint.reshape(shape), reaching


# Most thresholds are next to a power of two: the first number that rounds to it, or half an ulp
# above the largest of a format whose last code is finite. Their fractions are ones and then zeros,
# so that the ones a fraction begins with tell whether it reaches them.


def _leading_ones(pattern: int, source: Format) -> tuple[int, bool]:
    """How many ones a threshold's fraction begins with, and whether they alone are too few.

    No ones where the rest is neither zeros alone nor the next pattern.
    """
    fraction = pattern & ((1 << source.fraction_bits) - 1)
    for beyond in (0, 1):
        ones = (fraction - beyond).bit_count()
        if fraction - beyond == ((1 << ones) - 1) << (source.fraction_bits - ones):
            return ones, bool(beyond)
    return 0, False


def _ranks(asked: set[tuple[int, int]], source: Format) -> list[int]:
    """The numbers of leading ones that tell of the most thresholds, ascending."""
    found = [_leading_ones(pattern, source)[0] for _, pattern in asked]
    often = sorted({ones for ones in found if ones}, key=lambda ones: (-found.count(ones), ones))
    return sorted(often[:RANKS])


def _reaching_told(
    cells: Array, asked: set[tuple[int, int]], ranks: list[int], source: Format
) -> dict[tuple[int, int], int]:
    """How many elements reach thresholds whose leading ones have a rank."""
    by_rank = np.ascontiguousarray(cells.sum(axis=0).T)
    fields, reaching = len(by_rank) // 2, {}
    for sign, pattern in asked:
        (ones, beyond), field = _leading_ones(pattern, source), pattern >> source.fraction_bits
        rank, total = 1 + ranks.index(ones), 0
        for row in (field, fields + field) if sign == BOTH else (sign * fields + field,):
            above = by_rank[row + 1 : row - field + fields].sum()
            # The pattern before the threshold: these ones, and then zeros alone.
            equal = cells[source.fraction_bits - ones, rank, row] if beyond else 0
            total += int(above + by_rank[row, rank:].sum() - equal)
        reaching[sign, pattern] = total
    return reaching


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

    exact = int(finite_joint[exact_cells(cast.target, source)].sum())
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
def exact_cells(target: Format, source: Format) -> Array:
    """Which finite cells of one sign's joint histogram hold nonzero numbers that the target has."""
    place = placement(target, source.precision, source.bias)
    fields = range((source.max_code >> source.fraction_bits) + 1)
    drops = np.array([drop_of(max(field, 1), place) for field in fields])
    zeros = np.arange(source.fraction_bits + 1)
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
    """``(patterns, the joint histogram, which leading ones it tells as a set of bits and how many
    bits their rank has, thresholds of each sign, their counts)``.
    """
    return compiled(_evidence_loop, f"evidence_{carrier.name}", _evidence_of_leaf(carrier))


def _evidence_loop(bits, joint, told, both, positive, negative, in_both, in_positive, in_negative):
    wide_vectors()
    owned, twin = np.empty(LEAF, np.int32), np.zeros_like(joint)
    bits, cells, joints = borrowed(bits), borrowed(owned), (borrowed(joint), borrowed(twin))
    both, positive, negative = borrowed(both), borrowed(positive), borrowed(negative)
    for start in range(0, bits.size, LEAF):
        part = bits[start : start + LEAF]
        one(part, cells, joints, told, both, positive, negative, in_both, in_positive, in_negative)
    for i in range(joint.size):
        joint[i] += twin[i]
    keep(owned)


def _evidence_of_leaf(carrier: Carrier) -> Any:
    count_cells, count_reaching = cells_of_leaf(carrier), reaching_of_leaf(carrier)
    magnitudes = (1 << carrier.source.magnitude_bits) - 1
    sign_bit = -(1 << carrier.source.magnitude_bits)

    @jitable
    def leaf(part, cells, joints, told, *sides):
        both, positive, negative, in_both, in_positive, in_negative = sides
        count_cells(part, cells, joints, told)
        count_reaching(part, 0, magnitudes, both, in_both)
        count_reaching(part, 0, -1, positive, in_positive)
        count_reaching(part, sign_bit, -1, negative, in_negative)

    return leaf


def cells_of_leaf(carrier: Carrier) -> Any:
    """Counts a leaf into the joint histogram, for kernels to call."""
    fraction_bits = carrier.source.fraction_bits
    row_bits = carrier.source.exponent_bits + 1
    widen, store, last = carrier.widen, carrier.store, carrier.bits - 1
    above = carrier.bits - fraction_bits

    @jitable
    def count_cells(part, cells, joints, told):
        """The joint histogram: first all cells, which is vector code, then the counts.

        Those of neighbours go to two histograms: one cell is not counted up twice in a row.
        """
        wide_vectors()
        for i in range(part.size):
            pattern = widen(part[i])
            zeros = trailing_zeros(pattern | (1 << fraction_bits))
            ones = leading_ones(pattern << above)
            rank = ones_of(widen(told[0]) << (last - ones))  # how many of those told it reaches
            # Exponents last: neighbours of a cell that is often counted up are so too.
            cell = ((zeros << told[1]) + rank) << row_bits
            cells[i] = store(cell + ((pattern >> fraction_bits) & ((1 << row_bits) - 1)))
        joint, twin = joints
        for i in range(np.uint64(part.size // 2)):
            joint[np.uint32(cells[i + i])] += 1
            twin[np.uint32(cells[i + i + np.uint64(1)])] += 1
        if part.size % 2:
            joint[cells[part.size - 1]] += 1

    return count_cells


def reaching_of_leaf(carrier: Carrier) -> Any:
    """Counts the magnitudes of a leaf that reach thresholds, for kernels to call."""
    widen, store = carrier.widen, carrier.store

    @jitable
    def count_reaching(part, flip, kept, thresholds, counts):
        """Magnitudes at or beyond each threshold; of the other sign, patterns are below all."""
        wide_vectors()
        if not thresholds.size:
            return
        largest = widen(0)
        for i in range(part.size):
            magnitude = (widen(part[i]) ^ flip) & kept
            largest = magnitude if magnitude > largest else largest
        for t in range(0, thresholds.size, ABREAST):
            if largest < thresholds[t]:  # they ascend
                break
            t0, t1, t2, t3 = thresholds[t], thresholds[t + 1], thresholds[t + 2], thresholds[t + 3]
            n0 = n1 = n2 = n3 = widen(0)
            for i in range(part.size):
                magnitude = (widen(part[i]) ^ flip) & kept
                n0 = n0 + widen(magnitude >= t0)
                n1 = n1 + widen(magnitude >= t1)
                n2 = n2 + widen(magnitude >= t2)
                n3 = n3 + widen(magnitude >= t3)
            counts[t] += store(n0)
            counts[t + 1] += store(n1)
            counts[t + 2] += store(n2)
            counts[t + 3] += store(n3)

    return count_reaching
