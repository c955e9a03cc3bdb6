"""Tallies: exact counts by three roads and by the oracle, merging, and sums in a defined order."""

from __future__ import annotations

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
from cases import CATALOGUE, CUSTOMS, DRAWN_AND_NOT, MODES, by_name
from halfulp.backends import evidence
from halfulp.casting import cast_to
from halfulp.tallies import Tally, tally

FORMATS = [f for f in (*CATALOGUE, *CUSTOMS) if f.precision <= 24 and f.width <= 32]
SOURCES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2]


def nasty(f: hu.Format, dtype: Any, count: int = 60) -> np.ndarray:
    """Ties, neighbours of every threshold, numbers of the format, and what lies far outside."""
    rng = np.random.default_rng(7)
    edges = [f.least_positive, f.least_normal, f.max, f.least_positive / 2, f.max + f.ulp(f.max)]
    edges = [e for e in edges if Fraction(1, 2**1000) < e < 2**1000]
    near = [float(e) * (1 + k * 2.0**-20) for e in edges for k in range(-4, 5)]
    near += [float(e) * (1 - 2.0 ** -(f.precision + k)) for e in edges for k in range(-2, 3)]
    low, high = max(f.emin - 8, -1000), min(f.emax + 3, 1000)
    spread = rng.standard_normal(count) * np.exp2(rng.integers(low, high, count).astype(float))
    grid = [f.magnitude(int(c)) for c in rng.integers(0, f.max_code + 1, count)]
    grid = [float(g) for g in grid if g < 2**1000]
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -3e-42, 1e-39, 2.0**-149, 480.0]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        values = np.concatenate([near, np.negative(near), spread, grid, special])
        return values.astype(np.float32).astype(dtype)


def counted_by_definition(x: np.ndarray, f: hu.Format, mode: str) -> dict[str, int]:
    """Each value for itself, by the oracle."""
    found = dict.fromkeys(("zero", "exact", "underflow", "overflow", "subnormal", "finite"), 0)
    top = oracle.largest_code(f)
    for value in x.astype(np.float64).tolist():
        if not math.isfinite(value):
            continue
        found["finite"] += 1
        if value == 0:
            found["zero"] += 1
            continue
        if value < 0 and not f.signed:
            continue
        code = oracle.round_code(f, Fraction(value), mode)
        size = abs(Fraction(value))
        beyond = size > f.max and beyond_range(f, size, value < 0, mode)
        if code == "least":
            continue
        found["overflow"] += beyond
        if beyond or code == "overflow":
            continue
        result = oracle.meaning(f, code)
        result = Fraction(0) if result == "-0" else result
        found["exact"] += result == Fraction(value)
        found["underflow"] += result == 0
        found["subnormal"] += 0 < abs(result) < f.least_normal
        assert abs(result) <= oracle.meaning(f, top)
    return found


def beyond_range(f: hu.Format, size: Fraction, negative: bool, mode: str) -> bool:
    """Whether a value rounds, were the exponents endless, to beyond the largest number."""
    after = oracle.value_after(f, oracle.largest_code(f))
    if size >= after:
        return True
    if size <= f.max:
        return False
    rest = (size - f.max) / (after - f.max)
    place = (rest > Fraction(1, 2)) - (rest < Fraction(1, 2))
    return oracle.goes_up(mode, place, f.max_code % 2 == 1, negative)


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
@pytest.mark.parametrize("mode", MODES)
def test_counts_are_those_of_the_definition(f: hu.Format, mode: str) -> None:
    for dtype in SOURCES if mode in ("nearest_even", "up") else [np.float32]:
        x = nasty(f, dtype)
        t = tally(x, f, mode)
        expected = counted_by_definition(x, f, mode)
        finite = expected.pop("finite")
        assert {name: getattr(t, name) for name in expected} == expected, np.dtype(dtype)
        assert t.zero + t.exact + t.inexact == finite
        assert t.elements == x.size == finite + t.infinite + t.nan
        assert sum(count for _, count in t.binades) == finite - t.zero


@pytest.mark.parametrize("f", FORMATS, ids=by_name)
@pytest.mark.parametrize("mode", DRAWN_AND_NOT)
def test_what_is_told_is_what_is_seen(f: hu.Format, mode: str) -> None:
    """What comes out infinite or NaN is what the cast itself makes."""
    x = nasty(f, np.float32)
    t = tally(x, f, mode, seed=3)
    codes = hu.encode(x, f, mode, seed=3)
    meanings = [oracle.meaning(f, int(code)) for code in codes]
    assert t.nan_out == meanings.count("nan")
    assert t.infinite_out == meanings.count("inf") + meanings.count("-inf")
    unchanged = sum(
        m == Fraction(v) for m, v in zip(meanings, x.tolist(), strict=True)
        if math.isfinite(v) and v and not isinstance(m, str)
    )  # fmt: skip
    assert t.exact == unchanged


