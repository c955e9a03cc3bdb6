"""Block formats against their definitions on Fractions; codes, packing, shapes, wrong use."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import halfulp as hu
import oracle
from halfulp.noise import WORD, key_of, random_word

NAMED = hu.block_formats()
RULES = ["floor", "ceil", "rceil", "even"]
OWN = [
    hu.block_format(element="e3m2f", size=5),
    hu.block_format(element="float8_e4m3fn", size=4, scale="float8_e5m2"),
    hu.block_format(element="e2m3f", size=8, scale="e5m10", tensor_scale=True),
]


def two(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def log2_floor(value: Fraction) -> int:
    exponent = 0
    while value >= 2:
        value, exponent = value / 2, exponent + 1
    while value < 1:
        value, exponent = value * 2, exponent - 1
    return exponent


def scale_exponent(f: hu.BlockFormat, amax: Fraction) -> int:
    """From the definitions of the rules; no bits."""
    top = Fraction(f.element.max)
    if f.scale_rule == "rceil":
        exponent = log2_floor(amax / top)
        exponent += amax > top * two(exponent)
    else:
        binade = log2_floor(amax)
        if f.scale_rule == "ceil":
            binade += amax > two(binade)
        if f.scale_rule == "even":
            steps = amax / two(binade - f.element.fraction_bits)
            nearest = math.floor(steps + Fraction(1, 2))  # a tie there is odd, and goes up
            binade = log2_floor(nearest * two(binade - f.element.fraction_bits))
        exponent = binade - log2_floor(top)
    return min(max(exponent, f.scale.emin), f.scale.emax)


def rounded(f: hu.Format, value: Fraction, mode: str = "nearest_even", word: int = 0) -> Any:
    """A value in a format, saturated."""
    if value == 0:
        return Fraction(0)
    code = oracle.round_code(f, value, mode, word=word)
    if code == "overflow":
        return f.max if value > 0 else -f.max
    meaning = oracle.meaning(f, code)
    return Fraction(0) if meaning == "-0" else meaning


def by_definition(x: np.ndarray, f: hu.BlockFormat, mode: str, seed: int = 0) -> list[Any]:
    """The values of a 1-d array as Fractions, or "nan"."""
    tensor = Fraction(1)
    finite = [Fraction(v) for v in x.tolist() if math.isfinite(v)]
    largest = max(map(abs, finite), default=Fraction(0))
    if f.tensor_scale and largest:
        quotient = largest / (f.element.max * f.scale.max)
        tensor = max(rounded(hu.format("float32"), quotient), two(-149))
    out: list[Any] = []
    for start in range(0, len(x), f.size):
        block = x[start : start + f.size].tolist()
        if not all(map(math.isfinite, block)):
            out += ["nan"] * len(block)
            continue
        values = [Fraction(v) for v in block]
        amax = max(map(abs, values))
        if f.has_power_scale:
            scale = two(scale_exponent(f, amax) if amax else f.scale.emin) * tensor
        else:
            scale = rounded(f.scale, amax / (f.element.max * tensor)) * tensor
        for i, value in enumerate(values):
            word = random_word(key_of(seed), start + i, 0) & WORD
            element = rounded(f.element, value / scale, mode, word) if scale else 0
            out.append(element * scale)
    return out


def nasty(dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Blocks whose largest are just below and above powers of two, tiny, huge, zero, ragged."""
    rng = np.random.default_rng(seed)
    rows = []
    for exponent in (-149, -140, -126, -20, 0, 120, 126):
        for amax in (1.0, 1 - 2.0**-24, 1 + 2.0**-23, 1.75 + 2.0**-22, 1.9375):
            row = rng.standard_normal(8) * np.exp2(rng.integers(-12, 1, 8).astype(float)) / 8
            row[rng.integers(8)] = amax
            rows.append(np.ldexp(row, exponent))
    rows += [np.zeros(8), np.full(8, -0.0), np.arange(8.0), np.arange(8) * 150.0]
    with np.errstate(over="ignore", under="ignore"):
        return np.concatenate([*rows, np.arange(5.0)]).astype(np.float32).astype(dtype)


