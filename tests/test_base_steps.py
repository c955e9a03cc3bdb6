"""Numbers in other bases, step by step: every row is true, and the rows give the number back."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
from halfulp.cli.app import run
from halfulp.explanations.base_steps import BaseConversion, base_conversion

BASES = st.integers(2, 36)
SIZES = st.fractions(-(10**6), 10**6, max_denominator=400)
ALL = {"limit": 1000, "steps": 1000}  # enough for every row of such numbers


def rest_after(c: BaseConversion) -> Fraction:
    """What is left of the fraction after its last row."""
    last = c.fraction[-1]
    return last.product - int(last.product)


@given(SIZES, BASES, BASES)
def test_every_row_is_true(value: Fraction, source: int, target: int) -> None:
    c = base_conversion(str(hu.digits(value, source)), source, target, **ALL)
    assert c.value == value == hu.from_digits(str(c.result), target)
    assert not any((c.terms_cut, c.whole_cut, c.fraction_cut))
    assert sum(t.value for t in c.terms) + (c.period.value if c.period else 0) == abs(value)
    for t in c.terms:
        assert t.value == int(t.digit, source) * Fraction(source) ** t.position
    for s in c.whole:
        assert s.number == target * s.quotient + s.remainder
        assert (0 <= s.remainder < target, int(s.digit, target)) == (True, s.remainder)
    for row in c.fraction:
        assert row.product == target * row.fraction
        assert int(row.digit, target) == int(row.product)


@given(SIZES, BASES)
def test_the_rows_give_the_number_back(value: Fraction, base: int) -> None:
    c = base_conversion(value, None, base, **ALL)
    whole = sum(s.remainder * base**i for i, s in enumerate(c.whole))
    assert ("".join(s.digit for s in c.whole)[::-1] or "0") == c.result.whole
    assert whole == int(abs(value))
    rows = c.fraction
    assert all(a.quotient == b.number for a, b in pairwise(c.whole))
    assert all(a.product - int(a.product) == b.fraction for a, b in pairwise(rows))
    back = sum(Fraction(int(r.digit, base), base**i) for i, r in enumerate(rows, start=1))
    rest = rest_after(c) / base ** len(rows) if rows else 0
    assert whole + back + rest == abs(value)
    assert "".join(r.digit for r in rows) == c.result.fraction + c.result.repeating


@given(SIZES, BASES)
def test_the_period_begins_and_closes_where_it_is_marked(value: Fraction, base: int) -> None:
    c = base_conversion(value, None, base, **ALL)
    begins = [i for i, r in enumerate(c.fraction, start=1) if r.begins_period]
    closes = [i for i, r in enumerate(c.fraction, start=1) if r.closes_period]
    if not c.result.repeating:
        assert (begins, closes, c.period_begins, c.period_closes) == ([], [], None, None)
        assert not c.fraction or rest_after(c) == 0
        return
    assert (begins, closes) == ([c.period_begins], [c.period_closes])
    assert rest_after(c) == c.fraction[begins[0] - 1].fraction
    fractions = [r.fraction for r in c.fraction]
    assert len(set(fractions)) == len(fractions)  # none came before: the period is the shortest


@given(SIZES, BASES, st.integers(0, 12), st.integers(0, 12))
def test_what_is_cut_is_the_start_of_what_is_not(
    value: Fraction, base: int, limit: int, steps: int
) -> None:
    whole = base_conversion(value, None, base, **ALL)
    cut = base_conversion(value, None, base, limit=limit, steps=steps)
    assert cut.whole == whole.whole[:steps]
    assert cut.whole_cut == (len(whole.whole) > steps)
    rows = min(limit, steps) if cut.result.truncated else steps
    kept = [(r.fraction, r.product, r.digit) for r in cut.fraction]
    assert kept == [(r.fraction, r.product, r.digit) for r in whole.fraction[:rows]]
    assert cut.fraction_cut == (len(whole.fraction) > len(cut.fraction))


@pytest.mark.parametrize(
    ("text", "source", "target", "result", "value"),
    [
        ("0.1", None, 2, "0.0(0011)", "0.1"), ("0.0(0011)", 2, 10, "0.1", "0.1"),
        ("zz.(z)", 36, 10, "1296", "1296"), ("-ff.8", 16, 2, "-11111111.1", "-255.5"),
        ("0x1.8p3", None, 10, "12", "12"), ("17/23", None, 23, "0.h", "17/23"),
        ("0b1.01", None, 10, "1.25", "1.25"), ("0o17", None, 16, "f", "15"), ("0", None, 2, "0", "0"),
        ("2^-3", None, 2, "0.001", "0.125"), (".5", 10, 3, "0.(1)", "0.5"), ("1_000.", 10, 10, "1000", "1000"),
    ],
)  # fmt: skip
def test_known_conversions(
    text: str, source: int | None, target: int, result: str, value: str
) -> None:
    c = base_conversion(text, source, target)
    assert (str(c.result), str(hu.number(c.value))) == (result, value)
    assert json.loads(c.to_json())["value"] == value
    assert c.target_base == target


@pytest.mark.parametrize(
    ("text", "base", "digits"),
    [("0.1", 10, "01"), ("0x1f.8", 16, "1f8"), ("0b1.01", 2, "101"), ("-0o17", 8, "17"),
     (" 1_0 ", 10, "10"), ("−2.5", 10, "25")],
)  # fmt: skip
def test_notations_of_digits_alone_are_read_digit_by_digit(
    text: str, base: int, digits: str
) -> None:
    c = base_conversion(text)
    assert (c.source_base, "".join(t.digit for t in c.terms)) == (base, digits)
    assert sum(t.value for t in c.terms) == abs(c.value)


@pytest.mark.parametrize("source", ["1/3", "1e-7", "0x1p3", "2^-11", 0.1, Fraction(1, 3), 5])
def test_other_notations_have_no_digits_to_read(source: object) -> None:
    c = base_conversion(source)
    assert (c.source_base, c.terms, c.period) == (None, (), None)


def test_what_is_no_text_is_taken_for_what_it_is() -> None:
    assert base_conversion(0.1, None, 10).input.startswith("0.1000000000000000055")
    assert base_conversion(10**5000).input == "1" + "0" * 5000
    assert base_conversion(101, 2, 10).value == 5
    assert [t.digit for t in base_conversion(101, 2, 10).terms] == ["1", "0", "1"]


HOSTILE = [
    ("0." + "z1" * 9990, 36), ("z1" * 10_000, 36), ("0.(" + "z1" * 9990 + "y)", 36),
    ("z1" * 5000 + "." + "z1" * 2000 + "(z3)", 36), ("128^20000", None), ("128^-20000", None),
    ("125^-20000", None), ("131^-20000", None), ("131^20000/127^20000", None), ("1e20000", None),
    ("1e-20000", None), ("1" + "0" * 9000 + "." + "3" * 9000, None), ("1/" + "3" * 1100, None),
    ("9" * 20_000, 10), ("1." + "3" * 5000, None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "source"), HOSTILE, ids=[f"{t[:14]}…{b}" for t, b in HOSTILE])
def test_nothing_takes_longer_than_a_second(text: str, source: int | None) -> None:
    for target in (2, 7, 36):
        start = time.process_time()
        c = base_conversion(text, source, target, limit=100_000, steps=1000)
        printed, told = c.to_json(), str(c)
        assert time.process_time() - start < 1
        assert json.loads(printed)["target_base"] == target
        assert max(map(len, told.splitlines())) <= 80
        assert len(c.whole) + len(c.fraction) > 0


@given(SIZES, BASES, BASES)
def test_text_fits_eighty_columns(value: Fraction, source: int, target: int) -> None:
    told = str(base_conversion(str(hu.digits(value, source)), source, target))
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"text": "2", "source_base": 2}, "no digit of base 2"),
        ({"text": "1", "source_base": 37}, "2 to 36"),
        ({"text": "1", "target_base": 1}, "2 to 36"), ({"text": "1", "target_base": True}, "2 to 36"),
        ({"text": "inf"}, "has no digits"), ({"text": "x"}, "is no number"),
        ({"text": "1", "steps": 1001}, "allowed are 0 to 1000"), ({"text": "1", "steps": -1}, "steps is"),
        ({"text": "1", "steps": None}, "steps is"), ({"text": "1", "limit": "3"}, "limit is"),
        ({"text": "1", "limit": -1}, "limit is"), ({"text": "1", "limit": 10**9}, "limit is"),
    ],
)  # fmt: skip
def test_mistakes_are_named(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        base_conversion(**arguments)  # type: ignore[arg-type]


def test_the_command_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["digits", "0.0(0011)", "--from", "2", "--steps"]) == 0
    told = capsys.readouterr().out
    assert "(0011)      3  2^-1 / (2^4 - 1)    0.1" in told
    assert run(["digits", "-1234.8125", "--base", "16", "--steps"]) == 0
    told = capsys.readouterr().out
    assert "-4d2.d" in told
    assert "1234    77          2      2" in told
    assert "Nothing is left after row 1" in told
    assert run(["digits", "1/12", "--steps", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["fraction"] for row in found["fraction"]] == ["1/12", "5/6", "1/3"]
    assert (found["period_begins"], found["result"]["repeating"]) == (3, "3")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("2", "--from", "2"), "no digit of base 2"), (("nan",), "has no digits"),
     (("1", "--base", "99"), "2 to 36"), (("1/3", "--limit", "-1"), "limit is")],
)  # fmt: skip
def test_mistakes_of_the_command(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run(["digits", *arguments, "--steps"]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n"), says in found.err) == ("", 1, True)
