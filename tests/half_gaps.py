"""Which updates are lost, told from half the gap to the neighbour: nothing is added or rounded.

A number w of a format takes an update d only if d reaches beyond the midpoint between w and its
neighbour on that side; on the midpoint itself the even code wins. Gaps are powers of two, so that
every comparison is exact. Towards zero the gap at a power of two is half the one away from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from halfulp.casting import cast_to
from halfulp.catalogue import Format, format

Doubles = npt.NDArray[np.float64]


def lost_by_gaps(w: Any, d: Any, target: str | Format) -> npt.NDArray[np.bool_]:
    """As halfulp.training.linting.lost_prediction.lost, which adds."""
    target = format(target)
    weights, updates = np.broadcast_arrays(np.asarray(w, np.float64), np.asarray(d, np.float64))
    finite = np.isfinite(weights)
    held = np.where(finite, weights, 0.0)
    size, towards = np.abs(updates), (held != 0) & (np.signbit(held) != np.signbit(updates))
    half, even = _half_gaps(np.abs(held), towards, target)
    stays = (size < half) | ((size == half) & even) | _beyond_all(held, updates, target)
    found: npt.NDArray[np.bool_] = stays & finite & (updates != 0) & ~np.isnan(updates)
    return found


def _half_gaps(
    held: Doubles, towards: npt.NDArray[np.bool_], target: Format
) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """Half the gap of each magnitude on the side of its update, and whether its code is even."""
    exponent = np.where(held != 0, np.frexp(held)[1] - 1, target.emin)
    exponent = np.maximum(exponent, target.emin)
    last = exponent - target.fraction_bits  # the exponent of the last bit
    significand = np.ldexp(held, -last).astype(np.int64)
    code = significand if target.fraction_bits else significand + exponent + target.bias - 1
    even = code % 2 == 0
    is_power = significand == 1 << target.fraction_bits
    half = np.ldexp(1.0, last - 1 - (towards & is_power & (exponent > target.emin)))
    if not target.subnormals:  # zero and the least normal number are neighbours
        least = held == float(target.least_normal)
        half = np.where((held == 0) | (least & towards), float(target.least_normal) / 2, half)
        even = even & ~(least & towards)
    return half, even


def _beyond_all(held: Doubles, updates: Doubles, target: Format) -> npt.NDArray[np.bool_]:
    """Updates away from the largest numbers, where the format takes what lies beyond for them."""
    if cast_to(target).code(4 * target.max) != target.max_code:
        return np.zeros(held.shape, np.bool_)
    away = np.signbit(held) == np.signbit(updates)
    most = np.abs(held) == float(target.max)
    found: npt.NDArray[np.bool_] = most & away
    return found
