"""L1: blocks whose scales are powers of two: an element is never divided.

A grid of numbers times 2**e is the same grid with its exponents moved by e, so that the rule gets
the plan of the element's format with e added to the least binade and to the patterns of the largest
numbers. What this takes is that no number of the moved grid is subnormal in the carrier, and that
no sum of Way.SUM overflows; where one does (blocks below about 2**-100 or above 2**98), the block
is moved to the middle by a power of two and back again, which is exact: what is lost on the way
down rounds to zero in such a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from halfulp.backends.block_steps import FAR, NAN, Traits, finishing, stretch_of
from halfulp.backends.lanes import wide_vectors
from halfulp.backends.symbols import jitable

# Numba infers the types of what follows.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

LIFT = 70  # the power of two that blocks of tiny or huge numbers are moved by


def powers(real: Any) -> Any:
    """The choice of scales, by the rule's carry into the exponent of the largest magnitude."""

    @jitable
    def choose(tops, exponents, unused, scales, told):
        wide_vectors()
        n, befallen = told.numbers, 0
        sizes = tops.view(real)
        for k in range(tops.size):
            pattern = np.float64(sizes[k]).view(np.int64) + n.carry
            exponent = min(max((pattern >> 52) - 1023 - n.binade, n.least), n.most)
            lost = tops[k] >= n.infinity
            far = (exponent < n.tiny) | (exponent > n.huge)
            befallen |= NAN * lost + FAR * (far & (tops[k] != 0))
            exponents[k] = exponent
        for k in range(scales.size):
            lost = tops[k] >= n.infinity
            scales[k] = n.nan_scale if lost else exponents[k] + n.bias
        return befallen

    return choose


def shifted_apply(t: Traits, real: Any) -> Any:
    """The cast of elements beside the exponents of their scales."""
    stretch, finish = stretch_of(t), finishing(t)
    coded, narrow = t.element.codes, t.back is not None
    lift, lower = real(2.0**LIFT), real(2.0**-LIFT)

    @jitable
    def apply(patterns, exponents, unused, out, first, befallen, scratch, told):
        wide_vectors()
        made = scratch[1][: out.size] if narrow else out
        if not befallen & FAR:
            stretch(patterns, exponents, made, first, told)
        else:
            tiny, huge = told.numbers.tiny, told.numbers.huge
            lifted, moved = scratch[2][: out.size], np.empty_like(exponents)
            given, high = patterns.view(real), lifted.view(real)
            for i in range(given.size):
                e = exponents[i]
                high[i] = given[i] * (lift if e < tiny else lower if e > huge else real(1))
                moved[i] = e + (LIFT if e < tiny else -LIFT if e > huge else 0)
            stretch(lifted, moved, made, first, told)
            if not coded:
                values = made.view(real)
                for i in range(values.size):
                    e = exponents[i]
                    values[i] *= lower if e < tiny else lift if e > huge else real(1)
        if narrow:
            finish(made, out, told)

    return apply
