"""Which elements of a tensor stand for all of them, where not all are looked at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: Multiples of it modulo 1 fall everywhere alike (Knuth, TAOCP 3 §6.4, theorem S).
GOLDEN = (5**0.5 - 1) / 2


def places(elements: int, most: int) -> npt.NDArray[np.int64]:
    """One place in each of ``most`` equal stretches, in C order; all where there are fewer.

    Where in its stretch goes by multiples of the golden ratio: places at equal distances would all
    lie in one column of a matrix whose width is a power of two.

    >>> places(20, 4).tolist(), places(3, 4).tolist()
    ([0, 8, 11, 19], [0, 1, 2])
    """
    if elements <= most:
        return np.arange(elements, dtype=np.int64)
    bounds = np.arange(most + 1) * elements // most
    inside = np.arange(most) * GOLDEN % 1.0
    found: npt.NDArray[np.int64] = bounds[:-1] + (inside * np.diff(bounds)).astype(np.int64)
    return found
