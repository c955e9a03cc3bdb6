"""Profiles against the stacks they name, and where two of them differ."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halfulp as hu
from cases import CATALOGUE
from halfulp.casting import Fate, Policy, default_policy
from halfulp.cli.app import run
from halfulp.exact import neighbours
from halfulp.profiles import PROFILES

INF, NAN = math.inf, math.nan
SPECIAL = [INF, -INF, NAN, -NAN, 0.0, -0.0, 1e30, -1e30, 3e38, 1e-30, -1e-30, -1.0, 3.0, -3.0]
LARGEST = np.float32(np.finfo(np.float32).max)
DOCS = Path(__file__).parent.parent / "docs" / "profiles.md"


@cache
def probes(name: str) -> np.ndarray:
    """Float32s: a format's numbers, the midpoints, what is beside and beyond them, and specials."""
    f = hu.format(name)
    codes = np.arange(f.max_code + 1, dtype=np.uint8 if f.width <= 8 else np.uint16)
    numbers = hu.decode(codes, f, "float64")
    ladder = np.append(numbers, 2 * numbers[-1] - numbers[-2])
    beyond = [0.0, numbers[0] / 2, *(ladder[-1] * k for k in (1.5, 2, 4)), 2.0**-149, 2.0**-140]
    subnormal = [k * 2.0**-127 for k in (0.5, 1, 1.25, 1.5, 1.75, 2)]
    with np.errstate(over="ignore"):
        x = np.concatenate([ladder, (ladder[:-1] + ladder[1:]) / 2, beyond, subnormal])
        x = x.astype(np.float32)
    x = np.append(x[np.isfinite(x)], LARGEST)
    beside = [np.nextafter(x, LARGEST), np.nextafter(x, np.float32(0))]
    x = np.unique(np.concatenate([x, *beside, np.float32([INF])]))
    return np.concatenate([x, -x, np.float32([NAN, -NAN])])


