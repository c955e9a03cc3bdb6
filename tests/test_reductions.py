"""Sums that round at each step: against Fractions, NumPy and math.fsum, in every order and mode."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
import oracle
from cases import CATALOGUE, MODES
from halfulp.noise import WORD, key_of, random_word

ORDERS: list[dict[str, Any]] = [
    {"order": "sequential"}, {"order": "pairwise"}, {"order": "blocked", "block": 4},
]  # fmt: skip


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def bits_of(x: Any) -> Any:
    return np.asarray(x).view(f"u{np.asarray(x).dtype.itemsize}")


# A reference of its own, in Fractions, for sums that stay finite.


class Rounder:
    """Rounds exact numbers to a format, with the random words that orders.py promises."""

    def __init__(self, f: Any, mode: str, seed: int = 0) -> None:
        self.f, self.mode, self.seed = hu.format(f), mode, seed

    def __call__(self, value: Fraction, stream: int, output: int, index: int) -> Fraction:
        if not value:
            return value
        word = random_word(key_of(self.seed, stream), output, index) & WORD
        code = oracle.round_code(self.f, value, self.mode, word=word)
        assert code not in ("overflow", "least"), "the reference is for finite sums"
        found = oracle.meaning(self.f, code)
        return Fraction(0) if found == "-0" else Fraction(found)


def reference(
    terms: list[tuple[Fraction, ...]], target: Any, accumulate: Any, product: Any, order: str,
    block: int | None, mode: str, seed: int, output: int = 0,
) -> Fraction:  # fmt: skip
    exact = [math.prod(factors) for factors in terms]
    if product is not None:
        shorter = Rounder(product, mode, seed)
        exact = [shorter(t, 1, output, i) for i, t in enumerate(exact)]
    adder, total = Rounder(accumulate, mode, seed), Fraction(0)
    if order == "pairwise":
        leaves = [adder(t, 2, output, i) for i, t in enumerate(exact)]

        def tree(first: int, end: int) -> Fraction:
            if end - first == 1:
                return leaves[first]
            middle = first + (1 << (end - first - 1).bit_length() - 1)
            return adder(tree(first, middle) + tree(middle, end), 0, output, middle)

        total = tree(0, len(leaves))
    else:
        size = block or 1
        for first in range(0, len(exact), size):
            total = adder(total + sum(exact[first : first + size]), 0, output, first)
    return Rounder(target, mode, seed)(total, 0, output, len(terms))


def terms_for(f: Any, dtype: Any, size: int, seed: int) -> Any:
    """Numbers of a dtype whose sums cancel, tie, and stay within the format."""
    rng = np.random.default_rng(seed)
    scale = float(f.max) / 64 / size
    middle = min(1.0, scale)
    size_of = rng.choice(
        [middle, middle / 4, middle * 2.0**-f.precision, float(f.least_positive)], size
    )
    values = rng.integers(-8, 9, size) / 8 * size_of
    x = values.astype(dtype)
    return np.abs(x) if not f.signed else x


SUMMED = [f for f in CATALOGUE if f.zero and f.max > 100]


@pytest.mark.parametrize("how", ORDERS, ids=lambda how: how["order"])
@pytest.mark.parametrize("mode", [*MODES, "stochastic"])
def test_sums_are_what_fractions_say(how: dict[str, Any], mode: str) -> None:
    """Of float32, which takes float64 arithmetic, and of float64, which takes integers."""
    for f, dtype in itertools.product(SUMMED, [np.float32, np.float64]):
        wide = np.dtype(dtype).name
        if not hu.format(wide).holds(f) or (mode == "stochastic" and f.precision > 28):
            continue
        x = terms_for(f, dtype, 14, f.width)
        target = "float16" if f.holds(hu.format("float16")) else f
        found = hu.sum(x, target, accumulate=f, rounding=mode, seed=4, **how)
        terms = [(Fraction(v),) for v in x.tolist()]
        block = how.get("block")
        expected = reference(terms, target, f, None, how["order"], block, mode, 4)
        assert Fraction(float(found)) == expected, (f, dtype)
        texts = [f"{v}:float64" for (v,) in terms]
        assert (
            hu.number(hu.sum(texts, target, accumulate=f, rounding=mode, seed=4, **how)).value
            == expected
        )


@pytest.mark.parametrize("how", ORDERS, ids=lambda how: how["order"])
@pytest.mark.parametrize("mode", [*MODES, "stochastic"])
@pytest.mark.parametrize("product", [None, "bfloat16"])
def test_products_of_matrices_are_what_fractions_say(
    how: dict[str, Any], mode: str, product: str | None
) -> None:
    rng = np.random.default_rng(1)
    for dtype, accumulate in [
        ("float16", "float16"),
        ("float64", "bfloat16"),
        ("float8_e4m3fn", "float32"),
    ]:
        a = (rng.integers(-16, 17, (3, 11)) / 8).astype(dtype_of(dtype))
        b = (rng.integers(-16, 17, (11, 5)) / 32).astype(dtype_of(dtype))
        options = {"accumulate": accumulate, "product": product, "rounding": mode, "seed": 6, **how}
        found = hu.matmul(a, b, "float16" if dtype != "float8_e4m3fn" else None, **options)
        target = "float16" if dtype != "float8_e4m3fn" else dtype
        for i, j in np.ndindex(3, 5):
            pairs = zip(a[i].astype(float).tolist(), b[:, j].astype(float).tolist(), strict=True)
            terms = [(Fraction(x), Fraction(y)) for x, y in pairs]
            expected = reference(
                terms,
                target,
                accumulate,
                product,
                how["order"],
                how.get("block"),
                mode,
                6,
                5 * i + j,
            )
            assert Fraction(float(found[i, j])) == expected
        alone = hu.dot(a[0], b[:, 0].copy(), target, **options)
        assert float(alone) == float(found[0, 0])
        texts = [
            [f"{Fraction(v)}:float64" for v in vector.astype(float).tolist()]
            for vector in (a[0], b[:, 0])
        ]
        assert hu.number(hu.dot(*texts, target, **options)).value == Fraction(float(alone))


# Against NumPy and the standard library.


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_accumulates_the_same_from_left_to_right(dtype: Any) -> None:
    x = (np.random.default_rng(2).standard_normal((500, 7)) * 3).astype(dtype)
    for axis in (0, 1):
        expected = np.add.accumulate(x, axis=axis)
        found = hu.cumsum(x, axis=axis)
        assert found.dtype == dtype
        np.testing.assert_array_equal(bits_of(found), bits_of(expected))
        last = expected[-1] if axis == 0 else expected[:, -1]
        np.testing.assert_array_equal(hu.sum(x, axis=axis), last)
        np.testing.assert_array_equal(hu.sum(x, axis=axis - 2), last)
    np.testing.assert_array_equal(hu.cumsum(x), np.add.accumulate(x.reshape(-1)))


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=40))
def test_one_block_is_the_exact_sum_rounded_once(values: list[float]) -> None:
    x = np.array(values)
    assert hu.sum(x, order="blocked", block=len(x)) == math.fsum(values)
    assert hu.sum(x, report=True).exact == sum(map(Fraction, values))


SPECIALS = st.sampled_from(
    [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 65504.0, 2.0**-24, 1e-8]
)


@given(
    values=st.lists(SPECIALS | st.floats(width=32), max_size=9),
    how=st.sampled_from(ORDERS),
    f=st.sampled_from(
        ["float16", "float8_e4m3fn", "float4_e2m1fn", "float8_e4m3fnuz", "float8_e5m2"]
    ),
    mode=st.sampled_from(MODES),
    overflow=st.sampled_from([None, "saturate", "saturate_finite"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_lists_and_arrays_agree_on_every_kind_of_number(
    values: list[float], how: dict[str, Any], f: str, mode: str, overflow: Any, dtype: str
) -> None:
    options = {"rounding": mode, "overflow": overflow, **how}
    x = np.array(values, dtype)
    texts = [f"{Fraction(float(v)) if math.isfinite(v) and v else v}:float64" for v in x]
    array = hu.sum(x, f, report=True, **options)
    numbers = hu.sum(texts, f, report=True, **options)
    assert (str(array.value), array.nonzero, array.swallowed) == (
        str(numbers.value), numbers.nonzero, numbers.swallowed,
    )  # fmt: skip
    assert array == numbers or array.exact is None or numbers.value.is_nan
    assert str(hu.number(float(hu.sum(x, f, **options)))) == str(array.value)
    ones = np.ones_like(x)
    squares = hu.dot(x, ones, f, accumulate=f, product=f, report=True, **options)
    same = hu.dot(
        texts, ["1:float64"] * len(texts), f, accumulate=f, product=f, report=True, **options
    )
    assert str(squares.value) == str(same.value)
    if how["order"] != "pairwise":
        running = hu.cumsum(x, f, rounding=mode, overflow=overflow)
        lists = hu.cumsum(texts, f, rounding=mode, overflow=overflow)
        assert [str(hu.number(float(v))) for v in running] == [str(hu.number(v)) for v in lists]


# Small ones by hand.


def test_the_orders_by_hand() -> None:
    x = [2048.0, 1.0, 1.0, 1.0]  # in float16, 2048 + 1 is a tie, to even
    assert hu.sum(x, "float16") == 2048.0
    assert hu.sum(x, "float16", order="pairwise") == 2050.0  # (2048 + 1) + (1 + 1)
    assert hu.sum([*x, 1.0], "float16", order="pairwise") == 2052.0  # 2050 + 1: a tie again
    assert hu.sum([*x, 3.0], "float16", order="pairwise") == 2052.0  # 2050 + 3: from above
    assert hu.sum(x, "float16", order="blocked", block=2) == 2050.0  # 2049 → 2048; + (1 + 1)
    assert hu.sum(x, "float16", order="blocked", block=4) == 2052.0  # 2051 → 2052
    assert hu.sum(x, "float16", accumulate="float32") == 2052.0
    assert hu.sum(x, "float16", rounding="up") == 2054.0
    assert hu.sum([], "float16") == 0.0
    assert (
        hu.sum(["1", "2^-60"], "e11m60")
        == "1.000000000000000000867361737988403547205962240695953369140625"
    )
    assert hu.cumsum(x, "float16") == [2048.0] * 4
    assert hu.sum(["2048", "1"], "float32") == "2049"
    assert hu.sum([Fraction(1, 3)], "float8_e4m3fn") == Fraction(11, 32)
    assert hu.sum([0.1, 0.2], "float16") == hu.add(0.1, 0.2, "float16")
    assert hu.dot([0.1], [0.2], "float16", accumulate="float16") == hu.mul(0.1, 0.2, "float16")


def test_products_are_exact_unless_a_format_is_named() -> None:
    x = np.array([2048.0, 1 + 2.0**-10], np.float16)
    y = np.array([1.0, 1 + 2.0**-10], np.float16)  # the second product is above 1 by more than 2^-9
    assert hu.dot(x, y, accumulate="float16") == 2050.0
    short = hu.dot([1.0, -1.0], [1.0, 1 - 2.0**-11], "float16", accumulate="float32")
    assert short == 2.0**-11
    assert hu.dot([1 + 2.0**-10] * 2, [1 + 2.0**-10, -1.0], "float32", accumulate="float32",
                  product="float16") == 2.0**-10  # fmt: skip


def test_a_block_loses_nothing_however_far_down() -> None:
    x = np.array([1.0, 2.0**-24, 2.0**-140], np.float32)  # a tie, and what breaks it
    assert hu.sum(x, order="blocked", block=3) == 1 + 2.0**-23
    assert hu.sum(-x, order="blocked", block=3) == -1 - 2.0**-23
    assert hu.sum(x, order="blocked", block=2) == hu.sum(x) == 1
    wide = np.array([1.0, 2.0**-53, 5e-324, -(2.0**1000), 2.0**1000])
    assert hu.sum(wide, order="blocked", block=5) == 1 + 2.0**-52
    assert hu.dot(wide, wide[::-1], "float64", order="blocked", block=5, report=True).exact == sum(
        Fraction(a) * Fraction(b) for a, b in zip(wide.tolist(), wide[::-1].tolist(), strict=True)
    )


def test_the_sign_of_an_exact_zero() -> None:
    for how, dtype in itertools.product(ORDERS, ["f4", "f8"]):
        for values, near, down in (
            ([1.0, -1.0], "0.0", "-0.0"), ([0.0, -0.0], "0.0", "-0.0"), ([-0.0, -0.0], "-0.0", "-0.0"),
            ([0.0, 0.0], "0.0", "0.0"), ([-0.0], "-0.0", "-0.0"), ([], "0.0", "0.0"),
        ):  # fmt: skip
            for mode, expected in (("nearest_even", near), ("up", near), ("down", down)):
                array = hu.sum(np.array(values, dtype), rounding=mode, **how)
                numbers = hu.sum(values, "float32", rounding=mode, **how)
                assert str(float(array)) == str(numbers) == expected, (how, values, mode)


def test_sums_that_stick() -> None:
    """numpy #24443: cumsum of ones in float16; pytorch #92164: the norm of 5120 ones in bfloat16."""
    ones = np.ones(5120, np.float16)
    assert hu.cumsum(ones).max() == 2048.0
    told = hu.sum(ones, report=True)
    assert (told.nonzero, told.swallowed) == (5120, 5120 - 2048)
    assert (told.first_swallowed, told.stalled_from) == (2048, 2048)
    assert (told.value.value, told.exact, told.error) == (2048, 5120, -3072)
    narrow = np.ones(5120, ml_dtypes.bfloat16)
    norm = hu.sqrt(hu.dot(narrow, narrow, accumulate="bfloat16"))
    assert norm == 16.0
    assert hu.dot(narrow, narrow, report=True).swallowed == 0
    assert hu.dot(narrow, narrow, accumulate="bfloat16", report=True).stalled_from == 256


