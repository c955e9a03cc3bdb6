"""The rule: the same text on every carrier, its intermediates bit by bit, and its dialect."""

from __future__ import annotations

import ast
import inspect
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest

import oracle
from cases import MODES
from halfulp import carrier, noise, rounding
from halfulp.backends import kernels  # noqa: F401  # makes the rule callable from Numba
from halfulp.rounding import DECISIONS, chance_of, round_off

# A significand of six bits, every shift, both signs, both parities: all there is.
GRID = [
    (significand, drop, parity, negative)
    for significand in range(64)
    for drop in range(9)
    for parity in (0, 1)
    for negative in (0, 1)
]


@pytest.mark.parametrize("mode", MODES)
def test_the_rule_decides_as_the_definition_says(mode: str) -> None:
    for significand, drop, parity, negative in GRID:
        made = round_off(significand, drop, parity, negative, None, DECISIONS[mode])
        exact = Fraction(significand, 2**drop)
        floor = exact.numerator // exact.denominator
        rest = exact - floor
        place = (rest > Fraction(1, 2)) - (rest < Fraction(1, 2))
        odd = (floor + parity) % 2 == 1
        up = rest != 0 and oracle.goes_up(mode, place, odd, bool(negative))
        assert (made.kept, made.dropped, made.unit) == (
            floor,
            significand - (floor << drop),
            2**drop,
        )
        assert (made.odd, bool(made.tie), bool(made.up)) == (odd, rest == Fraction(1, 2), up)
        assert made.rounded == floor + up


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_stochastic_goes_up_as_often_as_its_bits_allow(bits: int) -> None:
    for significand in range(64):
        for drop in range(9):
            ups = sum(
                bool(round_off(significand, drop, 0, 0, chance_of(n << (32 - bits), bits, drop, 62),
                               DECISIONS["stochastic"]).up)
                for n in range(2**bits)
            )  # fmt: skip
            rest = Fraction(significand, 2**drop) % 1
            assert ups == rest * 2**bits // 1


def columns() -> tuple[list[int], ...]:
    return tuple(list(column) for column in zip(*GRID, strict=True))


def in_numba(decide):  # type: ignore[no-untyped-def]
    return numba.njit(lambda s, d, p, n: round_off(s, d, p, n, None, decide))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "carrier", ["numpy", "numba", pytest.param("torch", marks=pytest.mark.extra)]
)
def test_every_carrier_has_the_same_intermediates(mode: str, carrier: str) -> None:
    decide = DECISIONS[mode]
    expected = [[int(part) for part in round_off(s, d, p, n, None, decide)] for s, d, p, n in GRID]
    if carrier == "numba":
        compiled = in_numba(decide)
        found = [[int(part) for part in compiled(*row)] for row in GRID]
    else:
        array: Any = np.array
        if carrier == "torch":
            import torch

            array = torch.tensor
        made = round_off(*(array(c) for c in columns()), None, decide)
        found = list(zip(*([int(v) for v in part.tolist()] for part in made), strict=True))
        found = [list(row) for row in found]
    assert found == expected


def test_the_dialect_is_kept() -> None:
    """No branch and no boolean trick on data, in all that carriers run."""
    functions = [
        round_off, rounding.clamp, rounding.positive, rounding.at_most, chance_of,
        *DECISIONS.values(), carrier.convert, carrier.round_at, carrier.base_of, carrier.drop_of,
        carrier.settle, carrier.settle_plainly, carrier.choose, noise.random_word, noise.mix,
    ]  # fmt: skip
    for function in functions:
        tree = ast.parse(inspect.getsource(function))
        for node in ast.walk(tree):
            forbidden = (ast.If, ast.IfExp, ast.BoolOp, ast.While, ast.For, ast.Not, ast.Div)
            assert not isinstance(node, forbidden), (function.__name__, ast.dump(node))
            if isinstance(node, ast.UnaryOp):
                assert not isinstance(node.op, (ast.USub, ast.Invert)) or isinstance(
                    node.operand, ast.Constant
                ), function.__name__
            if isinstance(node, ast.Call):
                assert getattr(node.func, "id", "") not in ("min", "max", "abs", "int", "bool")


def word_of(key: noise.Key, index: int) -> int:
    return noise.random_word(key, index & noise.WORD, index >> 32) & noise.WORD


def test_noise_is_even_and_depends_on_every_input() -> None:
    key = noise.key_of(42)
    words = [word_of(key, i) for i in range(4096)]
    assert len(set(words)) > 4090
    ones = sum(word.bit_count() for word in words) / len(words)
    assert abs(ones - 16) < 0.25
    for bit in range(32):
        share = sum(word >> bit & 1 for word in words) / len(words)
        assert abs(share - 0.5) < 0.04
    assert word_of(key, 1 << 40) != word_of(key, 0)
    assert len({noise.key_of(seed) for seed in range(-500, 500)}) == 1000


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_noise_is_the_same_on_every_carrier(dtype: Any) -> None:
    """What lies above the low 32 bits of a carrier never matters, nor does the sign."""
    key = noise.key_of(7)
    low = np.arange(1000, dtype=dtype)
    with np.errstate(over="ignore"):
        found = noise.random_word(key, low, np.full_like(low, 5)).astype(np.uint32)
    assert found.tolist() == [word_of(key, i + (5 << 32)) for i in range(1000)]
