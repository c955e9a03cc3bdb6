"""Explanations: the article's conversions and sums digit for digit, and true of any number."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, MODES


def record(step: Any) -> tuple[str, str, str]:
    return (
        str(step.value),
        " ".join((step.fields.sign, step.fields.exponent, step.fields.fraction)),
        step.code,
    )


@pytest.mark.parametrize(
    ("number", "target", "value", "bits", "code"),
    [
        ("1.12156456132", "float32", "1.12156450748443603515625",
         "0 01111111 00011111000111101101101", "0x3f8f8f6d"),
        ("1.12156456132", "float16", "1.12109375", "0 01111 0001111100", "0x3c7c"),
        ("0.12457275190625", "float16", "0.12457275390625", "0 01011 1111111001", "0x2ff9"),
        ("0.12457275390625", "float32", "0.12457275390625",
         "0 01111011 11111110010000000000000", "0x3dff2000"),
        ("0.00041999", "float16", "0.000420093536376953125", "0 00011 1011100010", "0x0ee2"),
        ("1.125", "float16", "1.125", "0 01111 0010000000", "0x3c80"),
    ],
)  # fmt: skip
def test_the_articles_conversions(
    number: str, target: str, value: str, bits: str, code: str
) -> None:
    found = record(hu.explain(number, to=target).results[0])
    assert found == (value, bits, code)


def test_the_articles_chain_has_the_articles_steps() -> None:
    first, second = hu.explain("1.12156456132", via=["float32", "float16"]).results
    assert (first.direction, first.tie, first.reason) == ("down", False, "below_half")
    assert first.error == Fraction("1.12156450748443603515625") - Fraction("1.12156456132")
    assert second.source_format == "float32"
    assert second.kept == "10001111100"
    assert second.dropped == "0111101101101"
    assert (second.guard, second.round, second.sticky) == (0, 1, 1)
    assert second.error_from_input == Fraction("1.12109375") - Fraction("1.12156456132")
    binary = str(hu.digits(first.value, 2))
    assert binary == "1.00011111000111101101101"


def test_a_tie_and_the_next_bit_rule() -> None:
    stays, goes = (
        hu.explain(Fraction(w) + Fraction(1, 2**11), to="float16").results[0]
        for w in ("1.125", "1.1259765625")
    )
    assert (str(stays.value), stays.reason, str(stays.next_bit_value)) == (
        "1.125", "tie_stays_even", "1.1259765625",
    )  # fmt: skip
    assert (str(goes.value), goes.reason, goes.next_bit_value) == (
        "1.126953125",
        "tie_up_to_even",
        None,
    )
    assert "look at the next bit" in str(hu.explain("1.12548828125", to="float16"))


def test_double_rounding_is_flagged() -> None:
    value = 1 + Fraction(1, 2**11) + Fraction(1, 2**30)
    through = hu.explain(value, via=["float32", "float16"])
    assert str(through.results[-1].value) == "1"
    assert through.double_rounding is not None
    assert str(through.double_rounding.value) == "1.0009765625"
    assert "double rounding" in str(through)
    assert hu.explain(value, to="float16").double_rounding is None


@given(
    st.one_of(st.fractions(), st.floats(allow_nan=False, allow_infinity=False).map(Fraction)),
    st.sampled_from([*CATALOGUE, *CUSTOMS]),
    st.sampled_from(MODES),
)
def test_what_is_explained_is_true(value: Fraction, f: hu.Format, mode: str) -> None:
    step = hu.explain(value, to=f, rounding=mode).results[0]
    assert int(step.code, 16) == int(step.bits, 2) == hu.encode(value, f, mode)
    text = str(hu.explain(value, to=f, rounding=mode))
    assert f.name in text
    if not step.value.is_finite or (value < 0 and not f.signed):
        return
    assert step.error == step.value.value - value
    assert step.error_ulps == step.error / step.ulp
    assert step.direction == ("exact" if not step.error else "up" if step.error > 0 else "down")
    if step.reason in ("overflow", "no_place"):
        return
    # The kept bits and the dropped bits are the number's own.
    weight = Fraction(2) ** (step.exponent - len(step.kept) + 1)
    kept = int(step.kept, 2) * weight
    rest = abs(value) - kept
    assert 0 <= rest < weight
    if not step.endless:
        assert rest == int(step.dropped or "0", 2) * weight / 2 ** len(step.dropped)
    assert step.tie == (rest * 2 == weight)
    assert step.guard == (rest * 2 >= weight)
    assert step.sticky == ((rest / weight * 4) % 1 != 0)
    if mode == "nearest_even" and f.fraction_bits and step.reason not in ("exact", "underflow"):
        reasons = {
            -1: ["below_half"], 1: ["above_half"], 0: ["tie_stays_even", "tie_up_to_even"],
        }[(rest * 2 > weight) - (rest * 2 < weight)]  # fmt: skip
        assert step.reason in reasons
    if step.next_bit_value is not None:
        assert step.next_bit_value.value == oracle.meaning(
            f, oracle.round_code(f, value, "nearest_away")
        )


@pytest.mark.parametrize(
    ("number", "target", "reason", "value"),
    [
        ("65520", "float16", "overflow", "inf"), ("-1e9", "float8_e4m3fn", "overflow", "nan"),
        ("1e-8", "float16", "underflow", "0"), ("-1e-8", "float16", "underflow", "-0"),
        ("inf", "float16", "infinity", "inf"), ("-inf", "float4_e2m1fn", "infinity", "-6"),
        ("nan", "float16", "nan", "nan"), ("nan", "float4_e2m1fn", "nan", "-0"),
        ("0", "float8_e8m0fnu", "no_place", "nan"), ("-2", "float8_e8m0fnu", "no_place", "nan"),
        ("-0", "float8_e5m2fnuz", "no_place", "0"), ("-1e-9", "float8_e5m2fnuz", "underflow", "0"),
        ("-0", "float16", "exact", "-0"), ("3e-6", "float16", "below_half", "0.00000298023223876953125"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_explained(number: str, target: str, reason: str, value: str) -> None:
    explained = hu.explain(number, to=target)
    step = explained.results[0]
    assert (step.reason, str(step.value)) == (reason, value)
    assert target in str(explained)


# Addition and multiplication.


@pytest.mark.parametrize(
    ("a", "b", "within", "exact", "value", "bits"),
    [
        ("1.125:float16", "0.12457275190625:float16", None, "1.24957275390625", "1.25",
         "0 01111 0100000000"),
        ("1.125:float32", "0.12457275190625:float16", None, "1.24957275390625",
         "1.24957275390625", "0 01111111 00111111111001000000000"),
        ("float16:0x3c80", "float16:0x2ff9", None, "1.24957275390625", "1.25",
         "0 01111 0100000000"),
        ("1.125", "0.12457275190625", "float16", "1.24957275390625", "1.25",
         "0 01111 0100000000"),
        ("1.125:float16", "-1.125:float16", None, "0", "0", "0 00000 0000000000"),
        ("-0:float16", "-0:float16", None, "-0", "-0", "1 00000 0000000000"),
    ],
)  # fmt: skip
def test_the_articles_sums(
    a: str, b: str, within: str | None, exact: str, value: str, bits: str
) -> None:
    work = hu.explain_operation("add", a, b, within)
    assert (str(work.exact), *record(work.result)[:2]) == (exact, value, bits)


def test_alignment_shifts_by_the_difference_of_exponents() -> None:
    work = hu.explain_operation("add", "1.125:float16", "0.12457275190625:float16")
    assert [t.shift for t in work.operands] == [0, 4]
    text = str(work)
    assert "1.0010000000  × 2^0" in text
    assert "0.00011111111001  × 2^0" in text
    assert "1.00111111111001  × 2^0" in text
    carried = hu.explain_operation("add", "1.9:float16", "1.9:float16")
    assert carried.normalise == 1
    cancelled = hu.explain_operation("add", "1.125:float16", "-1.1240234375:float16")
    assert cancelled.normalise == -10


@pytest.mark.parametrize(
    ("operation", "a", "b", "value"),
    [
        ("add", "inf:float16", "-inf:float16", "nan"), ("add", "inf:float16", "1:float16", "inf"),
        ("add", "nan:float16", "1:float16", "nan"), ("multiply", "inf:float16", "0:float16", "nan"),
        ("multiply", "-inf:float16", "2:float16", "-inf"),
        ("multiply", "-0:float16", "2:float16", "-0"),
        ("add", "60000:float16", "60000:float16", "inf"),
        ("multiply", "0.0001:float16", "0.0001:float16", "0"),
    ],
)  # fmt: skip
def test_special_operands_are_explained(operation: str, a: str, b: str, value: str) -> None:
    work = hu.explain_operation(operation, a, b)
    assert str(work.result.value) == value
    assert str(work)


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(FLOATS, FLOATS, st.sampled_from(["float16", "bfloat16", "float32", "float8_e4m3fn"]),
       st.sampled_from(["add", "multiply"]))  # fmt: skip
def test_operations_are_exact_and_rounded_once(
    a: float, b: float, name: str, operation: str
) -> None:
    f = hu.format(name)
    work = hu.explain_operation(operation, f"{a!r}:{name}", f"{b!r}:{name}")
    x, y = (t.value for t in work.operands)
    if not (x.is_finite and y.is_finite):
        return
    exact = x.value + y.value if operation == "add" else x.value * y.value
    assert work.exact.value == exact
    if exact and work.result.value.is_finite:
        assert int(work.result.code, 16) == oracle.round_code(f, exact, "nearest_even")
    if work.exponent is not None and operation == "multiply" and exact:
        assert work.exponent == sum(t.exponent for t in work.operands) + work.normalise
    short = hu.add if operation == "add" else hu.mul
    assert hu.number(short(f"{a!r}:{name}", f"{b!r}:{name}")) == work.result.value or exact == 0
    assert str(work)


def test_numpy_agrees_on_every_pair_of_a_sample() -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**16, (400, 2), dtype=np.uint16)
    with np.errstate(all="ignore"):
        sums = codes.view(np.float16)[:, 0] + codes.view(np.float16)[:, 1]
        products = codes.view(np.float16)[:, 0] * codes.view(np.float16)[:, 1]
    for (a, b), total, product in zip(codes.tolist(), sums, products, strict=True):
        for operation, theirs in (("add", total), ("multiply", product)):
            ours = hu.explain_operation(operation, f"float16:{a}", f"float16:{b}").result.value
            assert ours.to_float() == theirs or (ours.is_nan and np.isnan(theirs))


@pytest.mark.parametrize(
    ("a", "b", "within", "says"),
    [
        ("1", "2", None, "name no format"), ("1:float61", "2", None, "did you mean"),
        ("float16:0x10000", "1:float16", None, "no code"), ("float16:zz", "1", None, "names no code"),
        ("1:", "1", None, "unknown format"), (":", "1", None, "unknown format"),
        ("x:float16", "1", None, "unknown format"),
        ("1:float64", "1:e15m4", None, "no standard format holds both"),
    ],
)  # fmt: skip
def test_bad_operands_are_refused(a: str, b: str, within: str | None, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        hu.explain_operation("add", a, b, within)


def test_nothing_to_convert_to() -> None:
    with pytest.raises(hu.HalfulpError, match="name a format"):
        hu.explain(1)
    with pytest.raises(hu.HalfulpError, match="stochastic"):
        hu.explain(1, to="float16", rounding="stochastic")