def test_a_report_tells_where_a_sum_stalls_and_where_it_moves_again() -> None:
    x = np.array([1.0, 0.0, 2.0**-12, 2.0**-12, 1.0, 2.0**-12, 0.0, 2.0**-13], np.float16)
    for told in (hu.sum(x, report=True), hu.sum(x.astype(float).tolist(), "float16", report=True)):
        assert (told.nonzero, told.swallowed, told.first_swallowed, told.stalled_from) == (
            6,
            4,
            2,
            5,
        )
        assert told.value.value == 2
    blocks = hu.sum(x, report=True, order="blocked", block=2)
    assert (blocks.nonzero, blocks.swallowed, blocks.first_swallowed, blocks.stalled_from) == (
        4,
        2,
        2,
        6,
    )
    tree = hu.sum(x, report=True, order="pairwise")
    assert (tree.nonzero, tree.swallowed, tree.stalled_from) == (5, 3, None)
    long = np.concatenate([np.ones(3000), np.full(40000, 2.0), np.ones(50000)]).astype(np.float16)
    told = hu.sum(long, report=True)
    assert (told.first_swallowed, told.swallowed) == (2048, 952 + 40000 - 1024 + 50000)
    assert (told.stalled_from, told.value.value) == (3000 + 1024, 4096)