@pytest.mark.parametrize("subnormals", [True, False], ids=["subnormals", "none"])
@pytest.mark.parametrize("mode", MODES)
def test_many_elements_are_counted_as_few_are(mode: str, subnormals: bool) -> None:
    """Large arrays have a histogram of leading ones, few or many formats at once."""
    x = np.concatenate([nasty(f, np.float32) for f in FORMATS])
    if not subnormals:
        x = x[~((x != 0) & (np.abs(x) < 2.0**-126))]
    times = evidence.MANY // x.size + 1
    assert x.size < evidence.MANY
    for formats in (FORMATS, FORMATS[3:6], FORMATS[6:8], FORMATS[10:11]):
        few, many = tally(x, formats, mode), tally(np.tile(x, times), formats, mode)
        for one, other in zip(few, many, strict=True):
            for name in ("zero", "exact", "inexact", "underflow", "subnormal", "overflow", "nan"):
                assert getattr(other, name) == times * getattr(one, name), (one.name, name)
            assert other.binades == tuple((e, times * n) for e, n in one.binades)


@pytest.mark.parametrize("overflow", ["saturate", "nan", "infinity", "torch"])
def test_policies_decide_what_comes_out(overflow: str) -> None:
    x = np.float32([1e6, -1e6, np.inf, np.nan, 1.0])
    f = "float8_e5m2"
    t = tally(x, f, overflow=overflow)
    values = hu.decode(hu.encode(x, f, overflow=overflow), f)
    assert (t.nan_out, t.infinite_out) == (np.isnan(values).sum(), np.isinf(values).sum())
    assert t.overflow == 2


def test_unsigned_and_zeroless_formats() -> None:
    t = tally(np.float32([0.0, -2.0, 2.0, 3.0, 1e-45]), "float8_e8m0fnu")
    assert (t.zero, t.exact, t.inexact, t.underflow, t.nan_out) == (1, 1, 3, 0, 2)


@pytest.mark.parametrize("dtype", SOURCES)
def test_several_formats_at_once_are_each_alone(dtype: Any) -> None:
    x = nasty(hu.format("float16"), dtype)
    together = tally(x, FORMATS, errors=True)
    assert list(together) == [tally(x, f, errors=True) for f in FORMATS]
    assert together["float16"] == together[FORMATS.index(hu.format("float16"))]


@given(cut=st.integers(0, 600), mode=st.sampled_from(MODES))
@settings(deadline=None)
def test_tallies_of_parts_merge_to_that_of_the_whole(cut: int, mode: str) -> None:
    x = nasty(hu.format("float16"), np.float32)
    whole = tally(x, "float16", mode)
    assert tally(x[:cut], "float16", mode) + tally(x[cut:], "float16", mode) == whole


def test_different_casts_do_not_merge() -> None:
    x = np.ones(3, np.float32)
    for other in (tally(x, "bfloat16"), tally(x, "float16", "up"),
                  tally(x, "float16", overflow="saturate"), tally(x.astype(np.float64), "float16")):  # fmt: skip
        with pytest.raises(hu.HalfulpError, match="do not merge"):
            tally(x, "float16") + other
    with pytest.raises(hu.HalfulpError, match="merges with a tally"):
        tally(x, "float16") + 3


def test_memory_layout_does_not_matter() -> None:
    x = nasty(hu.format("float16"), np.float32, 300)[:600].reshape(20, 30)
    plain = tally(x.copy(), ["float16", "e8m0"], errors=True)
    for other in (x.T.copy().T, np.repeat(x, 2, axis=1)[:, ::2], x.astype(">f4")):
        assert tally(other, ["float16", "e8m0"], errors=True) == plain
    unaligned = np.frombuffer(b"." + x.tobytes(), np.uint8)[1:].view(np.float32)
    assert tally(unaligned, ["float16", "e8m0"], errors=True) == plain


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_threads_change_nothing(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(300_000) * np.exp2(rng.integers(-30, 30, 300_000))).astype(np.float32)
    with np.errstate(over="ignore"):
        x = x.astype(dtype)
    both = tally(x, FORMATS, errors=True)
    assert tally(x, "float16", "stochastic", seed=1, errors=True).inexact >= 0
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert tally(x, FORMATS, errors=True) == both
    finally:
        numba.set_num_threads(threads)


