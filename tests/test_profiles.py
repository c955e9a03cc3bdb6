"""Profiles against the stacks they name, and where two of them differ."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import halfulp as hu
from cases import CATALOGUE, KNOWN_TO_ML_DTYPES, by_name
from halfulp.cli.app import run
from halfulp.profiles import PROFILES, profiled_cast

SPECIAL = [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e30, -1e30, 1e-30, -1.0, 2.0]


def boundary(f: hu.Format) -> np.ndarray:
    """What a format's fates are about: its largest numbers, what lies beyond, and specials."""
    top = float(f.max) if f.max < 2**127 else 2.0**127
    values = [top * k for k in (1, 1 + 2.0**-9, 1.03, 1.07, 1.13, 1.5, 2)]
    if not f.fraction_bits:  # ties and float32's subnormals are no fates: see docs/profiles.md
        values, specials = [1.0, 2.0, top], [v for v in SPECIAL if abs(v) not in (1e30, 1e-30)]
        return np.array([*specials, *values, *np.negative(values)], np.float32)
    with np.errstate(over="ignore"):
        return np.array([*SPECIAL, *values, *np.negative(values)]).astype(np.float32)


@pytest.mark.parametrize("f", KNOWN_TO_ML_DTYPES, ids=by_name)
def test_the_ml_dtypes_profile_is_what_it_does(f: hu.Format) -> None:
    x = boundary(f)
    with np.errstate(all="ignore"):
        theirs = x.astype(f.name).astype(np.float64)
    ours = hu.decode(hu.encode(x, f, overflow="ml_dtypes"), f, "float64")
    assert np.array_equal(ours, theirs, equal_nan=True)
    assert np.array_equal(np.signbit(ours[ours == 0]), np.signbit(theirs[theirs == 0]))


@pytest.mark.extra
@pytest.mark.parametrize(
    "name", ["float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz",
             "float8_e5m2fnuz", "float8_e8m0fnu"],
)  # fmt: skip
def test_the_torch_profile_is_what_it_does(name: str) -> None:
    import torch

    x = boundary(hu.format(name))
    theirs = torch.from_numpy(x).to(getattr(torch, name)).double().numpy()
    ours = hu.decode(hu.encode(x, name, overflow="torch"), name, "float64")
    assert np.array_equal(ours, theirs, equal_nan=True)


def test_ocp_modes_as_its_table_has_them() -> None:
    """OFP8 §5.2: beyond the largest and infinity, saturating and not."""
    beyond = [1e6, math.inf, -math.inf]
    for name, largest, plain in (("float8_e4m3fn", 448.0, "nan"), ("float8_e5m2", 57344.0, "inf")):
        saturated = [hu.cast(v, name, overflow="ocp") for v in beyond]
        assert saturated == [largest, largest, -largest]
        kept = [hu.cast(v, name, overflow="ocp-nonsaturating") for v in beyond]
        if plain == "nan":
            assert all(map(math.isnan, kept))
        else:
            assert kept == [math.inf, math.inf, -math.inf]
    assert math.isnan(hu.cast(math.nan, "float8_e4m3fn", overflow="ocp"))


@pytest.mark.parametrize("a", PROFILES)
@pytest.mark.parametrize("b", PROFILES)
def test_a_difference_is_what_the_casts_say(a: str, b: str) -> None:
    x = np.concatenate([boundary(f) for f in CATALOGUE[3:]])
    diff = hu.profile_diff(a, b, x)
    for f in CATALOGUE:
        codes = [hu.encode(x, f, overflow=name) for name in (a, b)]
        rows = [d for d in diff.differences if d.name == f.name]
        assert sum(d.differing for d in rows) == (codes[0] != codes[1]).sum()
        for row in rows:
            assert row.elements == x.size
            assert row.a_fate != row.b_fate
            policies = [profiled_cast(f, "nearest_even", name).policy for name in (a, b)]
            assert [getattr(p, row.field).value for p in policies] == [row.a_fate, row.b_fate]
            for e in row.examples:
                assert e.index is not None
                assert int(e.a_code, 16) == codes[0][e.index]
                assert int(e.b_code, 16) == codes[1][e.index]
    assert bool(diff) == (a != b and any(diff.differences))
    if a == b:
        assert not diff.differences


@pytest.mark.parametrize("value", SPECIAL)
def test_a_number_is_an_array_of_one(value: float) -> None:
    one = hu.profile_diff("torch", "ml_dtypes", value)
    array = hu.profile_diff("torch", "ml_dtypes", np.array([value]))
    key = [(d.name, d.field, d.a_fate, d.b_fate) for d in one.differences]
    assert key == [(d.name, d.field, d.a_fate, d.b_fate) for d in array.differences]


def test_records_print_and_become_json() -> None:
    diff = hu.profile_diff("torch", "ml_dtypes", 1e6)
    assert [d.name for d in diff.differences] == ["float8_e4m3fn"]
    assert diff.differences[0].sentence.startswith("a finite value beyond")
    assert "448 0x7e" in str(diff)
    assert json.loads(diff.to_json())["differences"][0]["b_fate"] == "nan"
    same = hu.profile_diff("torch", "onnx", 1.5)
    assert "same codes in all 16 formats" in str(same)
    many = hu.profile_diff("torch", "ml_dtypes", boundary(hu.format("float8_e4m3fn")))
    for record in (diff, same, many):
        assert all(len(line) <= 80 for line in str(record).splitlines())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1e6", "--profile", "torch", "--against", "ml_dtypes"], "448 0x7e"),
        (["1e6", "--profile", "torch", "--to", "float8_e4m3fn"], "saturated"),
        (["1e6", "--profile", "ocp", "--against", "ocp-nonsaturating", "--json"], '"overflow"'),
    ],
)
def test_the_command(arguments: list[str], says: str, capsys: Any) -> None:
    assert run(["explain", *arguments]) == 0
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["1", "--against", "torch"], "--profile"),
        (["1"], "--to is missing"),
        (["1", "--profile", "tork", "--to", "float16"], "unknown profile"),
        (["1", "--profile", "torch", "--against", "tork"], "unknown profile"),
        (["1", "--profile", "torch", "--overflow", "nan", "--to", "float16"], "give one"),
        (["one", "--profile", "torch", "--against", "onnx"], "one"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], says: str, capsys: Any) -> None:
    assert run(["explain", *arguments]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert len(message.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: hu.profile_diff("tork", "onnx", 1.0), "unknown profile"),
        (lambda: hu.profile_diff("torch", "onnx", 1.0, []), "no format"),
        (lambda: hu.profile_diff("torch", "onnx", [1.0]), "not supported"),
        (lambda: hu.profile_diff("torch", "onnx", np.arange(3)), "cannot be cast"),
    ],
)
def test_wrong_use_is_explained(call: Any, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        call()
