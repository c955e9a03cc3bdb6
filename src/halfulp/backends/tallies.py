"""L1: which road the tally of an array takes, and the sum over its stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.backends import evidence, narrow
from halfulp.backends.classes import FOLD, Classes, classes_seen
from halfulp.backends.error_sums import Sums, error_sums
from halfulp.backends.numpy import NATIVE, check_dtype, stretches, widening
from halfulp.casting import Cast

Array = npt.NDArray[Any]


@dataclass
class Part:
    """What was counted of one cast so far."""

    classes: dict[int, Classes] = field(default_factory=dict)
    binades: dict[int, int] = field(default_factory=dict)
    sums: Sums | None = None

    def add(self, classes: dict[int, Classes]) -> None:
        """Add the classes of another stretch."""
        for sign, counted in classes.items():
            had = self.classes.get(sign, Classes(*[0] * len(Classes._fields)))
            self.classes[sign] = Classes(*(a + b for a, b in zip(had, counted, strict=True)))

    def add_sums(self, later: Sums) -> None:
        """Add the sums of a stretch that follows."""
        had = self.sums
        if had is None:
            self.sums = later
            return
        worst = later if later.largest > had.largest else had
        self.sums = Sums(
            had.compared + later.compared,
            had.error + later.error,
            had.squared_error + later.squared_error,
            had.signal + later.signal,
            worst.largest,
            worst.where,
        )


def tally_array(
    x: Any, casts: Sequence[Cast], seed: int, *, errors: bool
) -> tuple[str, list[Part]]:
    """The name of the source dtype, and what each cast does to its elements.

    Raises HalfulpError for what is no array of floats, and for formats too wide for arrays.
    """
    array = np.asanyarray(x)
    check_dtype(array)
    name = array.dtype.name
    native = array.dtype.newbyteorder("=")
    counted = [i for i, cast in enumerate(casts) if native not in NATIVE and not cast.is_stochastic]
    parts = [Part() for _ in casts]
    if counted:
        _count(array, casts, counted, parts, errors)
    rest = [i for i in range(len(casts)) if i not in counted]
    for first, stretch in _wide_stretches(array) if rest else ():
        _look(stretch, first, casts, rest, parts, seed, errors)
    return name, parts


def _count(
    x: Array, casts: Sequence[Cast], chosen: list[int], parts: list[Part], errors: bool
) -> None:
    """Narrow dtypes: one histogram of patterns, then each cast over the patterns."""
    dtype = x.dtype.newbyteorder("=")
    counts = sum(
        (narrow.pattern_counts(part) for _, part in stretches(x, FOLD)),
        np.zeros(1 << (8 * dtype.itemsize), np.int64),
    )
    binades = narrow.counted_binades(counts, dtype)
    for i in chosen:
        parts[i].add(narrow.classes_counted(counts, casts[i], dtype))
        parts[i].binades = binades
    if errors:
        found = [narrow.sums_counted(counts, casts[i], dtype) for i in chosen]
        wheres = [-1] * len(chosen)
        for first, part in stretches(x, FOLD):
            missing = [p if at < 0 else -1 for (_, p), at in zip(found, wheres, strict=True)]
            here = narrow.first_of(part, first, missing)
            wheres = [max(at, new) for at, new in zip(wheres, here, strict=True)]
        for i, (sums, _), where in zip(chosen, found, wheres, strict=True):
            parts[i].sums = sums._replace(where=where)


def _wide_stretches(x: Array) -> Any:
    """Float32 or float64 stretches; narrow dtypes are widened, a fold at a time."""
    dtype = x.dtype.newbyteorder("=")
    if dtype in NATIVE:
        yield from stretches(x, FOLD)
        return
    widen = widening(dtype, np.dtype(np.float32))
    for first, stretch in stretches(x, FOLD):
        for start in range(0, stretch.size, FOLD):
            part = stretch[start : start + FOLD]
            wide = np.empty(part.size, np.float32)
            widen(part, wide, 0)
            yield first + start, wide


def _look(
    x: Array, first: int, casts: Sequence[Cast], chosen: list[int], parts: list[Part], seed: int,
    errors: bool,
) -> None:  # fmt: skip
    seen = evidence.evidence(x, [casts[i] for i in chosen])
    binades = dict(evidence.binades(seen))
    if evidence.has_subnormals(seen):
        binades.update(evidence.subnormal_binades(x))
    for i in chosen:
        told = evidence.is_told(casts[i], seen)
        classes = (
            evidence.classes_told(casts[i], seen)
            if told
            else classes_seen(x, first, casts[i], seed)
        )
        parts[i].add(classes)
        for exponent, count in binades.items():
            parts[i].binades[exponent] = parts[i].binades.get(exponent, 0) + count
    if errors:
        found = error_sums(x, first, [casts[i] for i in chosen], seed)
        for i, sums in zip(chosen, found, strict=True):
            parts[i].add_sums(sums)
