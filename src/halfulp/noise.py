"""L0: randomness as integers the caller passes. A counter-based hash of (seed, index).

The same seed and element index give the same 32 bits whatever the thread, chunk or backend. A word
is the low 32 bits of whatever carrier it stands in: nothing above them ever flows down, so carriers
of 32 wrapping bits, of 64, and Python ints agree without masking at each step. It is an
Even-Mansour cipher: a public permutation of 32 bits between the halves of a 64-bit key.

Sources: S. Even and Y. Mansour, "A construction of a cipher from a single pseudorandom
permutation" (1997); of the permutation: C. Wellons, "Prospecting for hash functions" (2018),
``lowbias32``.
"""

from typing import Any, NamedTuple

WORD = 0xFFFFFFFF
NOISE_BITS = 32


#: The fraction of pi as two signed words, which keys begin with: nothing up the sleeve.
PI = (0x243F6A88, 0x85A308D3 - (1 << 32))


class Key(NamedTuple):
    """A seed as two 32-bit words, signed, so that every carrier takes them."""

    low: int
    high: int


def key_of(seed: int, stream: int = 0) -> Key:
    """The key of a seed of any size; ``stream`` (a step, a rank) gives independent ones.

    >>> key_of(0) != key_of(1) != key_of(0, stream=1)
    True
    """
    low, high = PI
    for number in (seed, stream):
        rest = -2 * number - 1 if number < 0 else 2 * number  # every integer once, none negative
        while True:
            low, high = (signed_word(word) for word in absorbed(low, high, rest & WORD))
            rest >>= 32
            if not rest:
                break
    return Key(low, high)


def absorbed(low: Any, high: Any, word: Any) -> tuple[Any, Any]:
    """A key that another 32-bit word has gone into."""
    low = mix(low ^ word)
    return low, mix(high + low)


def signed_word(word: int) -> int:
    """The low 32 bits of an int as a signed number."""
    word &= WORD
    return word - (word >> 31 << 32)


def random_word(key: Any, low: Any, high: Any) -> Any:
    """32 random bits, the low ones of the answer, of element ``low + (high << 32)``.

    >>> random_word(key_of(7), 12345, 0) & WORD
    3431411525
    """
    # Where the high word is the same for many elements, a compiler mixes it once.
    return mix(low ^ key.low ^ mix(high)) ^ key.high


def mix(word: Any) -> Any:
    """A permutation of the 32-bit words with next to no bias."""
    word = word ^ ((word >> 16) & 0xFFFF)
    word = word * 0x7FEB352D
    word = word ^ ((word >> 15) & 0x1FFFF)
    word = word * -0x7B935975  # 0x846CA68B as a signed word
    return word ^ ((word >> 16) & 0xFFFF)
