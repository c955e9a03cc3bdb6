"""Numbers in every notation, digits in every base, and hostile texts."""

from __future__ import annotations

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
from halfulp.records import decimal_string


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5", Fraction(3, 2)), ("-2e-7", Fraction(-2, 10**7)), (".5", Fraction(1, 2)),
        ("5.", Fraction(5)), ("1_000", Fraction(1000)), ("17/23", Fraction(17, 23)),
        ("-0.1/0.3", Fraction(-1, 3)), ("0x1.8p3", Fraction(12)), ("0x1.2p-3", Fraction(9, 64)),
        ("0b1.01", Fraction(5, 4)), ("0o17", Fraction(15)), ("2^-11", Fraction(1, 2048)),
        ("10**3", Fraction(1000)), ("+3", Fraction(3)), ("−1.5", Fraction(-3, 2)),
        ("1e000000001", Fraction(10)), ("0xff", Fraction(255)), ("1E3", Fraction(1000)), (" 7 ", Fraction(7)),
    ],
)  # fmt: skip
def test_notations(text: str, value: Fraction) -> None:
    found = hu.number(text)
    assert found.value == value
    assert found.is_finite


def test_zero_keeps_its_sign_and_specials_their_kind() -> None:
    assert (str(hu.number("-0")), str(hu.number(-0.0)), str(hu.number(0))) == ("-0", "-0", "0")
    assert [str(hu.number(t)) for t in ("inf", "-inf", "nan")] == ["inf", "-inf", "nan"]
    assert str(hu.number(float("-inf"))) == "-inf"
    assert hu.number(Decimal("1.1")).value == Fraction(11, 10)
    assert str(hu.number(Decimal("-0"))) == "-0"
    assert hu.cast(Decimal("1e400"), "float16", "toward_zero") == Decimal(65504)
    with pytest.raises(hu.HalfulpError, match="exponent beyond"):
        hu.number(Decimal("1e-999999999"))


@pytest.mark.parametrize("number", ["1e5000/3", "-1e5000/3", 10**5000], ids=["+", "-", "int"])
def test_numbers_longer_than_python_writes_at_once(number: object) -> None:
    assert str(hu.explain(number, to="float16"))
    assert hu.explain(number, to="float16").to_json()


@pytest.mark.parametrize(
    "text",
    ["", " ", "one", "1.2.3", "--1", "1e", "0x", "0xg", "0b2", "1/", "/2", "1e5e5", "2^", "e5",
     "1,5", "0x1p", "1 2", "½", "١", "0b1p2.5", "_1", "1__0e", "infinit", ".", "8/4/2", "1/" * 5000 + "1"],
)  # fmt: skip
def test_what_is_no_number_is_said_to_be_none(text: str) -> None:
    with pytest.raises(hu.HalfulpError, match="is no number"):
        hu.number(text)


@pytest.mark.parametrize(
    "text",
    ["1e999999999", "1e-999999999", "2^999999999", "2**-99999999999999999999", "1/0", "0^-1",
     "9" * 10**6, "0x1p999999999", "1/0.000", "7^99999", "1e20001", "9999999999^-20000"],
)  # fmt: skip
def test_hostile_numbers_are_refused_at_once(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(hu.HalfulpError) as caught:
        hu.number(text)
    assert time.perf_counter() - start < 1
    assert len(str(caught.value)) < 200


def test_long_numbers_are_exact() -> None:
    text = "1." + "3" * 15_000
    assert decimal_string(hu.number(text).value) == text


@given(st.fractions(), st.integers(2, 36))
def test_digits_read_back_are_the_number(value: Fraction, base: int) -> None:
    value = value.limit_denominator(5000)
    written = hu.digits(value, base)
    assert not written.truncated
    assert hu.from_digits(str(written), base) == value


@pytest.mark.parametrize(
    ("value", "base", "text"),
    [("0.1", 2, "0.0(0011)"), ("1/3", 10, "0.(3)"), ("1/7", 10, "0.(142857)"), ("255", 16, "ff"),
     ("-0.75", 2, "-0.11"), ("1/3", 3, "0.1"), ("35", 36, "z"), ("0", 2, "0"), ("-0", 10, "-0"),
     ("1.12109375", 2, "1.000111110")],
)  # fmt: skip
def test_digits(value: str, base: int, text: str) -> None:
    assert str(hu.digits(value, base)).rstrip("0") == text.rstrip("0")


def test_digits_are_cut_where_asked() -> None:
    assert str(hu.digits("1/1999", 10, limit=5)) == "0.00050…"
    for limit in (-1, 10**12, None, "3"):
        with pytest.raises(hu.HalfulpError, match="limit is"):
            hu.digits("1/3", 10, limit=limit)


@pytest.mark.parametrize(
    ("text", "base", "says"),
    [("12", 2, "'2' is no digit of base 2"), ("1.(", 10, "no number in base"), ("1", 1, "2 to 36"),
     ("", 10, "no number"), ("z", 35, "'z' is no digit"), ("9" * 30_000, 10, "too many")],
)  # fmt: skip
def test_wrong_digits_are_named(text: str, base: int, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        hu.from_digits(text, base)


@given(st.fractions())
def test_decimal_strings_are_exact(value: Fraction) -> None:
    assert Fraction(decimal_string(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_out_in_full(value: float) -> None:
    assert Decimal(decimal_string(Fraction(value))) == Decimal(value)


@pytest.mark.parametrize("base", [0, 1, 37, -2])
def test_bases_beyond_reach(base: int) -> None:
    with pytest.raises(hu.HalfulpError, match="2 to 36"):
        hu.digits(1, base)


def test_neighbours_at_the_ends() -> None:
    half = hu.format("float16")
    assert hu.neighbours(Fraction(65504), half) == (Fraction(65472), None)
    assert hu.neighbours(Fraction(0), half) == (Fraction(-1, 2**24), Fraction(1, 2**24))
    assert hu.neighbours(Fraction(-1), half) == (Fraction(-1025, 1024), Fraction(-2047, 2048))
    assert hu.neighbours(Fraction(10**6), half) == (Fraction(65504), None)
    assert hu.neighbours(Fraction(1), hu.format("float8_e8m0fnu")) == (Fraction(1, 2), Fraction(2))
    assert hu.neighbours(-1, "ue5m3fn") == (None, Fraction(0))
    assert hu.neighbours(-1, "float8_e8m0fnu") == (None, Fraction(1, 2**127))
    assert hu.neighbours("1.5", "float16")[1] == Fraction(1537, 1024)
    with pytest.raises(hu.HalfulpError, match="no neighbours"):
        hu.neighbours("nan", "float16")
