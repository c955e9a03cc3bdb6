"""L1: sums of products without any rounding, in integers as long as their exponents ask for.

A sum is an array of digits of 30 bits, each an int64 with a sign of its own: products are added
digit by digit, and carries wait until the sum is read (Kulisch, "Computer Arithmetic and Validity",
2008, §8). What is read is rounded to odd, and from there as every other operation.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from halfulp.backends import kernels, odd, settling, steps
from halfulp.backends.kernels import compiled
from halfulp.backends.settling import rounded_odd, unpacked
from halfulp.backends.steps import flat_step_plan
from halfulp.backends.symbols import jitable
from halfulp.catalogue import Format
from halfulp.orders import PRODUCTS, SUMS, Scheme

Array = npt.NDArray[Any]

DIGIT = 30  # bits
REACH = 120  # bits that a product is given in, the last ones zero
GROWTH = 64  # bits that a sum may be longer than its terms


class Blocks(NamedTuple):
    """How the blocks of a scheme are summed, for operands of given formats."""

    block: int
    base: int  # the exponent of a sum's first bit
    digits: int
    sums: Array  # flat plans
    products: Array

    def nothing(self, rows: int, columns: int) -> tuple[Array, Array, Array]:
        """Empty blocks of a matrix of outputs: digits; infinities and NaN; signs that were seen."""
        shape = rows, columns
        return np.zeros((*shape, self.digits), np.int64), np.zeros(shape), np.zeros(shape, np.int64)

    def add(
        self, x: Array, y: Array, sums: Array, open_blocks: tuple[Array, Array, Array],
        place: tuple[int, int, int, int], log: Array | None = None,
    ) -> None:  # fmt: skip
        """Add the products of matrices x and y to ``sums``, a block at a time.

        ``place`` is the index of the first output, of how many a row has, that of the first term,
        and how many there are in all. ``log`` gets a row for each block of a single output: whether
        it was not zero, and the sum after it.
        """
        log = np.empty((0, 2)) if log is None else log
        width = self.block, self.base
        _blocks_kernel()(x, y, sums, *open_blocks, *width, *place, log, self.sums, self.products)


def blocks_of(x: Format | None, y: Format, scheme: Scheme) -> Blocks:
    """The blocks of a scheme; HalfulpError where the random bits of a rounding do not fit."""
    sums, products = scheme.accumulate, scheme.product
    held = [sums.target] if products is None else [sums.target, products.target]
    least = [f.least_quantum_exponent for f in held]
    most = [f.emax for f in held]
    base = min(*least, y.least_quantum_exponent + (x.least_quantum_exponent if x else 0)) - REACH
    top = max(*most, y.emax + (x.emax + 1 if x else 0)) + GROWTH
    plans = flat_step_plan(sums, scheme.seed, SUMS), flat_step_plan(products, scheme.seed, PRODUCTS)
    return Blocks(scheme.block, base, (top - base) // DIGIT + 2, *plans)


# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Numba infers the types of what follows.

_TEXTS = kernels.fingerprint(odd, settling, steps, sys.modules[__name__])[:16]
_MASK = (1 << DIGIT) - 1


@cache
def _blocks_kernel() -> Any:
    return compiled(_blocks_loop, f"blocks_{_TEXTS}")


def _blocks_loop(
    x, y, sums, digits, extra, signs, block, base, low, width, first, count, log, flat, product_flat
):
    plan, product_plan = unpacked(flat), unpacked(product_flat)
    for i in range(x.shape[0]):
        for j in range(y.shape[1]):
            long, at = digits[i, j], low + i * width + j
            for k in range(y.shape[0]):
                term = first + k
                a, b = x[i, k], y[k, j]
                if product_plan.mode >= 0:
                    b = rounded_odd(odd.exact_product(a, b), at, term, product_plan)
                    a = 1.0
                signs[i, j] |= pile(long, a, b, base)
                extra[i, j] += excess(a, b)
                if (term + 1) % block and term + 1 != count:
                    continue
                if log.shape[0]:
                    log[term // block, 0] = carried(long) or extra[i, j] != 0
                seen = signs[i, j] | pile(long, sums[i, j], 1.0, base)
                special = extra[i, j] + excess(sums[i, j], 1.0)
                exact = read(long, base, seen, special, plan.down)
                sums[i, j] = rounded_odd(exact, at, term - term % block, plan)
                if log.shape[0]:
                    log[term // block, 1] = sums[i, j]
                long[:] = 0
                signs[i, j], extra[i, j] = 0, 0.0


@jitable
def excess(a, b):
    """The product where it is infinite or NaN, else zero."""
    finite = np.isfinite(a) and np.isfinite(b)
    return 0.0 if finite else a * b


@jitable
def pile(long, a, b, base):
    """Add a product to a long sum; the answer is its sign, as ExactSums knows signs."""
    x, y = odd.parts(a), odd.parts(b)
    negative = x.negative ^ y.negative
    if not (x.kind or y.kind):
        high, low, carry = odd.wide_product(x.significand, y.significand)
        position = x.exponent + y.exponent + carry - 118 - base
        if high:
            heap(long, 1 - 2 * negative, high, low, position)
    return 1 + negative


@jitable
def heap(long, sign, high, low, position):
    """Add four digits, of which the last bit has this position."""
    index = position // DIGIT
    left = position - index * DIGIT
    for digit in (low & _MASK, low >> DIGIT, high & _MASK, high >> DIGIT):
        moved = digit << left
        long[index] += sign * (moved & _MASK)
        long[index + 1] += sign * (moved >> DIGIT)
        index += 1


@jitable
def carried(long):
    """Carry what waits, so that all digits but the last are within 30 bits; whether any is set."""
    carry = np.int64(0)
    some = np.int64(0)
    last = long.size - 1
    for i in range(last):
        digit = long[i] + carry
        long[i] = digit & _MASK
        some |= long[i]
        carry = digit >> DIGIT
    long[last] += carry
    return (some | long[last]) != 0


@jitable
def read(long, base, signs, special, down):
    """A long sum rounded to odd, as parts; its digits become those of its magnitude."""
    if special != 0:
        kind = odd.INFINITE if special == special else odd.NAN
        return odd.special(kind, special < 0)
    if not carried(long):
        return odd.zero(np.int64(signs == 2 or (down and signs == 3)))
    negative = np.int64(long[long.size - 1] < 0)
    if negative:
        for i in range(long.size):
            long[i] = -long[i]
        carried(long)
    top = long.size - 1
    while not long[top]:
        top -= 1
    high = long[top] << DIGIT | digit_at(long, top - 1)
    low = digit_at(long, top - 2) << DIGIT | digit_at(long, top - 3)
    rest = np.int64(0)
    for i in range(top - 3):
        rest |= long[i]
    return odd.normalised(negative, high, low | (rest != 0), base + DIGIT * (top - 1) + 58)


@jitable
def digit_at(long, i):
    """A digit, or zero below the first."""
    return long[i] if i >= 0 else np.int64(0)
