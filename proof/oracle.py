"""What the oracle of the tests says of every pattern of a float, as runs of equal codes.

tests/oracle.py works on Fractions and shares no code with halfulp. Asked number by number it would
take months; but a cast that draws nothing is monotone, so that all inputs between two neighbouring
numbers of a format fall into at most four stretches (the lower number, below half way, half way,
above), and the oracle decides each of them once. Where the stretches begin in the source is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from halfulp.catalogue import Format
from proof.pieces import Array

PATH = Path(__file__).parent.parent / "tests" / "oracle.py"
REFERENCE = "oracle (Fractions)"

_INFINITY = {"float32": 0x7F800000, "float64": 0x7FF << 52}
_BITS: dict[str, np.dtype[Any]] = {"float32": np.dtype(np.uint32), "float64": np.dtype(np.uint64)}


def _load() -> Any:
    spec = spec_from_file_location("proof_oracle", PATH)
    if spec is None or spec.loader is None:
        raise ImportError(f"the oracle of the tests is not at {PATH}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _load()


class Runs(NamedTuple):
    """All patterns of a float in order: where each run of equal answers begins, and the answer."""

    starts: Array  # patterns, of the source's unsigned dtype; the first is 0
    codes: Array  # of the target, of the least unsigned dtype
    values: Array  # the same as patterns of the source; infinite where beyond its range

    def along(self, patterns: Array, answers: Array) -> Array:
        """The answers for patterns in ascending order."""
        first, last = np.searchsorted(self.starts, patterns[[0, -1]], "right")
        edges = np.searchsorted(patterns, self.starts[first:last])
        lengths = np.diff(edges, prepend=0, append=patterns.size)
        return np.repeat(answers[first - 1 : last], lengths)

    def at(self, patterns: Array, answers: Array) -> Array:
        """The answers for patterns in any order."""
        return answers[np.searchsorted(self.starts, patterns, "right") - 1]


@cache
def runs(target: Format, rounding: str, source: str = "float32") -> Runs:
    """What the oracle makes of every pattern of float32 or float64, under the default fates."""
    positive = _half(target, rounding, False, source)
    negative = _half(target, rounding, True, source)
    bits = _BITS[source]
    sign = np.uint64(1 << (8 * bits.itemsize - 1))
    starts = _patterns(positive[0], negative[0] + sign).astype(bits)
    codes = _patterns(positive[1], negative[1])
    fresh = np.append(True, codes[1:] != codes[:-1])
    starts, codes = starts[fresh], codes[fresh]
    with np.errstate(over="ignore"):
        values = meanings(target)[codes].astype(source).view(bits)
    return Runs(starts, codes.astype(code_dtype(target)), values)


class Numbers(NamedTuple):
    """The magnitudes of a format in order, and the one that would follow the largest."""

    codes: Array
    values: Array  # float64, exact; one more than there are codes


@cache
def numbers(target: Format) -> Numbers:
    """Every finite magnitude of a format, in order."""
    codes = [0]
    top = oracle.largest_code(target)
    while codes[-1] < top:
        codes.append(oracle.after(target, codes[-1]))
    following = exact_float(oracle.value_after(target, top))
    return Numbers(np.array(codes, np.uint64), np.append(meanings(target)[codes], following))


def code(target: Format, value: float, rounding: str) -> int:
    """The code of one finite number but zero, as the oracle finds it."""
    found = oracle.round_code(target, Fraction(value), rounding)
    fate = fates(target, value < 0)
    return int({"overflow": fate.over, "least": fate.least}.get(found, found))


@cache
def meanings(target: Format) -> Array:
    """What the oracle says that each code means, as float64."""
    every = (oracle.meaning(target, code) for code in range(1 << target.width))
    return np.array([exact_float(meaning) for meaning in every])


def exact_float(meaning: Fraction | str) -> float:
    """A meaning as a float. Raises ValueError where float64 does not hold it."""
    held = float(meaning)
    if isinstance(meaning, Fraction) and Fraction(held) != meaning:
        raise ValueError(f"{meaning} is no float64")
    return held


class Fates(NamedTuple):
    """The codes, for one sign, of what has no place."""

    zero: int
    least: int  # what is below the least number, where there is no zero
    over: int
    infinite: int
    nan: int


@cache
def fates(target: Format, negative: bool) -> Fates:
    """The default fates, from what the oracle says the codes mean.

    NaN becomes zero of the opposite sign where there is none, as in ml_dtypes. Zero, where there is
    none, and what is negative, where there is no sign, are NaN or else the largest number.
    """
    largest = int(oracle.largest_code(target))
    body = 1 << (target.width - target.signed)
    sign = body if target.signed and negative else 0
    # Minus zero may be NaN, where there are negative codes.
    candidates = range(largest + 1, body + target.signed)
    infinite = _first(target, "inf", candidates)
    nan = _first(target, "nan", candidates)
    if infinite is not None:
        infinite |= sign
    else:
        infinite = largest | sign if nan is None else nan
    unplaced = largest if nan is None else nan
    nan = oracle.signed(target, 0, not negative) if nan is None else nan
    zero = oracle.signed(target, 0, negative and target.signed) if target.zero else unplaced
    if negative and not target.signed:
        return Fates(zero, unplaced, unplaced, unplaced, unplaced)
    return Fates(zero, 0, infinite, infinite, nan)


def _first(target: Format, meaning: str, codes: range) -> int | None:
    return next((code for code in codes if oracle.meaning(target, code) == meaning), None)


def is_nan(target: Format) -> Callable[[Array], Array]:
    """Whether codes are NaN."""
    return lambda codes: np.isnan(meanings(target)[codes])


def code_dtype(target: Format) -> np.dtype[Any]:
    """The least unsigned dtype that holds a format's codes."""
    return np.dtype(next(f"uint{n}" for n in (8, 16, 32, 64) if target.width <= n))


