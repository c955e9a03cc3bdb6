"""Loss scales on gradients: counts and windows against a reference on fractions, and the command."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import halfulp as hu
from cases import CATALOGUE, CUSTOMS, P3109, by_name
from halfulp.cli.app import run as command_line
from halfulp.gradients import read_gradients, recordings
from halfulp.loss_scales.bounds import bounds
from halfulp.loss_scales.elements import of_arrays
from halfulp.loss_scales.sampled import of_run
from halfulp.loss_scales.shares import FIRST, LAST, ScaleShares, scale_of, scale_shares
from halfulp.loss_scales.shares_text import window_text
from halfulp.loss_scales.sources import built_in, gradients_of, of_array
from halfulp.runs.samples import Series
from halfulp.runs.scale_window import window_at
from oracle import round_code
from test_findings import Planted, spread

ARRAY = np.ndarray[Any, Any]
SIGNED = [f for f in (*CATALOGUE, *CUSTOMS) if f.signed and f.zero]
FEW = [f for f in SIGNED if f.name in ("float16", "bfloat16", "float8_e4m3fn", "e4m3b7_nosub",
                                       "e3m0", "float8_e5m2fnuz", "float4_e2m1fn")]  # fmt: skip
NAMES = ["float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"]


def kind(f: hu.Format, value: Fraction) -> str:
    """What becomes of a number, by the reference."""
    code = round_code(f, abs(value), "nearest_even")
    if code == "overflow":
        return "overflow"
    if code == 0:
        return "zero"
    return "subnormal" if f.subnormals and code < 2**f.fraction_bits else "normal"


def counted(f: hu.Format, values: ARRAY, scale: Fraction) -> tuple[int, int, int]:
    kinds = Counter(
        kind(f, Fraction(float(x)) * scale) for x in values.ravel() if np.isfinite(x) and x
    )
    return kinds["zero"], kinds["subnormal"], kinds["overflow"]


def told(found: ScaleShares) -> list[tuple[int, int, int]]:
    """The counts, which are exact."""
    for row in found:
        assert (row.zero, row.subnormal, row.overflow) == (
            row.zero_most, row.subnormal_most, row.overflow_most,
        )  # fmt: skip
    return [(row.zero, row.subnormal, row.overflow) for row in found]


# Counts.


def near_bounds(f: hu.Format, scale: Fraction, dtype: str) -> ARRAY:
    """The numbers of a dtype at and around all that a scaled cast decides by."""
    points = [f.least_positive / 2, f.least_positive, f.least_normal, f.max,
              f.least_normal - f.ulp(0) / 2, f.max + f.ulp(f.max) / 2, f.max + f.ulp(f.max)]  # fmt: skip
    ends = np.finfo(dtype)
    seen = []
    for point in points:
        wanted = point / scale
        if float(ends.tiny) < wanted < float(ends.max):
            x = np.array(float(wanted), dtype)
            for _ in range(3):
                x = np.nextafter(x, x.dtype.type(0))
            for _ in range(7):
                seen.append(x)
                x = np.nextafter(x, x.dtype.type(np.inf))
    return np.array(seen, dtype)


@pytest.mark.parametrize("f", [*SIGNED, *(f for f in P3109 if f.signed)], ids=by_name)
@pytest.mark.parametrize("scale", [Fraction(1), Fraction(1024), Fraction(1, 3), Fraction(1000)])
def test_bounds_are_where_the_reference_has_them(f: hu.Format, scale: Fraction) -> None:
    for dtype in ("float32", "float64"):
        x = near_bounds(f, scale, dtype)
        if x.size:
            x[::2] *= -1
            found = scale_shares(of_array("x", x), scale, [f])
            assert told(found) == [counted(f, x, scale)]


FLOATS = {
    16: st.floats(width=16), 32: st.floats(width=32), 64: st.floats(width=64),
}  # fmt: skip
SCALES = st.one_of(
    st.integers(-60, 60).map(lambda e: Fraction(2) ** e), st.integers(1, 10**7).map(Fraction),
    st.fractions(min_value=Fraction(1, 10**9), max_value=10**9).filter(lambda x: x > 0),
)  # fmt: skip


@given(st.data(), st.sampled_from([16, 32, 64]), SCALES)
def test_counts_are_the_references(data: Any, width: int, scale: Fraction) -> None:
    values = data.draw(st.lists(FLOATS[width], min_size=1, max_size=12))
    x = np.array(values, f"float{width}")
    found = scale_shares(of_array("x", x), scale, FEW)
    assert told(found) == [counted(f, x, scale) for f in FEW]
    looked, finite = found.looked, np.isfinite(x)
    assert (looked.elements, looked.zero) == (x.size, int((x == 0).sum()))
    assert (looked.nonfinite, looked.nonzero) == (int((~finite).sum()), int((x[finite] != 0).sum()))
    assert sum(count for _, count in found.binades) == looked.nonzero


@given(st.integers(-40, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_shares_of_a_power_of_two_are_those_of_scaled_arrays(exponent: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=3000) * 2.0 ** rng.integers(-40, 5, 3000)).astype(np.float32)
    x[rng.random(x.size) < 0.05] = 0
    scaled = np.ldexp(x.astype(np.float64), exponent)  # exact
    found = scale_shares(of_array("x", x), Fraction(2) ** exponent, NAMES)
    tallies = hu.tally(scaled, NAMES)
    assert told(found) == [(t.underflow, t.subnormal, t.overflow) for t in tallies]
    assert found.binades == tuple((e - exponent, n) for e, n in tallies[0].binades)


def test_curves_are_the_counts_of_each_scale() -> None:
    gradients = of_arrays("x", {"a": spread(-30, -3), "b": spread(-20, 2)})
    found = scale_shares(gradients, "3/7", NAMES, curves=True)
    assert scale_shares(gradients, "3/7", NAMES).curves == ()
    for name, curve in zip(NAMES, found.curves, strict=True):
        assert (curve.name, curve.first, curve.last) == (name, FIRST, LAST)
        for i, exponent in enumerate(range(FIRST, LAST + 1)):
            (row,) = scale_shares(gradients, f"2^{exponent}", [name])
            at = (curve.zero[i], curve.subnormal[i], curve.overflow[i])
            assert at == (row.zero, row.subnormal, row.overflow)
            assert at == (curve.zero_most[i], curve.subnormal_most[i], curve.overflow_most[i])


def test_any_layout_and_byte_order_is_the_same_gradient() -> None:
    x = np.random.default_rng(3).normal(size=(30, 40)).astype(np.float32) * 2.0**-20
    every = [x, x.T, x[::-1, ::-1], x.astype(">f4"), np.asfortranarray(x), x.astype(np.float64)]
    found = [scale_shares(of_array("x", y), 100, NAMES) for y in every]
    assert all(one.rows == found[0].rows for one in found)
    narrow = x.astype(ml_dtypes.bfloat16)
    wide = scale_shares(of_array("x", narrow.astype(np.float32)), 100, NAMES)
    assert scale_shares(of_array("x", narrow), 100, NAMES) == wide


# Windows.


def brute_force(arrays: Mapping[str, ARRAY], f: hu.Format, keep: Fraction) -> list[int]:
    """The exponents that fit, one by one, by the reference."""
    fits = []
    for exponent in range(-30, 50):
        scale = Fraction(2) ** exponent
        for x in arrays.values():
            zero, _, over = counted(f, x, scale)
            if over or zero > (1 - keep) * np.count_nonzero(x):
                break
        else:
            fits.append(exponent)
    return fits


@pytest.mark.parametrize("name", ["float16", "float8_e5m2", "float8_e4m3fn", "e4m3b7_nosub"])
@pytest.mark.parametrize("keep", ["0.999", "0.9", "1"])
def test_windows_are_those_of_brute_force(name: str, keep: str) -> None:
    f, rng = hu.format(name), np.random.default_rng(9)
    for low, high in ((-20, -8), (-9, -6), (-25, -1)):
        arrays = {
            str(i): np.float32(2.0 ** rng.uniform(low, high, 40) * rng.choice([-1, 1], 40))
            for i in range(2)
        }
        (row,) = scale_shares(of_arrays("x", arrays), 1, [f], keep=keep)
        fits = brute_force(arrays, f, Fraction(keep))
        if not fits:
            assert (row.least > row.largest, row.place) == (True, "none")
            continue
        assert (row.least, row.largest) == (Fraction(2) ** fits[0], Fraction(2) ** fits[-1])
        place = "in" if 0 in fits else "below" if fits[0] > 0 else "above"
        assert row.place == place


def test_the_edges_of_a_window_are_exact() -> None:
    def window(name: str, size: float) -> tuple[Fraction | None, Fraction | None]:
        (row,) = scale_shares(of_arrays("x", {"a": np.float64([size])}), 1, [name])
        return row.least, row.largest

    # 65,520 rounds away, half the least number to zero; in float8_e4m3fn 464 stays.
    for size, high in ((65519.0, 1), (65520.0, Fraction(1, 2)), (32760.0, 1), (32759.0, 2)):
        assert window("float16", size)[1] == high
    for size, high in ((464.0, 1), (464.001, Fraction(1, 2)), (232.0, 2)):
        assert window("float8_e4m3fn", size)[1] == high
    for size, low in ((2.0**-25, 2), (1.001 * 2.0**-25, 1), (2.0**-24, 1), (2.0**-26, 4)):
        assert window("float16", size)[0] == low


def test_a_window_names_what_bounds_it() -> None:
    arrays = {"low": np.float32([2.0**-30]), "high": np.float32([1.0]), "none": np.zeros(3, "f4")}
    (row,) = scale_shares(of_arrays("x", arrays), "2^6", ["float16"])
    assert (row.bound_below, row.bound_above) == ("low", "high")
    assert (row.least, row.largest, row.place) == (2**6, 2**15, "in")  # 2**-25 alone is a tie
    (row,) = scale_shares(of_arrays("x", arrays), "2^5", ["float16"])
    assert (row.zero, row.place) == (1, "below")
    (row,) = scale_shares(of_arrays("x", arrays), "2^16", ["float16"])
    assert (row.overflow, row.place) == (1, "above")


def test_the_share_is_of_each_tensor() -> None:
    few = np.float32([2.0**-40, *[1.0] * 9])  # a tenth of its elements
    many = np.float32([1.0] * 99_990)
    (row,) = scale_shares(of_arrays("x", {"few": few, "many": many}), 1, ["float16"], keep=0.999)
    assert (row.least, row.bound_below, row.zero) == (2**16, "few", 1)
    (row,) = scale_shares(of_arrays("x", {"few": few, "many": many}), 1, ["float16"], keep=0.9)
    assert row.least < 1


def test_narrow_gradients_have_no_least_scale() -> None:
    arrays = {"half": np.float16([2.0**-24, 1.0]), "wide": np.float32([1.0])}
    found = scale_shares(of_arrays("x", arrays), 1, ["float16", "float8_e4m3fn"])
    for row in found:
        assert (row.least, row.hidden, row.bound_above) == (None, "half", "half")
    assert [row.place for row in found] == ["unknown", "unknown"]
    (row,) = scale_shares(of_arrays("x", arrays), "2^17", ["float16"])
    assert row.place == "above"
    assert "narrow already" in str(found)


def test_what_has_no_gradient_tells_nothing() -> None:
    found = scale_shares(of_arrays("x", {"a": np.float32([0, np.inf, np.nan])}), 1, NAMES)
    assert [(row.place, row.largest, row.zero, row.overflow) for row in found] == (
        [("unknown", None, 0, 0)] * 4
    )
    assert (found.looked.nonfinite, found.looked.zero, found.binades) == (2, 1, ())
    assert "there is no nonzero element" in str(found)
    with pytest.raises(hu.HalfulpError, match="has no tensor"):
        of_arrays("x", {})
    with pytest.raises(hu.HalfulpError, match="int64"):
        of_arrays("x", {"a": np.arange(3)})


# Recorded runs.


def planted(arrays: Mapping[str, ARRAY], *steps: int, role: str = "gradient") -> Planted:
    run = Planted()
    for step in steps or (0,):
        weight = {Series("w", "weight", "float32"): spread(-4, 4)}  # which is no gradient
        run.sample(step, weight | {Series(n, role, "float32"): x for n, x in arrays.items()}, {})
    return run


@given(st.integers(0, 2**32 - 1), SCALES)
@settings(max_examples=60)
def test_a_run_tells_what_its_binades_do(seed: int, scale: Fraction) -> None:
    rng = np.random.default_rng(seed)
    arrays = {
        name: np.float32(rng.normal(size=60) * 2.0 ** rng.integers(low - 25, low, 60))
        for name, low in (("a", -30), ("b", 3))
    }
    arrays["b"][:5] = 0.0, 2.0**-25, 2.0**-14, 65504.0, 1.0
    exact = scale_shares(of_arrays("x", arrays), scale, FEW)
    found = scale_shares(of_run(planted(arrays).run()), scale, FEW)
    assert (found.binades, found.looked.exact) == (exact.binades, False)
    assert (found.looked.nonzero, found.looked.zero) == (exact.looked.nonzero, exact.looked.zero)
    for row, true in zip(found, exact, strict=True):
        for name in ("zero", "subnormal", "overflow"):
            low, high = getattr(row, name), getattr(row, f"{name}_most")
            assert low <= getattr(true, name) <= high
        assert row.largest == true.largest
        assert row.least in (true.least, 2 * true.least)
        assert row.bound_above == true.bound_above


def test_only_binades_with_a_bound_are_open() -> None:
    arrays = {"a": np.float32([2.0**-28, 1.5 * 2.0**-25, 1.0, 40000.0, 65504.0])}
    (row,) = scale_shares(of_run(planted(arrays).run()), 1, ["float16"])
    # By the largest magnitude no element of its binade overflows.
    assert (row.zero, row.zero_most, row.overflow_most) == (1, 2, 0)
    (row,) = scale_shares(of_run(planted(arrays).run()), 2, ["float16"])
    assert (row.zero, row.zero_most) == (1, 1)
    assert (row.overflow, row.overflow_most) == (2, 2)


def test_the_window_of_a_run_is_the_runs_own() -> None:
    arrays = {"a": spread(-30, -8), "b": spread(-12, 3)}
    run = planted(arrays, 0, 10, role="activation gradient").run()
    window = window_at(run, 0, "float16", 0.9)
    (row,) = scale_shares(of_run(run, 0), 1, ["float16"], keep=0.9)
    assert (row.least, row.largest) == (window.least, window.largest)
    assert (row.bound_below, row.bound_above) == (window.bound_below, window.bound_above)
    assert of_run(run).looked.title == "Net, step 10"
    with pytest.raises(hu.HalfulpError, match="step 3 was not sampled"):
        of_run(run, 3)
    with pytest.raises(hu.HalfulpError, match="no sampled step yet"):
        of_run(Planted().run())


# What comes with halfulp.


@pytest.mark.parametrize("name", ["digits", "gpt"])
def test_what_is_recorded_is_whole(name: str) -> None:
    about = recordings()[name]
    early, late = about.steps
    assert early < late < about.of_steps
    for step in about.steps:
        found = read_gradients(name, step)
        assert [x.size for x in found.values()] == [part.kept for part in about.parts]
        assert all(x.dtype == np.float32 and np.isfinite(x).all() for x in found.values())
        assert all(x.any() for x in found.values())
    assert all(np.prod(part.shape) == part.elements for part in about.parts)
    shares = [Fraction(part.kept, part.elements) for part in about.parts]
    assert max(shares) - min(shares) < Fraction(1, 50)
    assert about.kept <= 32768
    with pytest.raises(hu.HalfulpError, match=f"{early} and {late} were"):
        read_gradients(name, late + 1)


def test_recordings_are_small() -> None:
    folder = Path(hu.__file__).parent / "gradients"
    assert sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) < 400_000
    with pytest.raises(hu.HalfulpError, match="did you mean digits"):
        read_gradients("digit")


def test_a_slider_does_not_wait() -> None:
    x = np.random.default_rng(0).normal(size=100_000).astype(np.float32) * np.float32(1e-4)
    gradients = of_array("x", x)
    scale_shares(gradients, 1)
    took = []
    for exponent in range(5):
        began = time.perf_counter()
        scale_shares(gradients, f"2^{exponent}", curves=True)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05


# Scales.


@pytest.mark.parametrize(
    ("given", "scale"), [("65536", 65536), ("2^16", 65536), (0.1, Fraction(0.1)), ("1/3", Fraction(1, 3)),
                         ("1e4", 10**4), (np.float32(8), 8)],
)  # fmt: skip
def test_scales_are_taken_as_they_are_written(given: Any, scale: Any) -> None:
    assert scale_of(given) == scale


@pytest.mark.parametrize("scale", [0, -1, "inf", "nan", "2^1101", "2^-1101", float("inf")])
def test_scales_are_positive(scale: Any) -> None:
    with pytest.raises(hu.HalfulpError, match="allowed are positive numbers from"):
        scale_of(scale)


def test_bounds_are_three() -> None:
    kept, normal, over = bounds(hu.format("float8_e4m3fn"))
    assert (kept.at, kept.itself) == (Fraction(1, 1024), False)
    assert (normal.at, normal.itself) == (Fraction(15, 1024), True)
    assert (over.at, over.itself) == (464, False)


# The command.


def halfulp(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = command_line(["scale", *arguments])
    found = capsys.readouterr()
    return status, found.out, found.err


def test_the_command_tells_counts_and_windows(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = halfulp(capsys, "gpt")
    assert (status, err) == (0, "")
    assert "gpt, step 290  gradients × 2^16 (65,536)" in out
    assert "stand for 110,784 elements" in out
    status, out, _ = halfulp(capsys, "digits", "--step", "10", "--scale", "1000", "--json")
    found = json.loads(out)
    assert (found["looked"]["step"], found["scale"], found["keep"]) == (10, "1000", "0.999")
    wanted = scale_shares(built_in("digits", 10), 1000)
    assert found == wanted.to_dict()
    assert [row["format"] for row in found["rows"]] == NAMES


@pytest.mark.parametrize(
    "arguments",
    [
        ("digits",), ("gpt", "--scale", "1/3"), ("gpt", "--formats", "float16", "--keep", "1"),
        ("digits", "--scale", "2^900", "--formats", "e8m7_inf_nannegzero,float4_e2m1fn,p3109_k16p11se"),
        ("digits", "--scale", "0.123456789012345678901234567890123456789"),
    ],
)  # fmt: skip
def test_text_fits_eighty_columns(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    status, out, _ = halfulp(capsys, *arguments)
    assert status == 0
    assert max(map(len, out.splitlines())) <= 80


def test_long_names_and_counts_fit_eighty_columns() -> None:
    name = "transformer.encoder.layers.17.attention.self.query_key_value.projection." + "x" * 70
    arrays = {name: spread(-30, -3), "b": np.float16([1.0])}
    for gradients in (of_arrays("x", arrays), of_run(planted({name: spread(-30, -3)}).run())):
        assert max(map(len, str(scale_shares(gradients, 1)).splitlines())) <= 80
    many = of_arrays("x", {"a": np.full(12_345_678, 1e-8, np.float32)})
    text = str(scale_shares(many, 1, ["float16", "e8m7_inf_nannegzero"]))
    assert "12,345,678 100.00 %" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_windows_are_told_in_a_sentence() -> None:
    arrays = {"a": np.float32([2.0**-20, 1.0])}
    (row,) = scale_shares(of_arrays("x", arrays), 1000, ["float16"])
    assert window_text(row, Fraction(1000))[0] == "2^-4 to 2^15, and 1000 fits"
    (row,) = scale_shares(of_arrays("x", arrays), 1, ["float4_e2m1fn"])
    assert window_text(row, Fraction(1))[0] == "none: 2^19 or more would be needed, and 2^2 at most"


def test_files_and_logs_are_sources(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    x, path, log = spread(-30, -3), tmp_path / "x.npy", tmp_path / "run.db"
    np.save(path, x)
    wanted = told(scale_shares(of_array("x", x), 1))
    found = json.loads(halfulp(capsys, str(path), "--scale", "1", "--json")[1])
    assert [(r["zero"], r["subnormal"], r["overflow"]) for r in found["rows"]] == wanted
    assert found["looked"]["name"] == "x.npy"
    run = Planted(log)
    for step in (0, 10):
        run.sample(step, {Series("a", "gradient", "float32"): x}, {})
    run.writer.close()
    found = json.loads(halfulp(capsys, str(log), "--json")[1])
    assert (found["looked"]["step"], found["looked"]["exact"]) == (10, False)
    text = halfulp(capsys, str(log), "--step", "0")[1]
    assert "Net, step 0" in text
    assert "Only their binades are known" in text
    assert gradients_of(str(log)).looked.nonzero == x.size


def test_mistakes_get_one_sentence_and_exit_two(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    good, objects, text = tmp_path / "x.npy", tmp_path / "o.npy", tmp_path / "notes.txt"
    np.save(good, np.zeros(3, np.float32))
    np.save(objects, np.array([{}], object), allow_pickle=True)
    text.write_text("these are notes")
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    for arguments, says in (
        (("nope",), "give digits or gpt, a .npy file, or the log"),
        ((str(tmp_path / "none.npy"),), "No such file"),
        ((str(objects),), "never read"),
        ((str(tmp_path / "x.npz"),), "an archive"),
        ((str(text),), "is no log"),
        ((str(tmp_path),), "is a folder"),
        ((str(good), "--step", "3"), "has no steps"),
        (("digits", "--step", "3"), "10 and 1990 were"),
        (("digits", "--step", "x"), "not a valid integer"),
        (("digits", "--scale", "-1"), "allowed are positive numbers"),
        (("digits", "--scale", "two"), "is no number"),
        (("digits", "--keep", "1.5"), "share is 1.5"),
        (("digits", "--formats", "floot16"), "did you mean float16"),
        (("digits", "--formats", ","), "--formats names none"),
        (("digits", "--formats", "float8_e8m0fnu"), "has no sign"),
        ((), "Missing argument"),
    ):  # fmt: skip
        status, out, err = halfulp(capsys, *arguments)
        assert (status, out) == (2, ""), arguments
        assert says in err
        assert err.startswith("halfulp: ")
        assert err.count("\n") == 1
        assert len(err) < 500
