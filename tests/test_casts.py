"""Casts against the oracle: every midpoint and its neighbours, every format, every rounding."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, KNOWN_TO_ML_DTYPES, MODES, P3109, by_name
from halfulp.casting import OVERFLOWS, cast_to, code_number

# tfloat32 and wider have too many numbers to visit each in a few seconds: every so manieth.
VISITED = 2**13


def sampled_codes(f: hu.Format) -> list[int]:
    """Neighbour pairs by their lower code: all, or evenly spaced with both ends."""
    top = oracle.largest_code(f)
    if top < VISITED:
        low = [c for c in range(top + 1) if f.subnormals or not f.zero or c >= 2**f.fraction_bits]
        return low if f.subnormals or not f.zero else [0, *low]
    step = top // VISITED
    chosen = {0, 1, 2, top - 1, top, *range(0, top, step)}
    chosen |= {c + d for c in (2**f.fraction_bits, 2 * 2**f.fraction_bits) for d in (-2, -1, 0, 1)}
    return sorted(chosen)


def probes(f: hu.Format, dtype: Any) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Midpoints, the values next to them, and the numbers themselves, with (lower code, place).

    place is -1, 0 or 1 below, at or above half way, 2 where the probe is the number itself. Only
    what the dtype holds exactly is taken.
    """
    values, meant = [], []
    for code in sampled_codes(f):
        floor, ceiling = oracle.meaning(f, code), oracle.value_after(f, code)
        middle = (floor + ceiling) / 2
        for exact, place in ((floor, 2), (middle, 0)):
            if abs(exact) > Fraction(float(np.finfo(dtype).max)) or float(exact) != exact:
                continue
            held = dtype(float(exact))
            if Fraction(float(held)) != exact:
                continue
            values.append(held)
            meant.append((code, place))
            if place == 0:
                for toward, side in ((-np.inf, -1), (np.inf, 1)):
                    near = np.nextafter(held, dtype(toward))
                    if floor < Fraction(float(near)) < ceiling if np.isfinite(near) else False:
                        values.append(near)
                        meant.append((code, side))
    return np.array(values, dtype), meant


def expected_code(f: hu.Format, code: int, place: int, mode: str, negative: bool) -> Any:
    if place == 2:
        return oracle.signed(f, code, negative)
    top = oracle.largest_code(f)
    up = oracle.goes_up(mode, place, code % 2 == 1, negative) and not (
        mode == "to_odd" and code == top
    )
    if not up:
        return oracle.signed(f, code, negative)
    return "overflow" if code == top else oracle.signed(f, oracle.after(f, code), negative)


def overflow_code(f: hu.Format, negative: bool) -> int:
    """The default: infinity, else NaN, else the largest number."""
    found = next(
        (c for c in range(oracle.largest_code(f) + 1, 2 ** (f.width - f.signed))
         if oracle.meaning(f, c) == "inf"), None,
    )  # fmt: skip
    if found is not None:
        return oracle.signed(f, found, negative)
    if f.nan == "negative_zero":
        return 2 ** (f.width - 1)
    if f.nan == "none":
        return oracle.signed(f, oracle.largest_code(f), negative)
    return oracle.signed(f, 2 ** (f.width - f.signed) - 1, negative and f.signed_zero)