def test_a_report_prints_within_eighty_columns_and_goes_to_json() -> None:
    x = np.random.default_rng(0).standard_normal(1000)
    for told in (
        hu.sum(x, "float16", report=True), hu.dot(x, x, "bfloat16", report=True, product="float16"),
        hu.sum(x, "float16", report=True, order="blocked", block=16),
        hu.sum(np.array([np.inf, 1.0]), report=True), hu.sum(np.zeros(0), report=True),
    ):  # fmt: skip
        assert max(map(len, str(told).splitlines())) <= 80
        assert f"{told.swallowed} of {told.nonzero}" in str(told)
        fields = json.loads(told.to_json())
        assert fields["target"] == str(told.target)
    assert json.loads(hu.sum([0.5, 0.25], "float16", report=True).to_json())["exact"] == "0.75"
    assert "2048 on nothing moved the sum" in str(hu.sum(np.ones(5000, np.float16), report=True))
    assert "2952 of 5000 nonzero terms (59.0 %)" in str(
        hu.sum(np.ones(5000, np.float16), report=True)
    )


# Shapes, dtypes, threads.


def test_axes_and_layouts() -> None:
    x = np.random.default_rng(3).standard_normal((4, 300, 6)).astype(np.float16)
    for view in (x, x.T, x[::-1, ::2], np.asfortranarray(x), x[:0], x[:, :0]):
        for axis in (0, 1, 2, -1):
            for how in ORDERS:
                found = hu.sum(view, axis=axis, **how)
                moved = np.moveaxis(view, axis, 0)
                assert found.shape == moved.shape[1:]
                for at in itertools.islice(np.ndindex(*found.shape), 5):
                    assert found[at] == hu.sum(moved[(slice(None), *at)].copy(), **how)
        assert hu.cumsum(view, axis=1).shape == view.shape
    assert type(hu.sum(x)) is np.float16
    assert hu.sum(x.astype(">f2")) == hu.sum(x)
    assert hu.sum(np.float16(2)) == 2
    assert hu.sum(np.zeros((0, 3), np.float32), axis=0).tolist() == [0, 0, 0]


