"""L0: THE RULE. Drop the low bits of an integer significand, and decide: down, or up by one.

Written once for every carrier: the same text runs on Python ints (exact, for explanations), under
Numba, on NumPy int64 arrays and on torch or JAX integer tensors. It knows nothing of formats;
overflow, NaN and shared scales are policies around it.

The dialect of this file, held by a test: signed carriers, magnitude and sign apart; no ``-bool``,
``~bool``, ``if``, ``and``, ``or``, ``min`` or ``max`` on data; shifts below the carrier's width.

Sources: IEEE 754-2019 §4.3 (directions); Boldo and Melquiond, "Emulation of FMA and correctly
rounded sums: proved algorithms using rounding to odd" (2008); IEEE P3109 (stochastic rounding,
ties by the parity of the code).
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Rounded(NamedTuple):
    """What the rule saw and did, in ulps (units of the last kept bit) or last source bits."""

    kept: Any  # significand without the dropped bits: the neighbour toward zero
    dropped: Any  # the bits that go
    unit: Any  # what they would have to reach to be one ulp: 2 ** drop
    odd: Any  # whether the neighbour toward zero has an odd code
    tie: Any  # dropped is exactly half an ulp
    up: Any  # the decision: the neighbour away from zero
    rounded: Any  # kept + up


def round_off(
    significand: Any, drop: Any, parity: Any, negative: Any, chance: Any, decide: Callable[..., Any]
) -> Rounded:
    """Drop ``drop`` low bits of a significand, as one of :data:`DECISIONS` decides.

    ``parity`` is added to the kept bits to know whether the *code* is odd: it matters only where a
    format stores no fraction, and so has every significand odd. ``chance`` is a :class:`Chance`
    for :func:`stochastic`; the other decisions ignore it.

    >>> round_off(0b1011_1, 1, 0, 0, None, nearest_even)[-3:]  # 11.5 ulps, a tie: 11 is odd, so 12
    (True, True, 12)
    """
    kept = significand >> drop
    unit = 1 << drop
    dropped = significand - (kept << drop)
    odd = (kept + parity) & 1
    up = decide(dropped, unit, odd, negative, chance)
    return Rounded(kept, dropped, unit, odd, (dropped << 1) == unit, up, kept + up)


def nearest_even(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Up above half, and at half from an odd code."""
    return (dropped << 1) + odd > unit


def nearest_away(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Up from half on: "look at the next bit"."""
    return (dropped << 1) >= unit


def toward_zero(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Never up."""
    return dropped < 0


def upward(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Toward +∞: positive numbers up whenever anything is dropped."""
    return dropped > negative * unit


def downward(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Toward −∞: negative numbers up (away from zero) whenever anything is dropped."""
    return dropped > (1 - negative) * unit


def to_odd(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Up from an even code whenever anything is dropped, so that no later rounding sees a tie."""
    return dropped > odd * unit


def stochastic(dropped: Any, unit: Any, odd: Any, negative: Any, chance: Any) -> Any:
    """Up with the probability dropped / unit, cut to the random bits at hand: see Chance."""
    share = dropped >> chance.right  # less than half a word where the carrier has 32 bits
    # In words of 32 wrapping bits a threshold of the upper half looks negative.
    return (share > chance.threshold) & (chance.threshold >= 0)


#: Every rounding by its name: what the strings of the public functions mean.
DECISIONS: dict[str, Callable[..., Any]] = {
    "nearest_even": nearest_even,
    "nearest_away": nearest_away,
    "toward_zero": toward_zero,
    "up": upward,
    "down": downward,
    "to_odd": to_odd,
    "stochastic": stochastic,
}


class Chance(NamedTuple):
    """Random bits beside as many leading bits of the dropped part: up where those exceed these.

    With k random bits "up" has the probability floor(2**k · dropped / unit) / 2**k: never more than
    the true share, and less by under 2**-k. Zero stays zero, and far below the least subnormal,
    where the carrier cannot hold ``unit``, the share is rightly nothing.
    """

    threshold: Any  # random bits, as many as are compared
    right: Any  # how far the dropped part goes right to have as many


def chance_of(word: Any, bits: Any, drop: Any, longest: Any) -> Chance:
    """The first ``bits`` of a random 32-bit word, for a rounding that drops ``drop`` bits.

    Fewer are enough where fewer are dropped: the rest of both would be zeros against noise.
    ``longest`` is the carrier's longest shift; what lies above a word's 32 bits does not matter.

    >>> round_off(0b101_11, 2, 0, 0, chance_of(0b10 << 30, 2, 2, 62), stochastic).up  # 3/4 > 2/4
    True
    >>> round_off(0b101_11, 2, 0, 0, chance_of(0b11 << 30, 2, 2, 62), stochastic).up
    False
    """
    beyond_first = clamp(drop - 1, bits - 1)
    threshold = (word >> (31 - beyond_first)) & ((2 << beyond_first) - 1)
    return Chance(threshold, clamp(drop - 1 - beyond_first, longest))


def clamp(value: Any, limit: Any) -> Any:
    """``value`` within [0, limit], without a branch."""
    return at_most(positive(value), limit)


def positive(value: Any) -> Any:
    """``value``, or 0 where it is negative."""
    return value * (value > 0)


def at_most(value: Any, limit: Any) -> Any:
    """``value``, or ``limit`` where it is larger."""
    return value + (limit - value) * (value > limit)


def at_least(value: Any, limit: Any) -> Any:
    """``value``, or ``limit`` where it is smaller."""
    return value + (limit - value) * (value < limit)