def same(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return (found == expected) & (np.signbit(found) == np.signbit(expected)) | (
        np.isnan(found) & np.isnan(expected)
    )


ALL = [f for f in (*CATALOGUE, *CUSTOMS, *P3109) if f.name != "float64"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("f", ALL, ids=by_name)
def test_every_midpoint_and_its_neighbours(f: hu.Format, dtype: Any) -> None:
    values, meant = probes(f, dtype)
    assert len(values) or f.emin < -1022, "the probes of a wide format lie beyond the dtype"
    signs = [False, True] if f.signed else [False]
    for mode in MODES:
        for negative in signs:
            x = -values if negative else values
            codes = hu.encode(x, f, mode)
            expected = [expected_code(f, c, place, mode, negative) for c, place in meant]
            over = overflow_code(f, negative)
            wanted = np.array([over if e == "overflow" else e for e in expected], codes.dtype)
            zero = np.array([v == 0 for v in values])
            if not f.zero:  # zero itself has no place there; its fate is tested below
                codes, wanted, x = codes[~zero], wanted[~zero], x[~zero]
            wrong = np.flatnonzero(codes != wanted)
            assert not wrong.size, (mode, x[wrong[:3]], codes[wrong[:3]], wanted[wrong[:3]])
            decoded = np.array([code_number(f, int(c)).to_float() for c in wanted])
            with np.errstate(over="ignore"):
                assert same(hu.cast(x, f, mode), decoded.astype(dtype)).all(), mode


@pytest.mark.parametrize("f", ALL, ids=by_name)
def test_single_numbers_are_cast_as_arrays_are(f: hu.Format) -> None:
    values, _ = probes(f, np.float64)
    chosen = values[:: max(1, len(values) // 60)]
    both = np.concatenate([chosen, -chosen, [0.0, -0.0, np.inf, -np.inf, np.nan, 1e300, -1e300]])
    for mode in MODES:
        codes = hu.encode(both, f, mode).tolist()
        assert [hu.encode(v, f, mode) for v in both.tolist()] == codes, mode


@given(st.fractions(), st.sampled_from(ALL), st.sampled_from(MODES))
def test_any_fraction_is_rounded_once(value: Fraction, f: hu.Format, mode: str) -> None:
    check_fraction(value, f, mode)


@given(
    st.integers(-(2**80), 2**80), st.integers(-1200, 1200), st.sampled_from(ALL),
    st.sampled_from(MODES),
)  # fmt: skip
def test_any_power_range_is_rounded_once(n: int, e: int, f: hu.Format, mode: str) -> None:
    check_fraction(n * Fraction(2) ** e, f, mode)


def check_fraction(value: Fraction, f: hu.Format, mode: str) -> None:
    if value == 0 or (value < 0 and not f.signed):
        return
    expected = oracle.round_code(f, value, mode)
    expected = {"overflow": overflow_code(f, value < 0), "least": 0}.get(expected, expected)
    assert hu.encode(value, f, mode) == expected


@pytest.mark.parametrize("bits", [1, 4, 32])
@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    f=st.sampled_from([f for f in ALL if f.signed and f.zero]),
    word=st.integers(0, 2**32 - 1),
)
def test_stochastic_takes_the_neighbour_its_noise_says(
    bits: int, value: float, f: hu.Format, word: int
) -> None:
    if value == 0:
        return
    expected = oracle.round_code(f, Fraction(value), "stochastic", word=word, bits=bits)
    expected = overflow_code(f, value < 0) if expected == "overflow" else expected
    assert cast_to(f, "stochastic", random_bits=bits).code(value, word=word) == expected


@pytest.mark.parametrize("f", ALL, ids=by_name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("bits", [1, 31, 32])
def test_stochastic_arrays_draw_what_the_oracle_draws(f: hu.Format, dtype: Any, bits: int) -> None:
    from halfulp.noise import WORD, key_of, random_word

    rng = np.random.default_rng(1)
    spread = float(max(-120, f.emin - 4)), float(min(120, f.emax + 1))
    x = (rng.choice([-1, 1], 200) * 2 ** rng.uniform(*spread, 200)).astype(dtype)
    if not f.signed:
        x = np.abs(x)
    codes = hu.encode(x, f, "stochastic", seed=5, random_bits=bits)
    for i, (value, code) in enumerate(zip(x.tolist(), codes.tolist(), strict=True)):
        word = random_word(key_of(5), i, 0) & WORD
        expected = oracle.round_code(f, Fraction(value), "stochastic", word=word, bits=bits)
        expected = {"overflow": overflow_code(f, value < 0), "least": 0}.get(expected, expected)
        assert code == expected, (value, word)


@pytest.mark.parametrize("f", KNOWN_TO_ML_DTYPES, ids=by_name)
def test_random_float32_bits_are_cast_as_ml_dtypes_casts_them(f: hu.Format) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2**32, 2**18, dtype=np.uint32).view(np.float32)
    dtype = np.dtype(f.name)
    with np.errstate(all="ignore"):
        theirs = x.astype(dtype)
    ours, nan = hu.encode(x, f), np.isnan(x)
    wrong = ours != theirs.view(ours.dtype)
    if f.name == "float16":  # NumPy carries NaN payloads over; a NaN is a NaN here
        wrong &= ~nan
    if f.name == "float8_e8m0fnu":
        # ml_dtypes misplaces float32 subnormals and takes every tie up; both are tested as traps.
        wrong &= np.abs(x) >= 2.0**-126
        wrong &= (x.view(np.uint32) & 0x7FFFFF) != 0x400000
    assert not wrong.any(), x[wrong][:5]


# Traps that others fell into.


def test_float64_is_never_cast_through_float32() -> None:
    x = np.array([1 + 2**-8 + 2**-40, 1 + 2**-11 + 2**-30, -(1 + 2**-8 + 2**-40)])
    assert hu.cast(x, "bfloat16").tolist() == [1.0078125, 1.0, -1.0078125]
    assert hu.cast(x, "float16")[1] == 1.0009765625
    assert x.astype(ml_dtypes.bfloat16).tolist()[0] == 1.0  # the trap itself


def test_exponents_are_right_just_below_powers_of_two() -> None:
    wrong_by_log2 = 0
    for power in range(-13, 16):
        x = np.nextafter(np.float64(2.0**power), 0)
        wrong_by_log2 += math.floor(math.log2(x)) != power - 1
        below = 2.0**power * (1 - 2.0**-11)  # float16's last number of the binade underneath
        for kind in (np.array([x]), np.array([-x])):
            assert abs(hu.cast(kind, "float16", "toward_zero")[0]) == below
            assert abs(hu.cast(kind, "float16")[0]) == 2.0**power
        assert hu.format("float16").ulp(float(x)) == Fraction(2) ** (power - 11)
    assert wrong_by_log2 > 20  # the trap itself


@pytest.mark.extra
def test_flushing_subnormals_process_wide_changes_nothing() -> None:
    import torch

    x = np.array([1e-40, -3e-39, 2.0**-149, 2.0**-127], np.float32)
    tiny = np.array([1, 0x8003, 0x7F], np.uint16).view(ml_dtypes.bfloat16)
    expected = [hu.cast(x, "bfloat16"), hu.cast(x, "float8_e8m0fnu"), hu.encode(tiny, "tfloat32")]
    assert np.count_nonzero(expected[0]) == 3
    assert torch.set_flush_denormal(True)
    try:
        found = [hu.cast(x, "bfloat16"), hu.cast(x, "float8_e8m0fnu"), hu.encode(tiny, "tfloat32")]
    finally:
        torch.set_flush_denormal(False)
    for ours, before in zip(found, expected, strict=True):
        np.testing.assert_array_equal(
            ours.view(f"u{ours.itemsize}"), before.view(f"u{before.itemsize}")
        )


def test_overflow_of_float16_begins_at_the_tie() -> None:
    x = np.array([65504, 65519.99, np.nextafter(65520, 0), 65520, 1e300])
    assert hu.cast(x, "float16").tolist() == [65504, 65504, 65504, np.inf, np.inf]


def test_fnuz_has_one_zero() -> None:
    for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz"):
        for x in (np.array([-0.0, -1e-30]), np.array([-0.0, -1e-30], np.float32)):
            assert hu.encode(x, name).tolist() == [0, 0]
            assert not np.signbit(hu.cast(x, name)).any()
        assert hu.encode(-0.0, name) == hu.encode("-1e-99", name) == 0


def test_zero_is_zero_where_one_is_beyond_the_range() -> None:
    for rounding in MODES:
        assert hu.cast(0.0, "e4m3b20", rounding) == 0
    assert hu.walk(0, "1e-3", 5, "e4m3b20").final.is_finite


def test_nan_in_formats_without_one() -> None:
    assert hu.encode(np.array([np.nan, -np.nan]), "float4_e2m1fn").tolist() == [8, 0]
    satfinite = hu.encode(np.array([np.nan, -np.inf]), "float4_e2m1fn", overflow="cuda-satfinite")
    assert satfinite.tolist() == [7, 15]


def test_e8m0_has_no_zero_no_sign_and_even_ties() -> None:
    x = np.array([3.0, 6.0, 12.0, 0.0, -0.0, -1.0, np.inf, 1e-45, 2.0**127 * 1.6], np.float32)
    #                tie to even code ↓     ↓ no zero, no sign, no infinity
    assert hu.encode(x, "float8_e8m0fnu").tolist() == [128, 130, 130, 255, 255, 255, 255, 0, 255]
    torch_like = hu.encode(x, "float8_e8m0fnu", overflow="torch")
    assert torch_like.tolist() == [129, 130, 131, 0, 0, 127, 255, 0, 255]  # ties up


def test_stochastic_can_reach_infinity_and_infinity_stays() -> None:
    x = np.full(4000, 65519.0, np.float32)
    values = hu.cast(x, "float16", "stochastic", seed=1)
    assert set(values.tolist()) == {65504.0, np.inf}
    assert 0.4 < np.isinf(values).mean() < 0.54  # 15/32 of an ulp above
    assert hu.cast(np.array([np.inf, -np.inf]), "float16", "stochastic", seed=1).tolist() == [
        np.inf, -np.inf,
    ]  # fmt: skip


def test_stochastic_stays_proportional_below_the_least_subnormal() -> None:
    for dtype in (np.float32, np.float64):
        x = np.full(100_000, 2.0**-24 / 8, dtype)
        up = (hu.cast(x, "float16", "stochastic", seed=3) > 0).mean()
        assert abs(up - 1 / 8) < 0.005
        assert not hu.cast(np.full(1000, 1e-40, dtype), "float16", "stochastic", seed=3).any()


def test_ties_are_even_and_half_up_is_another_rounding() -> None:
    x = [1.125 + 2**-11, 1.1259765625 + 2**-11]
    assert [hu.cast(v, "float16") for v in x] == [1.125, 1.126953125]
    assert [hu.cast(v, "float16", "nearest_away") for v in x] == [1.1259765625, 1.126953125]


def test_values_others_get_wrong() -> None:
    assert hu.cast(3.0, "e8m23") == 3.0
    assert hu.cast(65536.0, "float16") == math.inf
    assert hu.format("e4m3").max == 240
    assert hu.cast(1000.0, "float8_e4m3fn", overflow="saturate") == 448


@pytest.mark.parametrize("profile", ["torch", "torch<2.13", "ml_dtypes", "onnx", "cuda-satfinite"])
def test_profiles_differ_only_where_something_has_no_place(profile: str) -> None:
    fates = {
        "torch": (448, 448, math.inf), "torch<2.13": (math.nan, math.nan, math.inf),
        "ml_dtypes": (math.nan, math.nan, math.inf), "onnx": (448, 448, 57344),
        "cuda-satfinite": (448, 448, 57344),
    }  # fmt: skip
    found = (
        hu.cast(465.0, "float8_e4m3fn", overflow=profile),
        hu.cast(math.inf, "float8_e4m3fn", overflow=profile),
        hu.cast(1e9, "float8_e5m2", overflow=profile),
    )
    np.testing.assert_array_equal(found, fates[profile])
    assert hu.cast(464.0, "float8_e4m3fn", overflow=profile) == 448


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("f", [f for f in CATALOGUE if f.width < 32], ids=by_name)
def test_overflow_policies(f: hu.Format, overflow: str) -> None:
    if (overflow == "infinity" and not f.infinities) or (overflow == "nan" and not f.has_nan):
        with pytest.raises(hu.HalfulpError, match="cannot overflow"):
            hu.cast(1.0, f, overflow=overflow)
        return
    beyond, infinite = (float(hu.cast(v, f, overflow=overflow)) for v in (1e300, math.inf))
    largest = float(f.max)
    inf_kept = math.inf if f.infinities else (math.nan if f.has_nan else largest)
    expected = {
        "infinity": (math.inf, math.inf), "nan": (math.nan, math.nan),
        "saturate": (largest, largest), "saturate_finite": (largest, inf_kept),
    }[overflow]  # fmt: skip
    np.testing.assert_array_equal((beyond, infinite), expected)
    if f.signed:
        assert (
            math.copysign(1, hu.cast(-1e300, f, overflow=overflow)) == -1
            or f.nan == "negative_zero"
        )