def test_dtypes_of_the_answer() -> None:
    half, byte = np.ones(4, np.float16), np.ones(4, ml_dtypes.float8_e4m3fn)
    assert hu.sum(half).dtype == np.float16
    assert hu.sum(half, "bfloat16").dtype == ml_dtypes.bfloat16
    assert hu.sum(half, "float32").dtype == np.float32
    assert hu.sum(half, "tfloat32").dtype == np.float32
    assert hu.sum(half, "float8_e5m2").dtype == np.float16
    assert hu.dot(half, half).dtype == np.float16
    assert hu.dot(byte, half).dtype == np.float16
    assert hu.dot(byte, byte.astype(ml_dtypes.float8_e5m2)).dtype == np.float32
    assert hu.dot(byte, byte, "float32").dtype == np.float32
    assert hu.matmul(half.astype(float), half[:, None].astype(float)).dtype == np.float64


def test_wide_targets_get_wide_accumulators() -> None:
    x = np.array([1.0, 2.0**-40])
    assert hu.dot(x, np.ones(2)) == 1 + 2.0**-40
    assert hu.dot(x, np.ones(2), "float16", report=True).accumulate.name == "float32"


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 5)), ((4,), (4,)), ((4,), (4, 5)), ((3, 4), (4,)), ((2, 3, 4), (4, 5)),
     ((2, 1, 3, 4), (6, 4, 5)), ((0, 4), (4, 5)), ((3, 0), (0, 5)), ((4,), (2, 4, 5))],
)  # fmt: skip
def test_matmul_has_the_shapes_of_numpy(a: Any, b: Any) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(-3, 4, a).astype(np.float16), rng.integers(-3, 4, b).astype(np.float16)
    for how in ORDERS:
        found = hu.matmul(x, y, **how)
        np.testing.assert_array_equal(found, np.matmul(x, y))
        assert np.shape(found) == np.matmul(x, y).shape


