"""L0: randomness as integers the caller passes. A counter-based hash of (seed, index).

The same seed and element index give the same 32 bits whatever the thread, chunk or backend. Only
32-bit words are multiplied, so carriers of 32 wrapping bits and Python ints agree. It is a
two-round Even-Mansour cipher: a 64-bit key from the seed, and a public permutation of 32 bits
between its halves.

Source of the permutation: C. Wellons, "Prospecting for hash functions" (2018), ``lowbias32``.
"""

from typing import Any, NamedTuple

WORD = 0xFFFFFFFF
NOISE_BITS = 32


class Key(NamedTuple):
    """A seed as two 32-bit words."""

    low: int
    high: int


def key_of(seed: int, stream: int = 0) -> Key:
    """The key of a seed of any size; ``stream`` (a step, a rank) gives independent ones.

    >>> key_of(0) != key_of(1) != key_of(0, stream=1)
    True
    """
    low, high = 0x243F6A88, 0x85A308D3  # the fraction of pi: nothing up the sleeve
    for number in (seed, stream):
        rest = -2 * number - 1 if number < 0 else 2 * number  # every integer once, none negative
        while True:
            low = mix((low ^ rest) & WORD)
            high = mix((high + low) & WORD)
            rest >>= 32
            if not rest:
                break
    return Key(low, high)


def random_word(key: Any, index: Any) -> Any:
    """32 random bits of element ``index`` (below 2**64).

    >>> 0 <= random_word(key_of(7), 12345) <= WORD
    True
    """
    first = mix((index ^ key.low) & WORD)
    return mix((first ^ key.high ^ (index >> 32)) & WORD)


def mix(word: Any) -> Any:
    """A permutation of the 32-bit words with next to no bias."""
    word = word ^ (word >> 16)
    word = (word * 0x7FEB352D) & WORD
    word = word ^ (word >> 15)
    word = (word * 0x846CA68B) & WORD
    return word ^ (word >> 16)