def agreed(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Where two float64 arrays hold the same numbers, zeros of the same sign; NaN is NaN."""
    both_nan = np.isnan(ours) & np.isnan(theirs)
    return both_nan | ((ours == theirs) & (np.signbit(ours) == np.signbit(theirs)))


def cast_under(profile: str, name: str, x: np.ndarray) -> np.ndarray:
    return hu.decode(hu.encode(x, name, overflow=profile), name, "float64")


def check(profile: str, name: str, theirs: np.ndarray) -> None:
    """A stack's results for the probes, except where all stacks are known not to round."""
    x = probes(name)
    same = agreed(cast_under(profile, name, x), theirs)
    known = np.zeros(x.shape, bool)
    if name == "float8_e8m0fnu":  # float32's subnormals: docs/profiles.md
        known = (abs(x) > 2.0**-127) & (abs(x) < 1.5 * 2.0**-127) & ~np.isnan(theirs)
        assert (theirs[known] == 2.0**-126).all()
        assert known.any()
    assert (same == ~known).all(), x[same == known][:8]


def narrow(profile: str) -> list[str]:
    """The formats of a profile that float32 numbers are rounded to."""
    return [name for name in PROFILES[profile].formats if hu.format(name).width <= 16]


@pytest.mark.parametrize("name", narrow("ml_dtypes"))
def test_the_ml_dtypes_profile_is_what_it_does(name: str) -> None:
    with np.errstate(all="ignore"):
        check("ml_dtypes", name, probes(name).astype(name).astype(np.float64))


@pytest.mark.extra
@pytest.mark.parametrize("name", narrow("torch"))
def test_the_torch_profile_is_what_it_does(name: str) -> None:
    import torch

    release = tuple(map(int, torch.__version__.split(".")[:2]))
    profile = "torch" if release >= (2, 13) else "torch<2.13"
    made = torch.from_numpy(probes(name)).to(getattr(torch, name))
    check(profile, name, made.double().numpy())
    one_by_one = [torch.tensor(float(v)).to(made.dtype).double().item() for v in SPECIAL]
    with np.errstate(over="ignore"):
        assert agreed(cast_under(profile, name, np.float32(SPECIAL)), np.array(one_by_one)).all()


@pytest.mark.extra
@pytest.mark.parametrize("name", narrow("jax"))
def test_the_jax_profile_is_what_it_does(name: str) -> None:
    import jax.numpy as jnp

    made = np.asarray(jnp.asarray(probes(name)).astype(getattr(jnp, name))).astype(np.float64)
    if name == "float4_e2m1fn":
        assert np.signbit(made[-2:]).all()  # NaN and -NaN: both −0
        made[-1] = 0.0
    check("jax", name, made)


@pytest.mark.parametrize("profile", ["ml_dtypes", "torch", "onnx"])
def test_float32_of_float64_overflows_as_ieee_754_says(profile: str) -> None:
    x = np.array([2.0**128 - 2.0**103, np.nextafter(2.0**128 - 2.0**103, 0), 1e300, -INF, NAN])
    with np.errstate(over="ignore"):
        theirs = x.astype(np.float32).astype(np.float64)
    assert theirs[:3].tolist() == [INF, float(LARGEST), INF]
    assert agreed(cast_under(profile, "float32", x), theirs).all()


# What documents say, for the stacks that are no dependency of the tests: their own tables.
# fmt: off
X = [1e30, -1e30, INF, -INF, NAN, -0.0]
TABLES = {
    # torch 2.12's headers, the float8 branch beyond the largest number: "result = 0x7f".
    ("torch<2.13", "float8_e4m3fn"): [NAN, NAN, NAN, NAN, NAN, -0.0],
    ("torch<2.13", "float8_e5m2"): [INF, -INF, INF, -INF, NAN, -0.0],
    # ONNX Cast-25: the two tables of float 8 types, and the pages of float4 and float6.
    ("onnx", "float16"): [INF, -INF, INF, -INF, NAN, -0.0],
    ("onnx", "float8_e4m3fn"): [448, -448, 448, -448, NAN, -0.0],
    ("onnx", "float8_e4m3fnuz"): [240, -240, 240, -240, NAN, 0.0],
    ("onnx", "float8_e5m2"): [57344, -57344, 57344, -57344, NAN, -0.0],
    ("onnx", "float8_e5m2fnuz"): [57344, -57344, 57344, -57344, NAN, 0.0],
    ("onnx", "float4_e2m1fn"): [6, -6, 6, -6, 6, -0.0],
    ("onnx", "float6_e2m3fn"): [7.5, -7.5, 7.5, -7.5, -0.0, -0.0],
    ("onnx", "float6_e3m2fn"): [28, -28, 28, -28, -0.0, -0.0],
    ("onnx-nosaturate", "float8_e4m3fn"): [NAN, NAN, NAN, NAN, NAN, -0.0],
    ("onnx-nosaturate", "float8_e4m3fnuz"): [NAN, NAN, NAN, NAN, NAN, 0.0],
    ("onnx-nosaturate", "float8_e5m2"): [INF, -INF, INF, -INF, NAN, -0.0],
    ("onnx-nosaturate", "float8_e5m2fnuz"): [NAN, NAN, NAN, NAN, NAN, 0.0],
    # OFP8 1.0, Table 3, its two modes; MX 1.0 clamps what is beyond the range.
    ("ocp", "float8_e4m3fn"): [448, -448, 448, -448, NAN, -0.0],
    ("ocp", "float8_e5m2"): [57344, -57344, 57344, -57344, NAN, -0.0],
    ("ocp-nonsaturating", "float8_e4m3fn"): [NAN, NAN, NAN, NAN, NAN, -0.0],
    ("ocp-nonsaturating", "float8_e5m2"): [INF, -INF, INF, -INF, NAN, -0.0],
    ("ocp", "float4_e2m1fn"): [6, -6],
    ("ocp-nonsaturating", "float6_e3m2fn"): [28, -28],
    # PTX cvt: "sign-preserved MAX_NORM"; NaN stays, or is "positive MAX_NORM" where there is none.
    ("cuda-satfinite", "float16"): [65504, -65504, 65504, -65504, NAN, -0.0],
    ("cuda-satfinite", "float8_e4m3fn"): [448, -448, 448, -448, NAN, -0.0],
    ("cuda-satfinite", "float8_e5m2"): [57344, -57344, 57344, -57344, NAN, -0.0],
    ("cuda-satfinite", "float6_e2m3fn"): [7.5, -7.5, 7.5, -7.5, 7.5, -0.0],
    ("cuda-satfinite", "float4_e2m1fn"): [6, -6, 6, -6, 6, -0.0],
    ("cuda-nosat", "float8_e4m3fn"): [NAN, NAN, NAN, NAN, NAN, -0.0],
    ("cuda-nosat", "float8_e5m2"): [INF, -INF, INF, -INF, NAN, -0.0],
    ("cuda-nosat", "float6_e3m2fn"): [28, -28, 28, -28, 28, -0.0],
}
# fmt: on


@pytest.mark.parametrize(("profile", "name"), TABLES)
def test_a_profile_is_what_its_document_says(profile: str, name: str) -> None:
    wanted = np.array(TABLES[profile, name], np.float64)
    x = np.array(X[: len(wanted)])
    assert agreed(cast_under(profile, name, x), wanted).all()
    one_by_one = [float(hu.cast(v, name, overflow=profile)) for v in x.tolist()]
    assert agreed(np.array(one_by_one), wanted).all()


def test_scales_of_each_stack() -> None:
    x = [3.0, 2.5, 2.0**127 * 1.25, 2.0**127 * 1.5, INF, 0.0, -3.0, -INF]
    least, top = 2.0**-127, 2.0**127
    wanted = {
        "halfulp": [2, 2, top, top, NAN, NAN, NAN, NAN],
        "ml_dtypes": [4, 2, top, NAN, NAN, NAN, NAN, NAN],
        "jax": [4, 2, top, NAN, NAN, NAN, NAN, NAN],
        "torch": [4, 2, top, NAN, NAN, least, 4, NAN],
        "torch<2.13": [4, 2, top, NAN, NAN, least, 4, NAN],
        "onnx": [4, 4, top, top, top, least, least, least],
    }
    assert set(wanted) == {p for p in PROFILES if "float8_e8m0fnu" in PROFILES[p].formats}
    for profile, values in wanted.items():
        ours = cast_under(profile, "float8_e8m0fnu", np.array(x))
        assert agreed(ours, np.array(values, np.float64)).all(), profile


def test_another_rounding_than_the_stacks_own_is_kept() -> None:
    assert hu.cast(3.0, "e8m0", "toward_zero", overflow="torch") == 2
    assert hu.cast(2.5, "e8m0", "nearest_away", overflow="onnx") == 2
    assert hu.cast(1.0625, "float8_e4m3fn", overflow="torch") == 1.0  # ties to even


def test_what_a_stack_lacks_follows_the_default() -> None:
    x = np.array(SPECIAL)
    for name in ("float6_e2m3fn", "e5m10", "p3109_k8p4se"):
        assert hu.encode(x, name, overflow="torch").tolist() == hu.encode(x, name).tolist()


def test_lines_name_formats_and_fields_that_there_are() -> None:
    names = [f.name for f in CATALOGUE]
    for name, profile in PROFILES.items():
        assert profile.source
        assert len(set(profile.formats)) == len(profile.formats)
        assert set(profile.formats) <= set(names), name
        for line in profile.lines:
            assert set(line.fates) <= set(Policy.__dataclass_fields__)
            # A line says nothing twice: its fates are not the default's.
            for target in map(hu.format, line.formats):
                default = default_policy(target)
                assert all(getattr(default, k) is not v for k, v in line.fates.items()), line


# The page of docs: its tables are the profiles.

WORDS = {
    "inf": Fate.INFINITY, "NaN": Fate.NAN, "largest": Fate.MAX, "+largest": Fate.POSITIVE_MAX,
    "least": Fate.LEAST, "sign dropped": Fate.MAGNITUDE, "opposite 0": Fate.OPPOSITE_ZERO,
}  # fmt: skip


def tables() -> list[list[list[str]]]:
    found: list[list[list[str]]] = [[]]
    for line in DOCS.read_text().splitlines():
        if line.startswith("| "):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1] and not line.startswith("|"):
            found.append([])
    return [table[1:] for table in found if table]


