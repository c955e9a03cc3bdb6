"""L1: sums, products, quotients and roots rounded to odd, for kernels to call.

Rounded to odd, a number keeps its leading bits, and the last one kept is set wherever anything
nonzero is dropped. An odd last bit so stands for the open interval between two even neighbours,
and an even one for itself. Rounding such a number once more is rounding the exact one, in every
mode, wherever the second rounding drops at least two bits: each threshold that a decision compares
with (a number of the format, or the middle between two) is then a multiple of two in the last
place, so that the exact number and its stand-in lie on the same side of it, or both on it.
Stochastic rounding with k random bits compares with multiples of 2**-k ulp: it needs k + 1 bits.

Two carriers. The first functions answer with a float64 and hold for operands of at most 24 bits
within float32's range, where nothing overflows or underflows on the way. The functions after them
take any float64 and answer with integers (:class:`Parts`): a significand of 61 bits, so that
formats of up to 59 bits are served, at any exponent.

Sources: Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
rounding to odd" (2008), theorem 3; Knuth, TAOCP 2 §4.2.2 (two-sum); Dekker, "A floating-point
technique for extending the available precision" (1971); Zimmermann, "Karatsuba square root" (1999);
IEEE 754-2019 §6.1 to §6.3 (infinities, NaN, the sign of zero).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from halfulp.backends.lanes import float_field
from halfulp.backends.symbols import jitable

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"
# Numba infers the types of what follows.

SIGN = -(1 << 63)
SPLITTER = float((1 << 27) + 1)

# In float64: operands of at most 24 bits within float32's range.


@jitable
def pattern(value):
    """The bits of a float64."""
    return np.float64(value).view(np.int64)


@jitable
def from_pattern(bits):
    """The float64 of these bits."""
    return np.int64(bits).view(np.float64)


@jitable
def jammed(value, error):
    """A float64 to odd: ``error`` has the sign of the exact number minus ``value``, its nearest."""
    bits = pattern(value)
    inexact = (error < 0) | (error > 0)
    nudge = inexact & ((bits & 1) == 0) & (np.abs(value) < np.inf)
    outward = (error > 0) == (value > 0)
    return from_pattern(bits + nudge * (2 * outward - 1))


@jitable
def odd_sum(a, b):
    """A + b in float64, to odd where it is inexact; right for all that does not overflow."""
    total = a + b
    # Knuth's two-sum: the error of the addition, exactly.
    back = total - a
    return jammed(total, (a - (total - back)) + (b - back))


@jitable
def downward_zero(total, a, b, down):
    """The sum again; rounding down, an exact zero of unlike terms is negative."""
    negative = (pattern(a) | pattern(b)) & SIGN
    return from_pattern(pattern(total) | ((total == 0) & down) * negative)


@jitable
def odd_quotient(a, b):
    """A / b in float64, to odd, by the sign of its exact remainder."""
    value = np.divide(a, b)
    head = halved(value)
    # With b of 24 bits each product is exact, and so are the differences (Dekker).
    rest = (a - head * b) - (value - head) * b
    return jammed(value, rest * np.copysign(1.0, b))


@jitable
def odd_root(a):
    """The square root of a in float64, to odd, by the sign of its exact remainder."""
    value = np.sqrt(a)
    head = halved(value)
    tail = value - head
    return jammed(value, ((a - head * head) - 2 * head * tail) - tail * tail)


@jitable
def halved(value):
    """The leading 26 bits of a float64; what is left fits 26 bits too (Dekker)."""
    scaled = value * SPLITTER
    return scaled - (scaled - value)


# In integers: any float64.

WIDTH = 61  # bits of a result's significand
FINITE, INFINITE, NAN = 0, 1, 2
_LIMB = (1 << 60) - 1  # numbers of 120 bits are two of these


class Parts(NamedTuple):
    """A number taken apart, as int64s."""

    kind: Any  # FINITE, INFINITE or NAN
    negative: Any
    exponent: Any  # of the first bit
    significand: Any  # 0, or 53 bits of a float64 and WIDTH of a result rounded to odd


@jitable
def parts(value):
    """A float64 taken apart, subnormals normalised."""
    bits = pattern(value)
    magnitude = bits & ~SIGN
    field = magnitude >> 52
    significand = magnitude & ((1 << 52) - 1)
    negative = np.int64(bits < 0)
    if field == 2047:
        return Parts(np.int64(INFINITE + (significand != 0)), negative, np.int64(0), np.int64(0))
    if field:
        return Parts(np.int64(FINITE), negative, field - 1023, significand | (1 << 52))
    if not significand:
        return Parts(np.int64(FINITE), negative, np.int64(0), np.int64(0))
    lift = 52 - float_field(significand)
    return Parts(np.int64(FINITE), negative, -1022 - lift, significand << lift)


@jitable
def special(kind, negative):
    """An infinity or a NaN; every NaN is positive, whatever the processor makes."""
    return Parts(np.int64(kind), np.int64(negative * (kind == INFINITE)), np.int64(0), np.int64(0))


@jitable
def zero(negative):
    """An exact zero."""
    return Parts(np.int64(FINITE), np.int64(negative), np.int64(0), np.int64(0))


@jitable
def top_bit(number):
    """floor(log2) of a positive int64, which as a float might round up to the next power."""
    high = number >> 30
    return 30 + float_field(high) if high else float_field(number)


@jitable
def exact_fma(a, b, c, down):
    """A × b + c. The product is exact in 106 of 120 bits.

    The smaller of product and addend moves right. What falls off the end is jammed into the last
    bit; that takes a distance of 14 bits or more, where a difference loses at most its first bit,
    so that the jam stays far below the 61 bits that are kept.
    """
    x, y, z = parts(a), parts(b), parts(c)
    negative = x.negative ^ y.negative
    if x.kind + y.kind + z.kind:
        return special_fma(x, y, z, negative)
    high, low, exponent = wide_product(x.significand, y.significand)
    exponent += x.exponent + y.exponent
    addend, gap = z.significand << 6, exponent - z.exponent
    if not high:  # a zero product: the addend is the sum
        if not z.significand:
            return zero(negative & z.negative | (down & (negative | z.negative)))
        return normalised(z.negative, addend, np.int64(0), z.exponent)
    if not z.significand:
        return normalised(negative, high, low, exponent)
    more, rest, other = addend, np.int64(0), z.negative
    if gap < 0:
        high, low, more, rest = more, rest, high, low
        negative, other, exponent, gap = other, negative, z.exponent, -gap
    more, rest = moved_right(more, rest, gap)
    if negative == other:
        low += rest
        return normalised(negative, high + more + (low >> 60), low & _LIMB, exponent)
    if (high, low) < (more, rest):
        high, low, more, rest, negative = more, rest, high, low, other
    low -= rest
    high += (low >> 60) - more
    if not (high | low & _LIMB):
        return zero(down)
    return normalised(negative, high, low & _LIMB, exponent)


@jitable
def exact_product(a, b):
    """A × b: a zero of the product's own sign changes nothing."""
    return exact_fma(a, b, from_pattern((pattern(a) ^ pattern(b)) & SIGN), 0)


