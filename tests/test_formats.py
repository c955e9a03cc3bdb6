"""Formats: the published numbers, every code of the small ones, and names."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, KNOWN_TO_ML_DTYPES, P3109, SMALL, by_name
from halfulp.casting import cast_to, code_number, number_code

TWO = Fraction(2)

# name: E/M, max, least normal, least positive, infinities, NaN codes, -0: the published numbers.
PUBLISHED = {
    "float64": (11, 52, (2 - TWO**-52) * TWO**1023, TWO**-1022, TWO**-1074, True, 2**53 - 2, True),
    "float32": (8, 23, (2 - TWO**-23) * TWO**127, TWO**-126, TWO**-149, True, 2**24 - 2, True),
    "tfloat32": (8, 10, (2 - TWO**-10) * TWO**127, TWO**-126, TWO**-136, True, 2046, True),
    "float16": (5, 10, 65504, TWO**-14, TWO**-24, True, 2046, True),
    "bfloat16": (8, 7, (2 - TWO**-7) * TWO**127, TWO**-126, TWO**-133, True, 254, True),
    "float8_e5m2": (5, 2, 57344, TWO**-14, TWO**-16, True, 6, True),
    "float8_e5m2fnuz": (5, 2, 57344, TWO**-15, TWO**-17, False, 1, False),
    "float8_e4m3fn": (4, 3, 448, TWO**-6, TWO**-9, False, 2, True),
    "float8_e4m3": (4, 3, 240, TWO**-6, TWO**-9, True, 14, True),
    "float8_e4m3fnuz": (4, 3, 240, TWO**-7, TWO**-10, False, 1, False),
    "float8_e4m3b11fnuz": (4, 3, 30, TWO**-10, TWO**-13, False, 1, False),
    "float8_e3m4": (3, 4, Fraction(31, 2), TWO**-2, TWO**-6, True, 30, True),
    "float8_e8m0fnu": (8, 0, TWO**127, TWO**-127, TWO**-127, False, 1, False),
    "float6_e2m3fn": (2, 3, Fraction(15, 2), 1, TWO**-3, False, 0, True),
    "float6_e3m2fn": (3, 2, 28, TWO**-2, TWO**-4, False, 0, True),
    "float4_e2m1fn": (2, 1, 6, 1, Fraction(1, 2), False, 0, True),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_derived_numbers_are_the_published_ones(name: str) -> None:
    f = hu.format(name)
    assert f in CATALOGUE
    found = (
        f.exponent_bits, f.fraction_bits, f.max, f.least_normal, f.least_positive, f.infinities,
        f.nan_codes, f.signed_zero,
    )  # fmt: skip
    assert found == PUBLISHED[name]


def as_oracle(number: object) -> object:
    assert isinstance(number, hu.number("0").__class__)
    if number.special:
        return "nan" if number.is_nan else ("-inf" if number.negative else "inf")
    return "-0" if number.negative and not number.value else number.value


@pytest.mark.parametrize(
    "f", [*SMALL, hu.format("float16"), hu.format("e6m9_nonegzero")], ids=by_name
)
def test_every_code_means_what_the_definition_says_and_encodes_back(f: hu.Format) -> None:
    for code in range(f.codes):
        meant = oracle.meaning(f, code)
        number = code_number(f, code)
        assert as_oracle(number) == meant, hex(code)
        again = number_code(f, number)
        if meant not in ("nan", "-0", 0):  # the numbers that have one code only
            assert again == code
            if not isinstance(meant, str):
                assert cast_to(f).code(number) == code
        assert as_oracle(code_number(f, again)) == meant


@pytest.mark.parametrize("f", [*SMALL, hu.format("float16"), hu.format("bfloat16")], ids=by_name)
def test_arrays_of_codes_decode_as_single_codes_do(f: hu.Format) -> None:
    codes = np.arange(f.codes, dtype=np.uint16)
    values = hu.decode(codes, f, "float64")
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        expected = code_number(f, code).to_float()
        assert value == expected or (value != value and expected != expected)
        assert np.signbit(value) == np.signbit(expected) or value != value


@pytest.mark.parametrize("f", KNOWN_TO_ML_DTYPES, ids=by_name)
def test_codes_decode_as_ml_dtypes_decodes_them(f: hu.Format) -> None:
    dtype = np.dtype(f.name)
    codes = np.arange(f.codes, dtype=np.uint16 if f.width > 8 else np.uint8)
    theirs = codes.view(dtype).astype(np.float32)
    np.testing.assert_array_equal(hu.decode(codes, f), theirs)


def test_p3109_has_every_format_of_its_widths() -> None:
    assert len(P3109) == sum(2 * (k - 1) + 2 * k for k in range(3, 9))
    assert len(list(hu.p3109_formats(16))) == 62
    assert hu.format("p3109_k8p4se").max == 224
    assert hu.format("p3109_k8p3sf").max == 2**15 * Fraction(7, 4)
    wide = hu.format("p3109_k16p1ue")
    assert wide.max == TWO ** (2**16 - 3 - 2**15)


@pytest.mark.parametrize("f", [*CATALOGUE, *CUSTOMS, *P3109], ids=by_name)
def test_a_format_is_found_by_its_own_name(f: hu.Format) -> None:
    assert hu.format(f.name) == f
    assert hu.format(f) is f
    assert hash(hu.format(f.name)) == hash(f)


@pytest.mark.parametrize("f", [*CATALOGUE, *CUSTOMS], ids=by_name)
@pytest.mark.parametrize("subnormals", [True, False])
@pytest.mark.parametrize("nan", [None, "all_ones", "none"])
@pytest.mark.parametrize("infinities", [None, True, False])
def test_options_make_formats_whose_names_can_be_read(
    f: hu.Format, subnormals: bool, nan: str | None, infinities: bool | None
) -> None:
    if f.exponent_bits == 1:
        return  # one binade has not room for every NaN
    if not f.zero and subnormals:
        with pytest.raises(hu.HalfulpError, match="has no zero"):
            hu.format(f, subnormals=subnormals)
        return
    changed = hu.format(f, subnormals=subnormals, nan=nan, infinities=infinities)
    again = hu.format(changed.name)
    same = {k: v for k, v in changed.to_dict().items() if k != "name"}
    assert {k: v for k, v in again.to_dict().items() if k != "name"} == same


def test_customs_with_the_parameters_of_a_known_format_have_its_numbers() -> None:
    for custom, known in {
        "e5m10": "float16", "e4m3fn": "float8_e4m3fn", "e4m3fnuz": "float8_e4m3fnuz",
        "e4m3b11fnuz": "float8_e4m3b11fnuz", "e2m1f": "float4_e2m1fn", "half": "float16",
    }.items():  # fmt: skip
        a, b = hu.format(custom), hu.format(known)
        assert [oracle.meaning(a, c) for c in range(a.codes)] == [
            oracle.meaning(b, c) for c in range(b.codes)
        ]


@pytest.mark.parametrize("f", [*CATALOGUE, *CUSTOMS], ids=by_name)
def test_ulp_is_the_gap_to_the_next_number_away_from_zero(f: hu.Format) -> None:
    if f.width > 16:
        assert f.ulp(1) == f.epsilon
        return
    finite = sorted({f.magnitude(c) for c in range(f.max_code + 1)})
    for number, following in zip(finite, finite[1:], strict=False):
        assert hu.neighbours(number, f)[1] == following
        assert hu.neighbours(following, f)[0] == number
        # Without subnormals the gap from zero is wider than the spacing of what follows.
        if number or f.subnormals:
            assert f.ulp(number) == following - number


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("floot16", "did you mean float16"),
        ("fp8", "did you mean"),
        ("e0m3", "1 to 16"),
        ("e20m3", "1 to 16"),
        ("e5m999", "0 to 112"),
        ("e4m3fn_nozero", "has no zero"),
        ("e4m3_nosubs", "nosub"),
        ("p3109_k2p1se", "width k is 3 to 16"),
        ("p3109_k8p8se", "precision p"),
        ("e1m0", "no finite number but zero"),
        ("e4m3b99999999", "bias"),
        ("", "unknown format"),
    ],
)
def test_unknown_and_impossible_formats_are_refused_with_a_way_out(name: str, says: str) -> None:
    with pytest.raises(hu.HalfulpError, match=says):
        hu.format(name)


@pytest.mark.parametrize("f", [*CATALOGUE, *CUSTOMS, *P3109], ids=by_name)
def test_formats_and_casts_come_back_from_json(f: hu.Format) -> None:
    assert hu.Format.from_json(f.to_json()) == f
    for overflow in (None, "saturate"):
        made = cast_to(f, "to_odd", overflow, random_bits=8)
        assert type(made).from_json(made.to_json()) == made
        assert hash(type(made).from_json(made.to_json())) == hash(made)