def test_sums_are_folded_as_documented() -> None:
    """A binary tree over stretches of 1,024, which are added in order."""
    x = np.random.default_rng(2).standard_normal(70_000).astype(np.float32)
    e = tally(x, "float16", errors=True).errors
    assert e is not None
    error = hu.cast(x, "float16").astype(np.float64) - x.astype(np.float64)
    for column, found in ((error, e.error), (error**2, e.squared_error),
                          (x.astype(np.float64) ** 2, e.signal)):  # fmt: skip
        padded = np.zeros(-(-x.size // 1024) * 1024)
        padded[: x.size] = column
        leaves = padded.reshape(-1, 1024)
        while leaves.shape[1] > 1:
            half = leaves.shape[1] // 2
            leaves = leaves[:, :half] + leaves[:, half:]
        folds = [0.0] * -(-leaves.shape[0] // 64)
        for i, leaf in enumerate(leaves[:, 0].tolist()):
            folds[i // 64] += leaf
        total = 0.0
        for fold in folds:
            total += fold
        assert found == total
    relative = np.abs(error) / np.abs(x.astype(np.float64))
    assert (e.largest_relative, e.where) == (relative.max(), relative.argmax())
    assert e.compared == x.size
    assert e.sqnr == pytest.approx(10 * np.log10(e.signal / e.squared_error))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_errors_leave_out_what_is_not_finite(dtype: Any) -> None:
    x = np.array([1.0, np.inf, np.nan, 60000.0, 3e-3, 0.0], dtype)
    e = tally(x, "float8_e4m3", errors=True).errors
    assert e is not None
    kept = np.array([1.0, 3e-3, 0.0], dtype)
    alone = tally(kept, "float8_e4m3", errors=True).errors
    assert alone is not None
    assert (e.compared, e.error, e.signal) == (3, alone.error, alone.signal)
    assert (e.where, alone.where) == (4, 1)
    saturated = tally(x, "float8_e4m3", overflow="saturate", errors=True).errors
    assert saturated is not None
    assert (saturated.compared, saturated.where) == (4, 3)


def test_where_counts_on_from_part_to_part() -> None:
    x = np.float32([1.0, 1.0, 1e-9])
    whole = tally(np.concatenate([x, x]), "float16", errors=True)
    assert whole.errors is not None
    assert whole.errors.where == 2
    merged = tally(x[:2], "float16", errors=True) + tally(x, "float16", errors=True)
    assert merged.errors is not None
    assert merged.errors.where == 4


def test_empty_and_0d_arrays() -> None:
    assert tally(np.empty(0, np.float32), "float16", errors=True).elements == 0
    assert tally(np.empty((0, 3), np.float16), "float16", errors=True).elements == 0
    assert tally(np.float32(1.0), "float16").exact == 1
    assert tally(np.array(1e-9), "float16").underflow == 1


def test_records_print_and_become_json() -> None:
    x = np.float32([1.0, 1e-9, 0.1])
    t = tally(x, "float16", errors=True)
    assert "underflow" in str(t)
    assert '"underflow": 1' in t.to_json()
    table = tally(x, ["float16", "bfloat16"])
    assert "bfloat16" in str(table)
    assert all(len(line) <= 80 for line in [*str(t).splitlines(), *str(table).splitlines()])
    assert isinstance(table[0], Tally)


@pytest.mark.extra
def test_a_table_of_tallies_is_a_data_frame() -> None:
    table = tally(np.float32([1.0, 1e-9]), ["float16", "bfloat16"])
    assert table.to_pandas().loc["float16", "underflow"] == 1


@pytest.mark.parametrize(
    ("x", "options", "says"),
    [
        ([1.0], {}, "dtype"),
        (np.arange(3), {}, "int64 cannot be cast"),
        (np.array([None]), {}, "object cannot be cast"),
        (np.ones(2), {"to": []}, "no format"),
        (np.ones(2), {"to": "floot16"}, "unknown format"),
        (np.ones(2), {"overflow": "vanish"}, "unknown overflow or profile"),
        (np.ones(2), {"rounding": "stochastic"}, "pass seed="),
        (np.ones(2), {"to": "e15m60"}, "too wide"),
    ],
)
def test_wrong_use_is_explained(x: Any, options: dict[str, Any], says: str) -> None:
    to = options.pop("to", "float16")
    x = np.asarray(x, dtype=object) if isinstance(x, list) else x
    says = "object cannot be cast" if says == "dtype" else says
    with pytest.raises(hu.HalfulpError, match=says):
        tally(x, to, **options)


def test_edges_are_where_the_answer_changes() -> None:
    source = hu.format("float32")
    kept, normal, over, gaps = evidence.edges(cast_to("float8_e4m3fn"), source, False)
    value = [float(source.magnitude(p)) for p in (kept, normal, over, *gaps)]
    assert value == [
        np.nextafter(np.float32(2**-10), np.float32(1)), 0.0146484375,
        np.nextafter(np.float32(464), np.float32(500)), 480.0,
    ]  # fmt: skip