def as_fractions(values: np.ndarray) -> list[Any]:
    return ["nan" if math.isnan(v) else Fraction(v) for v in values.astype(np.float64).tolist()]


def expected_in(dtype: Any, exact: list[Any]) -> list[Any]:
    """What is exact, as the dtype holds it: rounded to nearest."""
    f = hu.format(np.dtype(dtype).name)
    kept = []
    for value in exact:
        held = value
        if value not in ("nan", 0):
            held = oracle.meaning(f, oracle.round_code(f, value, "nearest_even"))
        kept.append(Fraction(0) if held in ("-0", 0) else held)
    return kept


@pytest.mark.parametrize("f", [*NAMED, *OWN], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_values_are_those_of_the_definition(f: hu.BlockFormat, dtype: Any) -> None:
    x = nasty(dtype)
    exact = by_definition(x, f, "nearest_even")
    assert as_fractions(hu.cast(x, f)) == expected_in(dtype, exact)


@pytest.mark.parametrize("f", NAMED, ids=str)
@pytest.mark.parametrize("mode", ["nearest_away", "toward_zero", "up", "down", "stochastic"])
def test_every_rounding(f: hu.BlockFormat, mode: str) -> None:
    x = nasty()[40:160]
    exact = by_definition(x, f, mode, seed=6)
    assert as_fractions(hu.cast(x, f, mode, seed=6)) == expected_in(np.float32, exact)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", [f.name for f in NAMED if f.has_power_scale])
def test_every_scale_rule(name: str, rule: str) -> None:
    f = hu.block_format(name, scale_rule=rule, size=8)
    x = nasty()
    assert as_fractions(hu.cast(x, f)) == expected_in(
        np.float32, by_definition(x, f, "nearest_even")
    )


def test_the_rules_differ_as_published() -> None:
    """amax 150 into e4m3: 126 where amax fits, 127 one binade up; 449 overflows under floor only."""
    x = np.float32([150.0])
    bytes_ = {
        rule: int(hu.encode(x, hu.block_format("mxfp8_e4m3", scale_rule=rule)).scales[0])
        for rule in RULES
    }
    assert bytes_ == {"floor": 126, "ceil": 127, "rceil": 126, "even": 126}
    x = np.float32([449.0])
    assert hu.cast(x, "mxfp8").tolist() == [448.0]
    assert hu.encode(x, hu.block_format("mxfp8", scale_rule="rceil")).scales.tolist() == [128]


def test_blocks_without_a_number() -> None:
    x = np.float32([[0.0, -0.0, 0, 0], [1, np.inf, 2, 3], [1, 2, np.nan, 4], [1, 2, 3, 4]])
    for name in ("mxfp4", "nvfp4", "mxfp8"):
        f = hu.block_format(name, size=4)
        values, blocks = hu.cast(x, f), hu.encode(x, f)
        assert values[0].tolist() == [0.0] * 4
        assert np.signbit(values[0]).tolist() == [False, True, False, False]
        assert np.isnan(values[1:3]).all()
        assert np.isfinite(values[3]).all()
        assert (
            blocks.scales[:, 0] == [0, f.scale.nan_code, f.scale.nan_code, blocks.scales[3, 0]]
        ).all()


@given(
    shape=st.lists(st.integers(0, 7), min_size=1, max_size=3), axis=st.integers(-3, 2),
    f=st.sampled_from([*NAMED, *OWN]), size=st.integers(1, 9), seed=st.integers(0, 99),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_axes_are_columns_on_their_own(
    shape: list[int], axis: int, f: hu.BlockFormat, size: int, seed: int
) -> None:
    if not -len(shape) <= axis < len(shape):
        return
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    f = hu.block_format(f, size=size, axis=axis, tensor_scale=False)
    found, blocks = hu.cast(x, f), hu.encode(x, f)
    last = hu.block_format(f, axis=-1)
    moved = np.moveaxis(x, axis, -1)
    for index in itertools.product(*map(range, moved.shape[:-1])):
        column = np.ascontiguousarray(moved[index])
        assert np.array_equal(np.moveaxis(found, axis, -1)[index], hu.cast(column, last))
    assert np.array_equal(hu.decode(blocks), found)
    elements, scales = blocks.packed()
    again = hu.Blocks.from_packed(f, x.shape, elements, scales)
    assert np.array_equal(again.codes, blocks.codes)
    assert np.array_equal(hu.decode(again), found)


def test_memory_layout_and_threads_change_nothing() -> None:
    x = np.random.default_rng(1).standard_normal((64, 4096)).astype(np.float32)
    for name in ("mxfp8", "nvfp4"):
        whole = hu.cast(x, name, "stochastic", seed=5)
        for other in (x.T.copy().T, np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4")):
            assert np.array_equal(hu.cast(other, name, "stochastic", seed=5), whole)
        out = np.empty_like(x)
        assert hu.cast(x, name, "stochastic", seed=5, out=out) is out
        assert np.array_equal(out, whole)
        own = x.copy()
        assert np.array_equal(hu.cast(own, name, "stochastic", seed=5, out=own), whole)
        threads = numba.get_num_threads()
        try:
            numba.set_num_threads(1)
            assert np.array_equal(hu.cast(x, name, "stochastic", seed=5), whole)
        finally:
            numba.set_num_threads(threads)


def test_quotients_at_ties_are_exact() -> None:
    """x a midpoint times its scale, and one ulp beside it, with scales of many bits."""
    rng = np.random.default_rng(8)
    f = hu.block_format("nvfp4", size=2)
    for _ in range(300):
        amax = np.float32(rng.uniform(1, 100))
        scale = np.float64(
            hu.decode(hu.encode(np.float32([amax]), f).scales, "float8_e4m3fn", "float64")[0]
        )
        tensor = hu.encode(np.float32([amax]), f).tensor_scale
        middle = np.float32(scale * tensor * rng.choice([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]))
        x = np.float32([amax, middle, amax, np.nextafter(middle, np.float32(0))])
        exact = by_definition(x, f, "nearest_even")
        assert as_fractions(hu.cast(x, f)) == expected_in(np.float32, exact)


@pytest.mark.parametrize("mode", ["nearest_even", "up", "to_odd"])
def test_quotients_beside_thresholds(mode: str) -> None:
    """As near to a threshold as a float32 product decides, with and without one that it does not.

    The largest block's quotient is exactly 6, so that its stretch is done with exact quotients.
    """
    rng, f = np.random.default_rng(9), hu.block_format("nvfp4", size=2)
    largest = np.float32(100 * (1 + rng.random()))
    tensor = hu.encode(np.repeat(largest, 2), f).tensor_scale
    amax = rng.uniform(1, 100, 2047).astype(np.float32)
    divisors = hu.decode(hu.encode(amax / np.float32(tensor) / 6, "e4m3"), "e4m3", "float64")
    thresholds = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0]
    beside = (divisors * tensor * rng.choice(thresholds, 2047)).astype(np.float32)
    steps = rng.integers(10, 20, 2047) * rng.choice([-1, 1], 2047)
    beside = (beside.view(np.int32) + steps.astype(np.int32)).view(np.float32)
    x = np.concatenate([[largest, largest], np.stack([amax, beside], 1).ravel()]).astype(np.float32)
    found = hu.cast(x, f, mode)
    assert as_fractions(found) == expected_in(np.float32, by_definition(x, f, mode))
    x[-1] = 0.5 * tensor * divisors[-1]  # a threshold, in the last stretch
    assert np.array_equal(hu.cast(x, f, mode)[:-1], found[:-1])


@given(st.lists(st.integers(0, 255), max_size=40), st.integers(1, 8))
def test_packing_both_ways(codes: list[int], bits: int) -> None:
    array = np.array(codes, np.uint8) & ((1 << bits) - 1)
    data = hu.pack(array, bits)
    assert len(data) == -(-len(codes) * bits // 8)
    assert hu.unpack(data, bits, len(codes)).tolist() == array.tolist()
    stream = sum(code << (i * bits) for i, code in enumerate(array.tolist()))
    assert int.from_bytes(data, "little") == stream


def test_mxint8_is_packed_as_twos_complement() -> None:
    blocks = hu.encode(np.float32([1.0, -1.0, 63 / 64, -1 / 64, 127 / 64]), "mxint8")
    elements, scales = blocks.packed()
    assert np.frombuffer(elements, np.int8).tolist() == [64, -64, 63, -1, 127]
    assert scales == bytes([127])
    with pytest.raises(hu.HalfulpError, match="unused"):
        hu.Blocks.from_packed("mxint8", (1,), b"\x80", b"\x7f")


def test_records() -> None:
    f = hu.block_format("mxfp4", axis=0, scale_rule="even")
    assert str(f) == "mxfp4_even_axis0"
    assert f.bits_per_element == 4.25
    assert '"size": 32' in f.to_json()
    assert "mxfp4" in str(hu.encode(np.ones(3, np.float32), "mxfp4"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.block_format("mxfp5"), "unknown block format"),
        (lambda: hu.block_format("mxfp4", size=0), "blocks of 0 elements"),
        (lambda: hu.block_format("mxfp4", size=True), "blocks of True"),
        (lambda: hu.block_format("mxfp4", axis="rows"), "axis is 'rows'"),
        (lambda: hu.block_format("mxfp4", scale_rule="flor"), "did you mean floor"),
        (lambda: hu.block_format("mxfp4", scale_rule="nearest"), "take the rule"),
        (lambda: hu.block_format("nvfp4", scale_rule="floor"), "take the rule nearest"),
        (lambda: hu.block_format(element="float16"), "up to 8 bits"),
        (lambda: hu.block_format(element="float4_e2m1fn", scale="float4_e2m1fn"), "for scales"),
        (lambda: hu.block_format(size=4), "needs element="),
        (lambda: hu.cast(1.0, "mxfp4"), "needs a NumPy array"),
        (lambda: hu.cast(np.arange(4), "mxfp4"), "int64 cannot be cast"),
        (lambda: hu.cast(np.float32(1.0), "mxfp4"), "no axes"),
        (lambda: hu.cast(np.ones(3), hu.block_format("mxfp4", axis=1)), "has axes -1 to 0"),
        (lambda: hu.cast(np.ones(3), "mxfp4", out=np.ones(2)), "out must be"),
        (lambda: hu.cast(np.ones(3), "mxfp4", "stochastic"), "pass seed="),
        (lambda: hu.pack(np.array([16]), 4), "does not fit 4 bits"),
        (lambda: hu.pack(np.array([-1]), 4), "code -1"),
        (lambda: hu.pack(np.array([1.0]), 4), "codes are integers"),
        (lambda: hu.pack(np.array([1]), 9), "allowed are 1 to 8"),
        (lambda: hu.unpack(b"ab", 4, 3000), "take 1500 bytes"),
        (lambda: hu.Blocks.from_packed("mxfp4", (4,), b"ab", b""), "take 1 bytes"),
        (lambda: hu.Blocks(hu.block_format("mxfp4"), np.zeros(4, np.uint8), np.zeros(3, np.uint8)).decode(),
         "do not belong"),
    ],
)  # fmt: skip
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()


@pytest.mark.parametrize("name", ["mxfp8", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("axis", [0, 1])
def test_strided_and_shared_memory_change_nothing(name: str, axis: int) -> None:
    """Also where a row of blocks is more than a thread's share: threads must not wait in threads."""
    f = hu.block_format(name, axis=axis)
    x = np.random.default_rng(0).standard_normal((40, 50_000)).astype(np.float32)
    expected = hu.cast(x, f)
    np.testing.assert_array_equal(hu.cast(np.asfortranarray(x), f), expected)
    strided = np.zeros((40, 100_000), np.float32)[:, ::2]
    np.testing.assert_array_equal(hu.cast(x, f, out=strided), expected)
    np.testing.assert_array_equal(hu.cast(x, f, out=x), expected)