def _half(target: Format, rounding: str, negative: bool, source: str) -> tuple[Array, Array]:
    """The runs of one sign, with magnitudes for patterns: where they begin, and their codes."""
    fate = fates(target, negative)
    listed = numbers(target)
    if negative and not target.signed:
        placed = _patterns([1]), _patterns([fate.least])
    else:
        placed = _between(target, listed, rounding, negative, source)
    infinity = _INFINITY[source]
    finite = placed[0] < infinity
    starts = _patterns([0], placed[0][finite], [infinity, infinity + 1])
    codes = _patterns([fate.zero], placed[1][finite], [fate.infinite, fate.nan])
    last = np.append(starts[1:] != starts[:-1], True)  # of those that begin at the same pattern
    return starts[last], codes[last]


def _patterns(*parts: Any) -> Array:
    """Parts one after another, which NumPy would make floats of where they differ in dtype."""
    return np.concatenate([np.asarray(part, np.uint64) for part in parts])


def _between(
    target: Format, listed: Numbers, rounding: str, negative: bool, source: str
) -> tuple[Array, Array]:
    """The stretches between a format's numbers, as the oracle decides them."""
    fate = fates(target, negative)
    low = listed.values[:-1]
    middle = low + np.diff(listed.values) / 2  # a difference of neighbours has few bits
    at_low, exact_low = first_patterns(low, source)
    at_middle, exact_middle = first_patterns(middle, source)
    beyond_top, _ = first_patterns(listed.values[-1:], source)
    top = listed.codes == listed.codes[-1]
    after = np.append(listed.codes[1:], listed.codes[-1])
    odd = listed.codes % 2 == 1
    sign = oracle.signed(target, 1, negative) - 1  # the sign bit, if it is set
    kept = listed.codes | np.uint64(sign)
    taken = np.where(top, fate.over, after | np.uint64(sign)).astype(np.uint64)
    if target.zero:
        kept[0] = oracle.signed(target, 0, negative)
    stays = top & (rounding == "to_odd")

    def decided(place: int) -> Array:
        up = [bool(oracle.goes_up(rounding, place, is_odd, negative)) for is_odd in (False, True)]
        return np.where(np.where(odd, up[1], up[0]) & ~stays, taken, kept)

    starts = np.stack(
        [at_low, at_low + exact_low, at_middle, at_middle + exact_middle], axis=1
    ).reshape(-1)  # fmt: skip
    codes = np.stack([kept, decided(-1), decided(0), decided(1)], axis=1).reshape(-1)
    # Beyond what would follow the largest number, either it or overflow, whatever the place.
    following = Fraction(listed.values[-1]) * (-1 if negative else 1)
    beyond = oracle.round_code(target, following, rounding)
    starts = _patterns(starts, beyond_top)
    codes = _patterns(codes, [fate.over if beyond == "overflow" else beyond])
    if target.zero:
        return starts, codes
    # What is less than the least number becomes it.
    return _patterns([1], starts), _patterns([fate.least], codes)


def first_patterns(values: Array, source: str) -> tuple[Array, Array]:
    """The first pattern of a source at or above each positive float64, and whether it is at it."""
    with np.errstate(over="ignore", under="ignore"):
        nearest = values.astype(source)
    patterns = nearest.view(_BITS[source]).astype(np.uint64)
    held = nearest.astype(np.float64)
    return patterns + (held < values), (held == values).astype(np.uint64)