def test_the_page_has_the_default_fates() -> None:
    rows = {name: row[1:] for row in tables()[0] for name in row[0].split(", ")}
    assert set(rows) == {f.name for f in CATALOGUE}
    zeros = {"−0": "-0", "0": "0", "NaN": "nan"}
    for f in CATALOGUE:
        beyond, infinite, nan, minus_zero = rows[f.name]
        policy = default_policy(f)
        fates = [policy.overflow, policy.infinite, policy.nan]
        assert fates == [WORDS[word] for word in (beyond, infinite, nan)], f
        assert hu.cast("-0", f) == zeros[minus_zero]


def test_the_page_has_every_difference() -> None:
    found = {}
    for profile, names, *cells in tables()[1]:
        for name in names.split(", "):
            found[profile, name] = cells
    for profile in PROFILES:
        for f in CATALOGUE:
            stack = PROFILES[profile]
            default = [*default_policy(f), "nearest_even"]
            cells = found.pop((profile, f.name), [""] * 6)
            said = [
                WORDS.get(cell, cell) or fate for cell, fate in zip(cells, default, strict=True)
            ]
            assert [*stack.policy(f), stack.rounding(f, "nearest_even")] == said, (profile, f)
            assert bool(any(cells)) == (said != default)
    assert not found
    assert {name for row in tables()[2] for name in row[0].split(", ")} == {*PROFILES} - {"halfulp"}


