"""L1: what a cast does to many values, counted: the passes over arrays behind a tally.

A deterministic cast is decided by little of a value. Whether it is exact depends on the exponent
and the trailing zeros of its significand, so one joint histogram of the two serves every format at
once; what underflows, is subnormal or overflows are stretches of the ordered magnitudes, so a few
thresholds are counted beside it. Values of 16 bits and fewer have so few patterns that their
histogram holds everything. What draws random bits is cast and looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba.extending import register_jitable

from halfulp.backends.kernels import (
    FLOAT32,
    FLOAT64,
    carrier_of,
    cast_kernel,
    cast_one,
    compiled,
    flat_plan,
    flattened,
    named,
    unflattened,
)
from halfulp.backends.lanes import trailing_zeros, wide_vectors
from halfulp.backends.numpy import (
    NATIVE,
    cast_array,
    codes_of,
    every_pattern,
    in_threads,
    widening,
)
from halfulp.carrier import drop_of, placement
from halfulp.casting import Cast, Fate, number_code
from halfulp.catalogue import Format, binade
from halfulp.errors import HalfulpError
from halfulp.exact import finite, number
from halfulp.patterns import Carrier, Shape, plan, shape_of

Array = npt.NDArray[Any]

# The signs that are counted: both at once, or one.
BOTH = -1
SIGNS = (BOTH, 0, 1)
# Elements whose sums are one tree: three float64 blocks of them fit the first-level cache.
LEAF = 1024
# Elements whose trees are added up in order, and the least that goes to a thread.
FOLD = 64 * LEAF
# Thresholds that are counted together.
ABREAST = 8


class Classes(NamedTuple):
    """How many elements; all but the last exclude one another."""

    zero: int
    exact: int  # nonzero and unchanged
    underflow: int  # nonzero and made zero
    overflow: int  # finite and beyond what rounds to the largest number
    inexact: int  # changed, but neither of these
    infinite: int
    nan: int
    subnormal: int  # of the exact and inexact: the result is subnormal


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


def _lacks(cast: Cast, sign: int) -> bool:
    """Whether numbers of a sign have no place in the target."""
    return sign == 1 and not cast.target.signed and cast.policy.negative is not Fate.MAGNITUDE


def _asked(cast: Cast, source: Format) -> set[tuple[int, int]]:
    """The thresholds that the joint histogram does not answer."""
    asked = set()
    for sign in signs_of(cast):
        if _lacks(cast, sign):
            continue
        kept, normal, over, gaps = edges(cast, source, sign == 1)
        for pattern in (kept, normal, over, *gaps, *(gap + 1 for gap in gaps)):
            if not _on_binade(pattern, source):
                asked.add((sign, pattern))
    return asked


KINDS = len(Classes._fields) - 1


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
        joint = np.zeros((4, shape[0] * shape[1]), np.int64)
        counts = [np.zeros(len(group), np.int64) for group in thresholds]
        kernel(bits[start:end], joint, *thresholds, *counts)
        return joint.sum(axis=0), *counts

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
    if _lacks(cast, sign):
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


# What casts make of values, looked at one by one.


def classes_seen(x: Array, first: int, cast: Cast, seed: int) -> dict[int, Classes]:
    """The classes of contiguous float32 or float64 elements under any cast, by sign.

    ``first`` is the index of the first element, for the noise of its rounding.
    """
    total = np.zeros((2, len(Classes._fields)), np.int64)
    for start in range(0, x.size, FOLD):
        part = x[start : start + FOLD]
        kinds, is_subnormal = _kinds(part, _marked(part, first + start, cast, seed), cast)
        for sign, of_sign in enumerate((~np.signbit(part), np.signbit(part))):
            total[sign, :-1] += np.bincount(kinds[of_sign], minlength=len(Classes._fields) - 1)
            total[sign, -1] += np.count_nonzero(is_subnormal & of_sign)
    return {sign: Classes(*map(int, row)) for sign, row in enumerate(total)}


def _marked(x: Array, first: int, cast: Cast, seed: int) -> Array:
    """The values of a cast, but what overflows is infinite, whatever else becomes of it."""
    carrier = carrier_for(cast, x.dtype)
    infinity = number_code(carrier.source, number("inf"))
    made = plan(cast, carrier, seed, codes=False)
    beyond = made.outcome._replace(over=infinity)
    if not _lacks(cast, 1):
        beyond = beyond._replace(over_negative=infinity - (1 << carrier.source.magnitude_bits))
    bits = np.dtype(f"int{8 * x.dtype.itemsize}")
    out = np.empty_like(x)
    flat = flattened(made._replace(outcome=beyond))
    cast_kernel(cast, carrier, codes=False)(x.view(bits), out.view(bits), first, flat)
    return out


def _kinds(x: Array, marked: Array, cast: Cast) -> tuple[Array, Array]:
    """The field of Classes that each value belongs to, and whether its result is subnormal."""
    kinds = np.full(x.shape, Classes._fields.index("inexact"), np.intp)
    for name, belongs in (
        ("exact", marked == x),
        ("underflow", marked == 0),
        ("overflow", np.isinf(marked)),
        ("zero", x == 0),
        ("infinite", np.isinf(x)),
        ("nan", np.isnan(x)),
    ):
        kinds[belongs] = Classes._fields.index(name)
    least = float(cast.target.least_normal) if cast.target.subnormals else 0.0
    return kinds, (np.abs(marked) < least) & (marked != 0)


def carrier_for(cast: Cast, dtype: np.dtype[Any]) -> Carrier:
    """The carrier of a cast from float32 or float64.

    Raises HalfulpError for formats too wide for arrays.
    """
    carrier = carrier_of(NATIVE[dtype], cast)
    if carrier is None:
        raise HalfulpError(f"{cast.target} is too wide to be tallied from {dtype} arrays")
    return carrier


# Sums of errors.


class Sums(NamedTuple):
    """The float sums of one cast over all elements whose value and result are finite."""

    compared: int
    error: float  # of result - value
    squared_error: float
    signal: float  # of squared values
    largest: float  # |error| / |value|
    where: int  # of the first element with that; -1 where there is no error


def error_sums(x: Array, first: int, casts: Sequence[Cast], seed: int) -> list[Sums]:
    """The sums of contiguous float32 or float64 elements under each cast.

    Each stretch of 1,024 elements is folded as a binary tree (i with i + 512, then i + 256, …),
    64 such stretches are added in order, and so are theirs: for any number of threads.
    """
    bits = x.view(np.dtype(f"int{8 * x.dtype.itemsize}"))
    groups: dict[tuple[Carrier, Shape], list[int]] = {}
    for i, cast in enumerate(casts):
        carrier = carrier_for(cast, x.dtype)
        groups.setdefault((carrier, shape_of(cast, carrier, codes=False)), []).append(i)
    found: list[Sums] = [Sums(0, 0.0, 0.0, 0.0, 0.0, -1)] * len(casts)
    for (carrier, shape), members in groups.items():
        flats = np.stack([flat_plan(casts[i], carrier, seed, codes=False) for i in members])
        kernel = _sums_kernel(carrier, shape)
        for i, sums in zip(members, _group_sums(bits, x, first, flats, kernel), strict=True):
            found[i] = sums
    return found


def _group_sums(bits: Array, x: Array, first: int, flats: Array, kernel: Any) -> list[Sums]:
    folds = -(-x.size // FOLD)

    def work(start: int, end: int) -> tuple[Array, Array, Array]:
        part = slice(start * FOLD, min(end * FOLD, x.size))
        sums = np.zeros((end - start, len(flats), 3))
        compared = np.zeros(len(flats), np.int64)
        worst, where = np.zeros(len(flats)), np.full(len(flats), -1, np.int64)
        kernel(bits[part], x[part], first + part.start, flats, sums, compared, worst, where)
        return sums, compared, np.stack([worst, where.astype(np.float64)])

    parts = in_threads(folds, work, piece=1) if folds else []
    made = []
    for f in range(len(flats)):
        ordered = [sums[:, f] for sums, _, _ in parts]
        # accumulate adds one after the other, where sum would choose an order of its own.
        totals = np.add.accumulate(np.concatenate([np.zeros((1, 3)), *ordered]))[-1]
        largest = max((float(worst[0, f]) for _, _, worst in parts), default=0.0)
        at = [int(worst[1, f]) for _, _, worst in parts if worst[0, f] == largest and largest]
        compared = sum(int(count[f]) for _, count, _ in parts)
        made.append(Sums(compared, *map(float, totals), largest, at[0] if at else -1))
    return made


# Narrow sources, from the histogram of all their patterns.


def pattern_counts(x: Array) -> Array:
    """How often each pattern of a dtype of 8 or 16 bits occurs among contiguous elements."""
    codes, kernel = x.view(codes_of(x.dtype)), _patterns_kernel()
    size = 1 << (8 * x.dtype.itemsize)

    def work(start: int, end: int) -> Array:
        counts = np.zeros((2, size), np.int64)
        kernel(codes[start:end], counts)
        return counts.sum(axis=0)

    return np.asarray(sum(in_threads(x.size, work)))


class Outcomes(NamedTuple):
    """What a deterministic cast makes of every pattern of a narrow dtype."""

    kinds: Array  # the field of Classes, and as many more for a negative value
    subnormal: Array
    values: Array  # float64
    errors: Array  # float64; 0 where value or result is not finite
    compared: Array  # both finite


@lru_cache(maxsize=128)
def outcomes(cast: Cast, dtype: np.dtype[Any]) -> Outcomes:
    """Every pattern of a dtype under a cast, looked at for itself."""
    every = every_pattern(dtype)
    wide = np.empty(every.shape, np.float32)
    widening(dtype, wide.dtype)(every, wide, 0)
    kinds, is_subnormal = _kinds(wide, _marked(wide, 0, cast, 0), cast)
    kinds += np.signbit(wide) * KINDS
    with np.errstate(invalid="ignore"):  # of NaN and infinities, which are left out
        values, results = wide.astype(np.float64), cast_array(wide, cast).astype(np.float64)
        compared = np.isfinite(values) & np.isfinite(results)
        errors = np.where(compared, results - values, 0.0)
    return Outcomes(kinds, is_subnormal, np.where(compared, values, 0.0), errors, compared)


def classes_counted(counts: Array, cast: Cast, dtype: np.dtype[Any]) -> dict[int, Classes]:
    """The classes of an array whose patterns were counted, by sign."""
    present = np.flatnonzero(counts)
    o, often = outcomes(cast, dtype), counts[present]
    kinds = o.kinds[present]
    totals = np.zeros(2 * KINDS, np.int64)
    np.add.at(totals, kinds, often)
    subnormal = often * o.subnormal[present]
    by_sign = [int(subnormal[(kinds >= KINDS) == sign].sum()) for sign in (False, True)]
    return {
        sign: Classes(*map(int, totals[sign * KINDS : (sign + 1) * KINDS]), by_sign[sign])
        for sign in (0, 1)
    }


def sums_counted(counts: Array, cast: Cast, dtype: np.dtype[Any]) -> tuple[Sums, int]:
    """The error sums of such an array, patterns in ascending order; and the worst pattern.

    ``where`` of the sums is left open (-1): the array has to be searched for that pattern.
    """
    present = np.flatnonzero(counts)
    o, often = outcomes(cast, dtype), counts[present].astype(np.float64)
    errors, values = o.errors[present], o.values[present]
    columns = np.stack([errors * often, errors**2 * often, values**2 * often], axis=1)
    totals = np.add.accumulate(np.concatenate([np.zeros((1, 3)), columns]))[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(errors != 0, np.abs(errors) / np.abs(values), 0.0)
    worst = int(relative.argmax()) if relative.size else 0
    largest = float(relative[worst]) if relative.size else 0.0
    compared = int(counts[present][o.compared[present]].sum())
    pattern = int(present[worst]) if largest else -1
    return Sums(compared, *map(float, totals), largest, -1), pattern


def first_with(x: Array, first: int, pattern: int) -> int:
    """The index of the first element with a pattern, or -1."""
    codes = x.view(codes_of(x.dtype))
    for start in range(0, codes.size, FOLD):
        found = codes[start : start + FOLD] == pattern
        if found.any():
            return first + start + int(found.argmax())
    return -1


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
        _add_binades(found, few, np.ones(few.size, np.int64))
    return found


def counted_binades(counts: Array, dtype: np.dtype[Any]) -> dict[int, int]:
    """The binades of an array whose patterns were counted."""
    present = np.flatnonzero(counts)
    wide = np.empty(counts.size, np.float32)
    widening(dtype, wide.dtype)(every_pattern(dtype), wide, 0)
    values = np.abs(wide[present].astype(np.float64))
    ordinary = np.isfinite(values) & (values > 0)
    found: dict[int, int] = {}
    _add_binades(found, values[ordinary], counts[present][ordinary])
    return found


def _add_binades(found: dict[int, int], sizes: Array, often: Array) -> None:
    exponents = np.frexp(sizes.astype(np.float64))[1] - 1
    for exponent in np.unique(exponents):
        total = int(often[exponents == exponent].sum())
        found[int(exponent)] = found.get(int(exponent), 0) + total


# mypy: disable-error-code="no-untyped-def, no-untyped-call"
# Numba infers the types of what follows.

#: What a loop calls for each element; compiled() puts it in place.
one: Any = None


@cache
def _evidence_kernel(carrier: Carrier) -> Any:
    """``(patterns, quarters of the joint histogram, thresholds of each sign, their counts)``."""
    return compiled(_evidence_loop, f"evidence_{carrier.name}", _evidence_of_leaf(carrier))


def _evidence_loop(bits, joint, both, positive, negative, in_both, in_positive, in_negative):
    wide_vectors()
    cells = np.empty(LEAF, np.int32)
    for start in range(0, bits.size, LEAF):
        part = bits[start : start + LEAF]
        one(part, cells, joint, BOTH, both, in_both)
        one(part, cells, joint, 0, positive, in_positive)
        one(part, cells, joint, 1, negative, in_negative)


def _evidence_of_leaf(carrier: Carrier) -> Any:
    fraction_bits = carrier.source.fraction_bits
    zeros_bits = fraction_bits.bit_length()
    rows = (2 << carrier.source.exponent_bits) - 1
    magnitudes = (1 << carrier.source.magnitude_bits) - 1
    widen, store = carrier.widen, carrier.store

    @register_jitable
    def count_cells(part, cells, joint):
        """The joint histogram, in quarters: an element seldom waits for those before it."""
        for i in range(part.size):
            pattern = widen(part[i])
            zeros = trailing_zeros(pattern | (1 << fraction_bits))
            cells[i] = store((((pattern >> fraction_bits) & rows) << zeros_bits) + zeros)
        whole = part.size & ~3
        for i in range(0, whole, 4):
            joint[0, cells[i]] += 1
            joint[1, cells[i + 1]] += 1
            joint[2, cells[i + 2]] += 1
            joint[3, cells[i + 3]] += 1
        for i in range(whole, part.size):
            joint[0, cells[i]] += 1

    @register_jitable
    def magnitude_of(bits, sign):
        """The magnitude, or nothing where a pattern has the other sign."""
        pattern = widen(bits)
        return (pattern & magnitudes) * widen((sign < 0) | ((pattern < 0) == (sign > 0)))

    @register_jitable
    def count_reaching(part, sign, thresholds, counts):
        for t in range(0, thresholds.size, ABREAST):
            t0, t1, t2, t3 = thresholds[t], thresholds[t + 1], thresholds[t + 2], thresholds[t + 3]
            t4, t5, t6, t7 = (
                thresholds[t + 4], thresholds[t + 5], thresholds[t + 6], thresholds[t + 7],
            )  # fmt: skip
            n0 = n1 = n2 = n3 = n4 = n5 = n6 = n7 = widen(0)
            for i in range(part.size):
                magnitude = magnitude_of(part[i], sign)
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

    @register_jitable
    def leaf(part, cells, joint, sign, thresholds, counts):
        if sign < 0:
            count_cells(part, cells, joint)
        count_reaching(part, sign, thresholds, counts)

    return leaf


@cache
def _patterns_kernel() -> Any:
    """``(codes of 8 or 16 bits, two rows of counts)``."""
    return compiled(_patterns_loop, "patterns")


def _patterns_loop(codes, counts):
    whole = codes.size & ~1
    for i in range(0, whole, 2):
        counts[0, codes[i]] += 1
        counts[1, codes[i + 1]] += 1
    for i in range(whole, codes.size):
        counts[0, codes[i]] += 1


@cache
def _sums_kernel(carrier: Carrier, shape: Shape) -> Any:
    """``(patterns, values, index of the first, flat plans, sums [fold, cast, 3], compared, largest
    relative errors, where)``.
    """
    return compiled(_sums_loop, f"sums_{named(carrier, shape)}", cast_one(carrier, shape))


@register_jitable
def tree(leaf):
    """The sum of a leaf, folded in halves; it is overwritten."""
    half = leaf.size // 2
    while half:
        for i in range(half):
            leaf[i] += leaf[i + half]
        half //= 2
    return leaf[0]


def _sums_loop(bits, values, first, flats, sums, compared, largest, where):
    wide_vectors()
    made = np.empty(LEAF, bits.dtype)
    results = made.view(values.dtype)
    x, errors, squares = np.zeros(LEAF), np.zeros(LEAF), np.zeros(LEAF)
    for start in range(0, bits.size, LEAF):
        part, given = bits[start : start + LEAF], values[start : start + LEAF]
        size = part.size
        for i in range(size):
            value = np.float64(given[i])
            x[i] = value if np.abs(value) < np.inf else np.nan
            squares[i] = value * value if np.abs(value) < np.inf else 0.0
        squares[size:] = 0.0
        signal = tree(squares)
        numbers = 0
        for i in range(size):
            numbers += x[i] == x[i]
        for f in range(flats.shape[0]):
            plan = unflattened(flats[f])
            index = first + start
            for i in range(size):
                made[i] = one(part[i], index + i, index >> 32, plan)
            bound = largest[f] * (1 + 2.0**-50)  # beyond rounding: ratios of floats are apart
            both, candidates = 0, 0
            for i in range(size):
                error = np.float64(results[i]) - x[i]
                ok = np.abs(error) < np.inf
                error = error if ok else 0.0
                errors[i] = error
                squares[i] = error * error
                both += ok
                candidates += np.abs(error) > bound * np.abs(x[i])
            if candidates:
                for i in range(size):
                    error = np.abs(errors[i])
                    if error > 0 and error / np.abs(x[i]) > largest[f]:
                        largest[f] = error / np.abs(x[i])
                        where[f] = index + i
            errors[size:] = 0.0
            squares[size:] = 0.0
            own = signal
            row = sums[start // FOLD, f]
            row[0] += tree(errors)
            row[1] += tree(squares)
            if both < numbers:  # some results are not finite: their values do not count either
                for i in range(size):
                    error = np.float64(results[i]) - x[i]
                    squares[i] = x[i] * x[i] if np.abs(error) < np.inf else 0.0
                squares[size:] = 0.0
                own = tree(squares)
            row[2] += own
            compared[f] += both