@pytest.mark.parametrize("how", ORDERS, ids=lambda how: how["order"])
def test_results_do_not_depend_on_threads(how: dict[str, Any]) -> None:
    x = np.random.default_rng(6).standard_normal((64, 64)).astype(np.float16)
    wide = np.random.default_rng(7).standard_normal((300, 700)).astype(np.float16)
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            options = {"rounding": "stochastic", "seed": 1, "accumulate": "float16", **how}
            found.append((hu.matmul(x, x, **options), hu.sum(wide, axis=0, **options)))
    finally:
        numba.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (hu.matmul(x, x, **{**options, "seed": 2}) != found[0][0]).any()


def test_trees_do_not_depend_on_tiles() -> None:
    """Tiles of a tall column and of a wide matrix are cut differently; a tree is one tree."""
    x = np.random.default_rng(8).standard_normal(40_001).astype(np.float16)
    alone = hu.sum(x, order="pairwise", rounding="up")
    beside = hu.sum(np.repeat(x[:, None], 300, axis=1), axis=0, order="pairwise", rounding="up")
    assert (beside == alone).all()
    nodes = hu.cast(x, "float16")
    while len(nodes) > 1:
        pairs = hu.add(nodes[: len(nodes) // 2 * 2 : 2], nodes[1::2], None, "up")
        nodes = np.append(pairs, nodes[2 * len(pairs) :])
    assert nodes[0] == alone


def test_stochastic_sums_do_not_stall() -> None:
    ones = np.ones((10_000, 20), np.float16)
    found = hu.sum(ones, axis=0, rounding="stochastic", seed=3)
    assert len(set(found.tolist())) > 5
    assert abs(found.astype(float).mean() - 10_000) < 300


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.sum(np.arange(3)), "dtype int64"),
        (lambda: hu.sum(np.array([None])), "dtype object"),
        (lambda: hu.sum(3.0), "float has nothing to sum"),
        (lambda: hu.sum("12"), "str has nothing to sum"),
        (lambda: hu.sum([1.0, [2.0]], "float16"), "is no number"),
        (lambda: hu.sum([1.0, 2.0]), "name no format to sum in"),
        (lambda: hu.sum(np.zeros(3), axis=1), r"axis 1 is not one .* -1 to 0"),
        (lambda: hu.sum(np.zeros(3), axis="0"), "axis '0'"),
        (lambda: hu.sum([1.0], "float16", axis=1), "axis 1 is not one of a list"),
        (lambda: hu.sum(np.zeros(3), accumulate="e15m40"), "e15m40 is wider than float64"),
        (lambda: hu.sum(np.zeros(3), "e11m60"), "e11m60 is wider than float64"),
        (lambda: hu.cumsum(np.zeros(3), accumulate="e15m40"), "e15m40 is wider than float64"),
        (lambda: hu.sum(np.ma.array([1.0], mask=[True])), "lose its mask"),
        (
            lambda: hu.sum(np.zeros(3), order="paired"),
            "unknown order 'paired': did you mean pairwise",
        ),
        (lambda: hu.sum(np.zeros(3), order="blocked"), "blocks of None terms"),
        (lambda: hu.sum(np.zeros(3), order="blocked", block=0), "blocks of 0 terms"),
        (lambda: hu.sum(np.zeros(3), order="blocked", block=2.0), "blocks of 2.0 terms"),
        (lambda: hu.sum(np.zeros(3), block=4), "goes with order='blocked'"),
        (lambda: hu.sum(np.zeros(3), rounding="nearest"), "did you mean nearest_"),
        (lambda: hu.sum(np.zeros(3), rounding="stochastic"), "pass seed="),
        (lambda: hu.sum(np.zeros(3), rounding="stochastic", seed=1), "random_bits up to 7"),
        (lambda: hu.sum(np.zeros(3), "floot16"), "unknown format"),
        (lambda: hu.sum(np.zeros(3), accumulate="floot16"), "unknown format"),
        (lambda: hu.sum(np.zeros((3, 2)), axis=0, report=True), "tells of one sum"),
        (lambda: hu.dot(np.zeros(3), np.zeros(4)), r"one length: found shapes \(3,\) and \(4,\)"),
        (lambda: hu.dot([1.0], [1.0, 2.0], "float16"), "one length: found 1 and 2"),
        (lambda: hu.dot([1.0], np.zeros(1)), "a list goes with a list"),
        (lambda: hu.matmul(np.zeros((2, 3)), np.zeros((2, 3))), "cannot be multiplied"),
        (lambda: hu.matmul(np.zeros((2, 3)), np.float64(1)), "cannot be multiplied"),
        (lambda: hu.matmul([[1.0]], [[1.0]]), "give two NumPy arrays"),
        (lambda: hu.matmul(np.zeros((2, 2, 3)), np.zeros((3, 3, 2))), "cannot be multiplied"),
        (lambda: hu.cumsum(np.zeros(3), axis=3), "axis 3"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