# Where two differ.

PAIRS = [(a, b) for a in PROFILES for b in PROFILES]


def belongs(field: str, value: float, f: hu.Format) -> bool:
    """Whether a rule can be about a value at all."""
    if math.isnan(value):
        return field == "nan"
    if value < 0 and not f.signed:
        return field == "negative"
    if math.isinf(value):
        return field == "infinite"
    if not value:
        return field == "zero"
    if Fraction(value) > f.max or Fraction(-value) > f.max:
        return field == "overflow"
    low, high = neighbours(value, f)
    halfway = low is not None and high is not None and (low + high) / 2 == Fraction(value)
    return field == "rounding" or (field == "tie" and halfway)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_a_difference_is_what_the_casts_say(a: str, b: str) -> None:
    both = [f for f in CATALOGUE if all(f.name in PROFILES[name].formats for name in (a, b))]
    for f in both:
        x = probes(f.name) if f.width <= 8 else np.array(SPECIAL)
        codes = [hu.encode(x, f, overflow=name) for name in (a, b)]
        diff = hu.profile_diff(a, b, x, f)
        assert sum(d.differing for d in diff.differences) == (codes[0] != codes[1]).sum()
        for d in diff.differences:
            assert (d.name, d.elements) == (f.name, x.size)
            assert d.a_fate != d.b_fate
            assert len(d.examples) == min(d.differing, 3)
            for e in d.examples:
                assert e.index is not None
                assert [int(e.a_code, 16), int(e.b_code, 16)] == [c[e.index] for c in codes]
                assert belongs(d.field, float(x[e.index]), f), (d, e)
    assert hu.profile_diff(a, b, 1.0).compared == tuple(f.name for f in both)
    if a == b:
        assert not hu.profile_diff(a, b, np.array(SPECIAL))


@pytest.mark.parametrize("b", ["ml_dtypes", "onnx", "halfulp", "cuda-satfinite"])
@pytest.mark.parametrize("value", SPECIAL)
def test_a_number_is_an_array_of_one(value: float, b: str) -> None:
    one = hu.profile_diff("torch", b, value)
    array = hu.profile_diff("torch", b, np.array([value]))
    keys = [
        [(d.name, d.field, d.sentence, d.examples[0].a_code) for d in diff.differences]
        for diff in (one, array)
    ]
    assert keys[0] == keys[1]
    assert (one.elements, array.elements) == (None, 1)


def test_each_rule_by_an_example() -> None:
    found = {
        ("torch", "ml_dtypes", 1e6, "float8_e4m3fn"): ("overflow", "448", "nan"),
        ("torch", "ml_dtypes", INF, "float8_e4m3fn"): ("infinite", "448", "nan"),
        ("onnx", "ml_dtypes", NAN, "float4_e2m1fn"): ("nan", "6", "-0"),
        ("onnx", "ml_dtypes", -3, "float8_e8m0fnu"): ("negative", str(hu.number("2^-127")), "nan"),
        ("torch", "onnx", -INF, "float8_e8m0fnu"): ("negative", "nan", str(hu.number("2^-127"))),
        ("jax", "torch", 0, "float8_e8m0fnu"): ("zero", "nan", str(hu.number("2^-127"))),
        ("halfulp", "torch", 3, "float8_e8m0fnu"): ("tie", "2", "4"),
        ("onnx", "torch", 2.5, "float8_e8m0fnu"): ("rounding", "4", "2"),
        ("halfulp", "torch", 2.0**127 * 1.5, "float8_e8m0fnu"): ("tie", str(2**127), "nan"),
    }
    for asked, (field, a_value, b_value) in found.items():
        (only,) = hu.profile_diff(*asked).differences
        (example,) = only.examples
        made = (only.field, str(example.a_value), str(example.b_value))
        assert made == (field, a_value, b_value)


