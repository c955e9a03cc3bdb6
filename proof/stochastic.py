"""Stochastic rounding: its law over all noise, and what it draws, element by element."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np

from halfulp.catalogue import Format
from halfulp.noise import WORD, key_of, random_word
from halfulp.rounding import chance_of, round_off, stochastic
from proof import oracle
from proof.backends import BACKENDS, NUMBERS, NUMPY, Backend
from proof.casts import EVERY, FEW, SOURCES, TARGETS
from proof.oracle import numbers, runs
from proof.pieces import CHUNK, Array, Claim, Found, Piece, compare

AREA = "stochastic"
ROUNDINGS = ("stochastic",)
SEED = 20
BITS = (1, 8, 32)  # random bits that are drawn
DROPS = range(1, 13)
NOISE = range(1, 11)


def claims(slice: bool = False) -> Iterator[Claim]:
    """The law, and every backend's draws."""
    yield Claim(
        AREA, "share of all k-bit noise that rounds up, k to 10, dropped bits to 12", "",
        ROUNDINGS, "rule on NumPy int64", "floor(2ᵏ · dropped / unit) / 2ᵏ",
        sum(1 << drop for drop in DROPS) * len(NOISE), check_law,
        (Piece("all of it", range(1)),), 2.0, ("halfulp.rounding", __name__), ("numpy",),
    )  # fmt: skip
    for backend in BACKENDS:
        if backend is not NUMBERS and backend.sampled + backend.everything != ("nearest_even",):
            for target in TARGETS:
                if not slice or (target.width <= 16 and (backend is NUMPY or target.name in FEW)):
                    yield _drawn(backend, target, (1 << 18) - 5 if slice else 1 << 8)


def _drawn(backend: Backend, target: Format, stride: int) -> Claim:
    return Claim(
        AREA, f"float32 to codes and values, with {', '.join(map(str, BITS))} random bits, of",
        target.name, ROUNDINGS, backend.name, "exact share in float64, and its own noise", EVERY,
        partial(check_draws, backend=backend, target=target),
        (Piece(f"every {stride}th", range(0, EVERY, stride)),),
        EVERY // stride * 2 * len(BITS) * (backend.nanoseconds + 10) * 1e-9,
        (*SOURCES, f"halfulp.backends.{backend.module}", "halfulp.noise", __name__),
        backend.packages, backend.absent,
    )  # fmt: skip


def check_law(piece: Piece) -> Found:
    """Of all words of k bits, floor(2ᵏ · dropped / unit) send what is dropped up.

    Inputs are what is dropped of a significand, with the bits that are drawn.
    """
    found = Found()
    for drop in DROPS:
        dropped = np.arange(1 << drop, dtype=np.int64)
        for bits in NOISE:
            words = np.arange(1 << bits, dtype=np.int64)[:, None] << (32 - bits)
            chance = chance_of(words, bits, drop, 62)
            up = round_off((1 << drop) + dropped, drop, 0, 0, chance, stochastic).up
            share = np.array([(d << bits) >> drop for d in dropped.tolist()])
            found += Found(dropped.size) + compare(
                [dropped], np.count_nonzero(up, axis=0).astype(np.int64), share,
                f"dropped of {drop} bits, {bits} random bits",
            )  # fmt: skip
    return found


def check_draws(piece: Piece, *, backend: Backend, target: Format) -> Found:
    """Codes and values of float32, where up is what exceeds the bits drawn for the element."""
    found = Found()
    for first in range(0, len(piece.span), CHUNK):
        part = piece.span[first : first + CHUNK]
        patterns = np.arange(part.start, part.stop, part.step).astype(np.uint32)
        found += Found(patterns.size)
        share, x = shares(patterns, target), patterns.view(np.float32)
        for bits in BITS:
            up = np.floor(share * 2.0**bits) > noise(patterns.size) >> (32 - bits)
            codes, values = expected(patterns, target, up)
            options: dict[str, Any] = {"seed": SEED, "random_bits": bits}
            found += compare(
                [patterns], backend.encode(x, target, "stochastic", **options), codes,
                f"{bits} bits, codes", oracle.is_nan(target),
            )  # fmt: skip
            found += compare(
                [patterns], backend.cast(x, target, "stochastic", **options).view(np.uint32),
                values, f"{bits} bits, values", lambda v: np.isnan(v.view(np.float32)),
            )  # fmt: skip
    return found


@cache
def noise(size: int) -> Array:
    """The random words of the first elements of an array, by the definition of the noise."""
    words = random_word(key_of(SEED), np.arange(size, dtype=np.int64), 0)
    return np.asarray(words & WORD)


def shares(patterns: Array, target: Format) -> Array:
    """How far each float32 lies between its neighbours in a format, from 0 to 1, exactly.

    float64 holds every step: a difference of floats within a factor of two, over a power of two.
    Beyond the largest number the share reaches 1; infinity has 1, NaN 0.
    """
    with np.errstate(all="ignore"):
        size = np.abs(patterns.view(np.float32).astype(np.float64))
        listed = numbers(target).values
        place = np.searchsorted(listed[:-1], size, "right") - 1
        low = listed[np.maximum(place, 0)]
        rest = (size - low) / (listed[np.maximum(place, 0) + 1] - low)
    return np.asarray(np.nan_to_num(np.clip(rest, 0, 1)))


def expected(patterns: Array, target: Format, up: Array) -> tuple[Array, Array]:
    """Codes and values: the oracle's neighbour away from zero where up, else the other one."""
    below = runs(target, "toward_zero")
    answers = []
    for negative, away in ((False, "up"), (True, "down")):
        above, mine = runs(target, away), (patterns >> 31 == 1) == negative
        inputs, chosen = patterns[mine], up[mine]
        if inputs.size:
            answers.append(
                [
                    np.where(chosen, above.along(inputs, a), below.along(inputs, b))
                    for a, b in ((above.codes, below.codes), (above.values, below.values))
                ]
            )
    codes, values = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    return codes, values
