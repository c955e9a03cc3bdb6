"""Casts held to gfloat, an independent implementation, where it is one."""

from __future__ import annotations

import math
import random

import gfloat
import pytest
from gfloat import formats as theirs

import halfulp as hu
from cases import P3109, by_name

ROUNDINGS = {
    "nearest_even": gfloat.RoundMode.TiesToEven, "nearest_away": gfloat.RoundMode.TiesToAway,
    "toward_zero": gfloat.RoundMode.TowardZero, "up": gfloat.RoundMode.TowardPositive,
    "down": gfloat.RoundMode.TowardNegative,
}  # fmt: skip

KNOWN = {
    "float16": theirs.format_info_binary16, "bfloat16": theirs.format_info_bfloat16,
    "float8_e4m3fn": theirs.format_info_ocp_e4m3, "float8_e5m2": theirs.format_info_ocp_e5m2,
    "float6_e2m3fn": theirs.format_info_ocp_e2m3, "float6_e3m2fn": theirs.format_info_ocp_e3m2,
    "float4_e2m1fn": theirs.format_info_ocp_e2m1, "float8_e8m0fnu": theirs.format_info_ocp_e8m0,
}  # fmt: skip


def p3109(f: hu.Format) -> gfloat.FormatInfo:
    return theirs.format_info_p3109(
        f.width, f.precision,
        gfloat.Signedness.Signed if f.signed else gfloat.Signedness.Unsigned,
        gfloat.Domain.Extended if f.infinities else gfloat.Domain.Finite,
    )  # fmt: skip


PAIRS = [(hu.format(name), info) for name, info in KNOWN.items()] + [(f, p3109(f)) for f in P3109]


def same(a: float, b: float) -> bool:
    return (a == b and math.copysign(1, a) == math.copysign(1, b)) or (a != a and b != b)


@pytest.mark.parametrize(("f", "info"), PAIRS, ids=by_name)
def test_every_code_decodes_as_gfloat_decodes_it(f: hu.Format, info: gfloat.FormatInfo) -> None:
    step = 1 if f.width <= 8 else 37
    for code in range(0, f.codes, step):
        assert same(hu.decode(code, f), float(gfloat.decode_float(info, code).fval)), hex(code)


@pytest.mark.parametrize("mode", ROUNDINGS)
@pytest.mark.parametrize(("f", "info"), PAIRS, ids=by_name)
def test_random_numbers_round_as_gfloat_rounds_them(
    f: hu.Format, info: gfloat.FormatInfo, mode: str
) -> None:
    rng = random.Random(0)
    checked = 0
    for _ in range(60):
        exponent = rng.uniform(max(f.emin - f.precision - 2, -1000), min(f.emax + 2, 1000))
        value = rng.choice([-1, 1]) * rng.uniform(1, 2) * 2.0 ** int(exponent)
        # gfloat rounds negative numbers into unsigned formats, and lets e8m0 have a zero.
        if (not f.signed and value < 0) or (not f.zero and abs(value) < f.least_positive):
            continue
        try:
            expected = gfloat.round_float(info, value, ROUNDINGS[mode])
        except ValueError:  # it refuses what overflows a format without infinity and NaN
            assert hu.cast(value, f, mode) == math.copysign(float(f.max), value)
            continue
        found = hu.cast(value, f, mode)
        assert same(found, float(expected)), (value, found, expected)
        checked += 1
    assert checked > 10
