"""Operands in the classes of Berkeley TestFloat: patterns at every boundary, and weighted random.

Its documentation (TestFloat-general, §4) says what it generates: "simple pattern tests intermixed
with weighted random inputs", for carries and for the rounding of sums and products, with "all
boundary cases": underflow, overflow, subnormals, zeros of both signs, infinities and NaN. This is a
generator of our own in those classes. Two are added for fused operations and for cancellation.
"""

from __future__ import annotations

import numpy as np

from halfulp.catalogue import Format
from proof.pieces import Array

# One case in so many has operands that nearly undo one another, or are near in exponent.
_UNDOING = 4


def operands(f: Format, arity: int, number: int, count: int) -> tuple[Array, ...]:
    """``count`` cases of ``arity`` patterns each; the same for the same ``number`` in every run."""
    rng = np.random.default_rng([f.width, arity, number])
    drawn = [_patterns(f, rng, count) for _ in range(arity)]
    if arity > 1:
        near = rng.integers(0, _UNDOING, count) == 0
        drawn[-1] = np.where(near, _undoing(f, drawn[:-1], rng), drawn[-1])
    return tuple(drawn)


def _patterns(f: Format, rng: np.random.Generator, count: int) -> Array:
    dtype = np.dtype(f"uint{f.width}")
    sign = rng.integers(0, 2, count, np.uint64) << np.uint64(f.width - 1)
    fields = _fields(f, rng, count) << np.uint64(f.fraction_bits)
    return (sign | fields | _fractions(f, rng, count)).astype(dtype)


def _fields(f: Format, rng: np.random.Generator, count: int) -> Array:
    """Exponent fields: the ends of the range, those about 1.0 and a precision away, and any."""
    top, one, p = (1 << f.exponent_bits) - 1, f.bias, f.precision
    ends = [0, 1, 2, p, top - p, top - 2, top - 1, top]
    about = [one + offset for offset in range(-4, 5)]
    apart = [one + s * (d + e) for d in (p // 2, p, 2 * p) for e in (-1, 0, 1) for s in (-1, 1)]
    listed = [field for field in (*ends, *about, *apart) if 0 <= field <= top]
    chosen = rng.choice(np.array(listed, np.uint64), count)
    anywhere = rng.integers(0, top + 1, count, np.uint64)
    return np.where(rng.integers(0, 4, count) == 0, anywhere, chosen)


def _fractions(f: Format, rng: np.random.Generator, count: int) -> Array:
    """Fractions of few bits, of many, and any: zero, ones, one bit, runs from either end, two bits,
    each also with its complement.
    """
    ones = np.uint64((1 << f.fraction_bits) - 1)

    def place() -> Array:
        return rng.integers(0, f.fraction_bits, count, np.uint64)

    bit = np.uint64(1) << place()
    kinds = [
        np.zeros(count, np.uint64),
        bit,
        bit - np.uint64(1),  # a run of ones from the last bit
        ones ^ (bit - np.uint64(1)),  # and from the first
        bit + (np.uint64(1) << place()),
        rng.integers(0, int(ones) + 1, count, np.uint64),
    ]
    fraction = np.choose(rng.integers(0, len(kinds), count), kinds) & ones
    return np.where(rng.integers(0, 2, count) == 0, fraction, fraction ^ ones)


def _undoing(f: Format, others: list[Array], rng: np.random.Generator) -> Array:
    """A last operand about as large as the result of the rest, of either sign and a bit off."""
    magnitude = np.uint64((1 << (f.width - 1)) - 1)
    sizes = [other.astype(np.uint64) & magnitude for other in others]
    size = sizes[0]
    if len(others) > 1:  # the product's field, about, and its fraction, where the other is small
        size = size + sizes[1] - np.uint64(f.bias << f.fraction_bits)
    off = rng.integers(-2, 3, size.size).astype(np.int64).astype(np.uint64)
    sign = rng.integers(0, 2, size.size, np.uint64) << np.uint64(f.width - 1)
    return (((size + off) & magnitude) | sign).astype(others[0].dtype)