@jitable
def special_fma(x, y, z, negative):
    """A × b + c where one of them is not finite."""
    if NAN in (x.kind, y.kind, z.kind):
        return special(NAN, 0)
    if not (x.kind or y.kind):
        return special(INFINITE, z.negative)
    no_product = (not x.kind and not x.significand) or (not y.kind and not y.significand)
    if no_product or (z.kind and z.negative != negative):
        return special(NAN, 0)
    return special(INFINITE, negative)


@jitable
def wide_product(a, b):
    """The product of two 53-bit significands with its first bit at 118, and what that adds to its
    exponent: 0 or 1. Of zero it is zero.
    """
    a1, a0, b1, b0 = a >> 27, a & ((1 << 27) - 1), b >> 27, b & ((1 << 27) - 1)
    middle = a1 * b0 + a0 * b1
    low = ((middle & ((1 << 27) - 1)) << 27) + a0 * b0
    high = a1 * b1 + (middle >> 27) + (low >> 54)
    low &= (1 << 54) - 1
    carry = high >> 51
    short = 1 - carry
    # high and low have 52 and 54 bits of 106; two limbs of 60 take them 13 bits further up.
    left = 7 + short
    return (high << left) | (low >> (54 - left)), (low << (6 + left)) & _LIMB, carry


@jitable
def moved_right(high, low, distance):
    """Two limbs shifted right; what falls off is jammed into the last bit."""
    lost = np.int64(0)
    if distance >= 60:
        high, low, lost = np.int64(0), high, low
        distance = min(distance - 60, 60)
    keep = (np.int64(1) << distance) - 1
    lost |= low & keep
    low = (low >> distance) | ((high & keep) << (60 - distance))
    return high >> distance, low | (lost != 0)


@jitable
def normalised(negative, high, low, exponent):
    """Two limbs, whose bit 118 has this exponent, as the parts of 61 bits."""
    if high:
        top = top_bit(high)
        significand = (high << (60 - top)) | (low >> top) | ((low & ((1 << top) - 1)) != 0)
    else:
        top = top_bit(low)
        significand = low << (60 - top)
        top -= 60
    return Parts(np.int64(FINITE), np.int64(negative), exponent + top - 58, significand)


@jitable
def exact_quotient(a, b):
    """A / b: long division, ten bits at a time, and the remainder jammed."""
    x, y = parts(a), parts(b)
    negative = x.negative ^ y.negative
    vanishes = x.kind == FINITE and x.significand == 0
    grows = y.kind == FINITE and y.significand == 0
    if x.kind + y.kind >= NAN or (vanishes and grows):  # NaN, or two infinities, or two zeros
        return special(NAN, 0)
    if vanishes or y.kind == INFINITE:
        return zero(negative)
    if grows or x.kind == INFINITE:
        return special(INFINITE, negative)
    short = np.int64(x.significand < y.significand)
    rest = (x.significand << short) - y.significand
    significand = np.int64(1)
    for _ in range(6):
        rest <<= 10
        digit = rest // y.significand
        rest -= digit * y.significand
        significand = (significand << 10) | digit
    significand |= rest != 0
    return Parts(np.int64(FINITE), negative, x.exponent - y.exponent - short, significand)


@jitable
def exact_root(a):
    """The square root of a: 31 bits, then 30 more by one division, and the remainder jammed."""
    x = parts(a)
    if x.kind == NAN or (x.negative and (x.kind or x.significand)):
        return special(NAN, 0)
    if x.kind:
        return special(INFINITE, 0)
    if not x.significand:
        return zero(x.negative)
    radicand = x.significand << (8 + (x.exponent & 1))
    # Of 62 bits rounded to 53, so perhaps one too large: the digits after it are then negative.
    head = np.int64(np.sqrt(np.float64(radicand)))
    rest = (radicand - head * head) << 30
    digit = rest // (2 * head)
    root = (head << 30) + digit
    rest = ((rest - digit * 2 * head) << 30) - digit * digit
    while rest < 0:
        root -= 1
        rest += 2 * root + 1
    return Parts(np.int64(FINITE), np.int64(0), x.exponent >> 1, root | (rest != 0))
