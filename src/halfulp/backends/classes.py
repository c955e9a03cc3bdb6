"""L1: what casts make of values, in classes: looked at one by one.

This is the road that every cast can take, random ones too; evidence.py and narrow.py are faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends.kernels import (
    carrier_of,
    cast_kernel,
    flattened,
)
from halfulp.backends.numpy import (
    NATIVE,
)
from halfulp.casting import Cast, Fate, number_code
from halfulp.errors import HalfulpError
from halfulp.exact import number
from halfulp.patterns import Carrier, plan

Array = npt.NDArray[Any]

# Elements whose float sums are one tree: three float64 blocks of them fit the first-level cache.
LEAF = 1024
# Elements whose trees are added up in order, and what is looked at or widened at a time.
FOLD = 64 * LEAF
# Elements that 32-bit counters hold, whatever they are; wider ones take more of the caches.
MOST = 1 << 31


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


KINDS = len(Classes._fields) - 1


def lacks(cast: Cast, sign: int) -> bool:
    """Whether numbers of a sign have no place in the target."""
    return sign == 1 and not cast.target.signed and cast.policy.negative is not Fate.MAGNITUDE


def carrier_for(cast: Cast, dtype: np.dtype[Any]) -> Carrier:
    """The carrier of a cast from float32 or float64.

    Raises HalfulpError for formats too wide for arrays.
    """
    carrier = carrier_of(NATIVE[dtype], cast)
    if carrier is None:
        raise HalfulpError(f"{cast.target} is too wide to be tallied from {dtype} arrays")
    return carrier


def classes_seen(x: Array, first: int, cast: Cast, seed: int) -> dict[int, Classes]:
    """The classes of contiguous float32 or float64 elements under any cast, by sign.

    ``first`` is the index of the first element, for the noise of its rounding.
    """
    total = np.zeros((2, len(Classes._fields)), np.int64)
    for start in range(0, x.size, FOLD):
        part = x[start : start + FOLD]
        kinds, is_subnormal = kinds_of(part, marked(part, first + start, cast, seed), cast)
        for sign, of_sign in enumerate((~np.signbit(part), np.signbit(part))):
            total[sign, :-1] += np.bincount(kinds[of_sign], minlength=len(Classes._fields) - 1)
            total[sign, -1] += np.count_nonzero(is_subnormal & of_sign)
    return {sign: Classes(*map(int, row)) for sign, row in enumerate(total)}


def marked(x: Array, first: int, cast: Cast, seed: int) -> Array:
    """The values of a cast, but what overflows is infinite, whatever else becomes of it."""
    carrier = carrier_for(cast, x.dtype)
    infinity = number_code(carrier.source, number("inf"))
    made = plan(cast, carrier, seed, codes=False)
    beyond = made.outcome._replace(over=infinity)
    if not lacks(cast, 1):
        beyond = beyond._replace(over_negative=infinity - (1 << carrier.source.magnitude_bits))
    bits = np.dtype(f"int{8 * x.dtype.itemsize}")
    out = np.empty_like(x)
    flat = flattened(made._replace(outcome=beyond))
    cast_kernel(cast, carrier, codes=False)(x.view(bits), out.view(bits), first, flat)
    return out


def kinds_of(x: Array, marked: Array, cast: Cast) -> tuple[Array, Array]:
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


def add_binades(found: dict[int, int], sizes: Array, often: Array) -> None:
    """Add the binades of positive numbers, each so often, to those found so far."""
    exponents = np.frexp(sizes.astype(np.float64))[1] - 1
    for exponent in np.unique(exponents):
        total = int(often[exponents == exponent].sum())
        found[int(exponent)] = found.get(int(exponent), 0) + total