def test_sentences_name_the_rule() -> None:
    (only,) = hu.profile_diff("torch", "ml_dtypes", 1e6).differences
    assert only.sentence == (
        "448 is the largest number of float8_e4m3fn; torch saturates (torch 2.13, Tensor.to), "
        "ml_dtypes gives NaN (ml_dtypes 0.6)"
    )
    (only,) = hu.profile_diff("onnx", "torch", INF, "float8_e5m2").differences
    assert only.sentence.startswith("float8_e5m2 has an infinity; onnx saturates (ONNX Cast-25")
    (only,) = hu.profile_diff("onnx", "ocp", "nan", "float4_e2m1fn").differences
    assert "onnx gives 6 (ONNX 1.23, Float stored in 4 bits)" in only.sentence


def test_records_print_and_become_json() -> None:
    diff = hu.profile_diff("torch", "ml_dtypes", "1e6")
    text = str(diff)
    assert text.splitlines()[0] == "1e6"
    assert "448 (0x7e)  nan (0x7f)" in text
    assert "in 8 other formats: float64, float32" in text
    found = json.loads(diff.to_json())
    assert found["differences"][0]["examples"][0]["a_value"] == "448"
    assert found["compared"] == list(diff.compared)
    assert "hu-title" in diff._repr_html_()
    same = hu.profile_diff("torch", "onnx", 1.5)
    assert not same
    assert "the same   in 9 formats: float64" in str(same)
    both = hu.profile_diff("torch", "ml_dtypes", np.float32([[1, 1e6], [2, 500]]))
    assert "2 of 4 elements differ" in str(both)
    assert "for all 4 elements in 8 other formats" in str(both)
    assert [e.index for e in both.differences[0].examples] == [1, 3]


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_text_fits_eighty_columns(a: str, b: str) -> None:
    subjects: list[Any] = [*SPECIAL, "1" + "0" * 90, "float16:0xfc00", np.array(SPECIAL * 2)]
    far = np.ones(10_003, np.float32)
    far[-14:] = SPECIAL
    for x in [*subjects, far]:
        for line in str(hu.profile_diff(a, b, x)).splitlines():
            assert len(line) <= 80, line


@pytest.mark.extra
def test_differences_as_a_data_frame() -> None:
    frame = hu.profile_diff("torch", "ml_dtypes", np.float32([1, 1e6, INF, 2e6])).to_pandas()
    assert frame.index.tolist() == ["float8_e4m3fn"] * 2
    assert frame["field"].tolist() == ["overflow", "infinite"]
    assert frame[["differing", "elements", "index"]].values.tolist() == [[2, 4, 1], [1, 4, 2]]
    assert frame["a_value"].tolist() == ["448", "448"]
    empty = hu.profile_diff("torch", "jax", 1.5).to_pandas()
    assert (len(empty), list(empty)) == (0, list(frame))


@pytest.mark.extra
def test_tensors_of_other_frameworks() -> None:
    import jax.numpy as jnp
    import torch

    x = np.float32([[1, 1e6], [NAN, -3]])
    wanted = hu.profile_diff("torch", "ml_dtypes", x).differences
    assert [d.field for d in wanted] == ["overflow", "negative"]
    tensor = torch.tensor(x, requires_grad=True)
    for theirs in (tensor, tensor.t().contiguous().t(), jnp.asarray(x)):
        assert hu.profile_diff("torch", "ml_dtypes", theirs).differences == wanted
    halves = hu.profile_diff("torch", "ml_dtypes", tensor.bfloat16())
    assert halves.differences[0].examples[0].value == hu.number(999424)
    assert halves.subject == "4 elements of torch.bfloat16"


def test_arrays_are_read_in_c_order_and_left_alone() -> None:
    x = np.asfortranarray(np.float32([[1, 2, 500], [3, 1e6, 4]]))
    x.flags.writeable = False
    (only,) = hu.profile_diff("torch", "ml_dtypes", x[:, ::-1]).differences
    assert [e.index for e in only.examples] == [0, 4]
    assert not hu.profile_diff("torch", "ml_dtypes", np.zeros((0, 3), np.float32))
    assert hu.profile_diff("torch", "ml_dtypes", np.float32(1e6)).elements == 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.profile_diff("tork", "onnx", 1.0), "unknown profile 'tork': did you mean"),
        (lambda: hu.profile_diff("torch", "tork", 1.0), "unknown profile"),
        (lambda: hu.profile_diff(None, "torch", 1.0), "unknown profile 'None'"),
        (lambda: hu.profile_diff("torch", "saturate", 1.0), "unknown profile"),
        (lambda: hu.profile_diff("torch", "onnx", 1.0, []), "no format"),
        (lambda: hu.profile_diff("torch", "onnx", 1.0, "float6_e2m3fn"), "'torch' says nothing"),
        (lambda: hu.profile_diff("onnx", "torch", 1.0, ["half", "e5m10"]), "nothing of e5m10"),
        (lambda: hu.profile_diff("torch", "onnx", 1.0, "floot16"), "did you mean float16"),
        (lambda: hu.profile_diff("torch", "onnx", [1.0]), "not supported"),
        (lambda: hu.profile_diff("torch", "torch", np.arange(3)), "cannot be cast"),
        (lambda: hu.profile_diff("torch", "onnx", "one"), "is no number"),
        (lambda: hu.profile_diff("torch", "onnx", 1.0, rounding="nearest"), "unknown rounding"),
        (lambda: hu.profile_diff("torch", "onnx", 1.0, rounding="stochastic"), "random bits"),
        (lambda: hu.cast(1.0, "float16", overflow="tork"), "unknown overflow or profile 'tork'"),
        (lambda: hu.encode(np.ones(2), "float16", overflow="ocp-sat"), "did you mean ocp"),
    ],
)
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()


