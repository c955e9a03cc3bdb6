"""What a monitor asks of arrays, compiled: against the tally, and against sums of fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
from halfulp.backends.observing import Seen, observe
from halfulp.backends.outcomes import outcome
from oracle import meaning, round_code

FORMATS = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float6_e2m3fn", "float4_e2m1fn")
DTYPES = (np.float32, np.float64)


def arrays(dtype: Any) -> dict[str, Any]:
    """Arrays of many kinds, among them every special value and sizes around those of blocks."""
    draw = np.random.default_rng(7)
    integers = np.dtype(f"i{np.dtype(dtype).itemsize}")
    limits = np.iinfo(integers)
    wide = [draw.integers(limits.min, limits.max, n, integers).view(dtype) for n in (1023, 70_001)]
    return {
        "empty": np.zeros(0, dtype),
        "zeros": np.array([0.0, -0.0], dtype),
        "specials": np.array([np.inf, -np.inf, np.nan, 1.0, -65520.0, 480.0, 464.0, 448.0], dtype),
        "one": np.array([-3.0], dtype),
        "normal": (draw.normal(size=5000) * 1e-4).astype(dtype),
        "spread": (draw.normal(size=600_000) * np.exp2(draw.integers(-40, 20, 600_000))).astype(dtype),
        "integers": draw.integers(0, 500, 3000).astype(dtype),
        "patterns": wide[0],
        "more patterns": wide[1],
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", arrays(np.float32))
def test_what_is_observed_is_what_the_tally_counts(kind: str, dtype: Any) -> None:
    x = arrays(dtype)[kind]
    seen, tallies = observe(x, FORMATS), hu.tally(x, FORMATS)
    for row, t in zip(seen.counts.tolist(), tallies, strict=True):
        assert row == [t.exact, t.underflow, t.subnormal, t.overflow], t.name
    t = tallies[0]
    assert (seen.elements, seen.zero, seen.infinite, seen.nan) == (
        x.size,
        t.zero,
        t.infinite,
        t.nan,
    )
    assert tuple(seen.binades.items()) == t.binades
    finite = np.abs(x[np.isfinite(x)])
    assert seen.largest == finite.max(initial=0)
    assert seen.least == (finite[finite > 0].min() if (finite > 0).any() else 0)


def test_parts_of_an_array_merge_to_the_whole() -> None:
    x = arrays(np.float32)["patterns"]
    parts = [observe(part, FORMATS) for part in np.array_split(x, 7)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merged(part)
    whole = observe(x, FORMATS)
    same = [f for f in Seen._fields if f not in ("counts", "binades")]
    assert [getattr(merged, f) for f in same] == [getattr(whole, f) for f in same]
    assert (merged.counts == whole.counts).all()
    assert dict(sorted(merged.binades.items())) == whole.binades


@pytest.mark.parametrize("name", ["float8_e8m0fnu", "float64"])
def test_formats_that_cannot_be_observed_are_refused(name: str) -> None:
    with pytest.raises(hu.HalfulpError, match=f"{name} cannot be watched"):
        observe(np.zeros(3, np.float32), ("float16", name))


# Updates: each against its definition, on fractions.


def rounded(f: Any, value: Fraction) -> Any:
    """The number of a format nearest to a value; what overflows stays where nothing is beyond."""
    code = round_code(f, value, "nearest_even") if value else 0
    if code == "overflow":
        return f.max * (-1 if value < 0 else 1) if f.nan == "none" else "overflow"
    number = meaning(f, code)
    return Fraction(0) if number == "-0" else number


def is_lost(f: Any, w: float, d: float) -> bool:
    kept = rounded(f, Fraction(w))
    return d != 0 and not isinstance(kept, str) and kept == rounded(f, kept + Fraction(d))


@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"]
)
def test_lost_updates_are_those_of_the_definition(name: str) -> None:
    f, draw = hu.format(name), np.random.default_rng(3)
    some = [f.magnitude(int(c)) for c in draw.integers(0, f.max_code, 60)]
    numbers = [float(v) for v in some if v > 0] + [1.0, float(f.max), float(f.least_positive)]
    half = [float(v) * 2.0**-f.precision for v in map(Fraction, numbers)]
    pairs = [
        (sign * w, s * h * factor)
        for w, h in zip(numbers, half, strict=True)
        for sign in (1, -1) for s in (1, -1)
        for factor in (0.0, 0.5, 1 - 2.0**-50, 1.0, 1 + 2.0**-50, 2.0, 3.0)
    ]  # fmt: skip
    w, d = (np.array(side) for side in zip(*pairs, strict=True))
    expected = sum(is_lost(f, *pair) for pair in pairs)
    found = outcome(w, d, name)
    assert 0 < expected < found.updates == sum(x != 0 for _, x in pairs)
    assert int(found.lost[0]) == expected


finite = st.floats(-60_000, 60_000, allow_subnormal=False)


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_nearest_and_float32_agree_with_fractions(pairs: list[tuple[float, float]]) -> None:
    w, d = (np.array(side) for side in zip(*pairs, strict=True))
    for name in ("bfloat16", "float32"):
        expected = sum(is_lost(hu.format(name), *pair) for pair in pairs)
        assert int(outcome(w, d, name).lost[0]) == expected


def test_sums_of_squares_are_of_what_arrives() -> None:
    draw = np.random.default_rng(5)
    w, d = draw.normal(size=3000) * 0.02, draw.normal(size=3000) * 1e-4
    found = outcome(w, d, "bfloat16")
    kept = hu.cast(w, "bfloat16")
    arrived = hu.add(kept, d, "bfloat16") - kept
    assert found.intended == pytest.approx((d * d).sum(), rel=1e-13)
    assert found.effective[0] == pytest.approx((arrived * arrived).sum(), rel=1e-13)
    assert found.product[0] == pytest.approx((arrived * d).sum(), rel=1e-13)


@pytest.mark.extra
def test_kahan_is_what_the_storage_of_recipes_does() -> None:
    import torch

    from halfulp.training.storage import STORAGES

    kahan, draw = STORAGES["kahan"], np.random.default_rng(6)
    w, d = draw.normal(size=4000) * 0.02, draw.normal(size=4000) * 1e-6
    weight, rest = torch.empty(4000, dtype=torch.bfloat16), torch.empty(4000, dtype=torch.bfloat16)
    kahan.split(torch.from_numpy(w).float(), "bfloat16", weight, rest, None)
    value = torch.empty(4000)
    kahan.join(weight, rest, value)
    before = weight.clone(), rest.clone()
    moved = (value.double() + torch.from_numpy(d)).float()
    kahan.split(moved, "bfloat16", weight, rest, None)
    same = (weight == before[0]) & (rest == before[1])
    found = outcome(np.float32(w).astype(float), d, "bfloat16")
    assert 0 < int(same.sum()) == int(found.lost[2])


def test_stochastic_updates_arrive_on_average() -> None:
    w, d = np.full(1 << 20, 1.0), np.full(1 << 20, 2.0**-12)  # a 32nd of bfloat16's ulp
    found = outcome(w, d, "bfloat16", seed=11)
    share = float(found.lost[1]) / found.updates
    assert share == pytest.approx(1 - 2.0**-5, abs=1e-3)
    assert found.product[1] / found.intended == pytest.approx(1, abs=0.03)
    assert int(found.lost[0]) == found.updates


def test_no_number_of_threads_changes_an_outcome() -> None:
    draw, threads = np.random.default_rng(8), numba.get_num_threads()
    w, d = draw.normal(size=300_000), draw.normal(size=300_000) * 1e-3
    many = outcome(w, d, "float16", seed=1)
    try:
        numba.set_num_threads(1)
        one = outcome(w, d, "float16", seed=1)
    finally:
        numba.set_num_threads(threads)
    assert all(np.array_equal(a, b) for a, b in zip(many, one, strict=True))


def test_what_is_not_finite_is_no_update() -> None:
    w = np.array([1.0, np.inf, np.nan, 1.0, 1e30])
    d = np.array([np.nan, 1.0, 1.0, np.inf, 1.0])
    found = outcome(w, d, "float16")
    assert found.updates == 1  # 1e30 is beyond float16, where nothing is left to lose
    assert found.lost.tolist() == [0, 0, 0]
    assert np.isfinite(found.effective).all()