# The command.


def halfulp(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = run(["explain", *arguments])
    found = capsys.readouterr()
    return status, found.out, found.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("1e6 --profile torch --against ml_dtypes", "448 (0x7e)  nan (0x7f)"),
        ("1e6 --profile torch --against ml_dtypes --to half,float8_e5m2", "the same"),
        ("-3 --profile onnx --against jax --to e8m0", "no negative numbers"),
        ("float16:0x7c00 --profile onnx --against torch", "57344 (0x7b)"),
        ("2.5 --profile onnx --against jax --to e8m0 --rounding toward_zero", "in the one format"),
        ("1e6 --profile torch --to float8_e4m3fn", "saturated"),
        ("1e6 --profile ml_dtypes --to float8_e4m3fn", "becomes nan"),
        ("3 --profile torch --to e8m0", "a tie: away from zero"),
        ("1e6 --profile cuda-satfinite --via float32 --to float16", "65504"),
    ],
)
def test_the_command(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = halfulp(capsys, *arguments.split())
    assert (status, err) == (0, "")
    assert says in " ".join(out.split()) or says in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_command_as_json_and_as_a_page(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["inf", "--profile", "ocp", "--against", "ocp-nonsaturating", "--json"]
    page = tmp_path / "page.html"
    status, out, err = halfulp(capsys, *arguments, "--html", str(page))
    assert (status, err) == (0, f"wrote {page}\n")
    found = json.loads(out)
    assert [(d["name"], d["field"]) for d in found["differences"]] == [
        ("float8_e5m2", "infinite"), ("float8_e4m3fn", "infinite"),
    ]  # fmt: skip
    assert "57344 (0x7b)" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("1 --against torch", "name that by --profile"),
        ("1", "Missing option '--to'"),
        ("1 --profile torch", "--profile and --against"),
        ("1 --profile tork --to float16", "unknown profile 'tork': did you mean torch?"),
        ("1 --profile torch --against tork", "unknown profile"),
        ("1 --profile torch --overflow nan --to float16", "give one"),
        ("1 --profile torch --against onnx --overflow nan", "give one"),
        ("1 --profile torch --against onnx --via float32", "--via does not go with --against"),
        ("1 --profile torch --to float6_e2m3fn", "says nothing of float6_e2m3fn"),
        ("1 --profile torch --against onnx --to float6_e2m3fn", "says nothing of float6_e2m3fn"),
        ("1 --profile torch --against onnx --to ,", "no format was named"),
        ("1 --profile torch --against onnx --rounding stochastic", "random bits"),
        ("one --profile torch --against onnx", "is no number"),
        ("1e6 --profile torch --against onnx --html /no/such/x.html", "does not exist"),
    ],
)
def test_mistakes_get_one_sentence_and_exit_two(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = halfulp(capsys, *arguments.split())
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("halfulp: ")
    assert err.count("\n") == 1
    assert len(err) < 400


def test_numbers_need_no_framework() -> None:
    code = (
        "import sys; from halfulp.cli.app import run\n"
        "run(['explain', '1e6', '--profile', 'torch', '--against', 'onnx'])\n"
        "print([m for m in ('numpy', 'numba', 'torch', 'ml_dtypes') if m in sys.modules],"
        "file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "[]\n")
    assert "57344" in ran.stdout


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    command, *shown = DOCS.read_text().split("```")[1].strip().splitlines()
    printed = halfulp(capsys, *command.split()[3:])[1]
    assert printed.splitlines() == shown
