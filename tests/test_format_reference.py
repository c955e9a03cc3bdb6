"""Formats to look up: every code, how close numbers are, and ranges, against the definitions."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from functools import cache
from typing import Any

import pytest

import halfulp as hu
import oracle
from cases import CATALOGUE, CUSTOMS, P3109, SMALL, by_name
from halfulp.cli.app import run
from halfulp.explanations.code_table import CodeTable
from halfulp.explanations.density import Density, decimal_digits, round_trip_digits
from halfulp.explanations.ranges import Ranges
from test_formats import as_oracle

LISTED = [*SMALL, hu.format("float16"), hu.format("bfloat16"), hu.format("e5m10_nosub")]
FAR = [hu.format(name) for name in ("e4m3b60000", "e4m3b-60000", "e16m112", "e1m6", "ue2m1")]


@pytest.mark.parametrize("f", SMALL, ids=by_name)
def test_every_code_is_listed_with_what_it_means(f: hu.Format) -> None:
    rows = CodeTable.of(f).rows
    assert [row.number for row in rows] == list(range(2**f.width))
    for row in rows:
        assert int(row.bits, 2) == row.number
        assert row.fields.sign + row.fields.exponent + row.fields.fraction == row.bits
        meant = oracle.meaning(f, row.number)
        assert as_oracle(row.value) == meant
        assert row.kind == kind_of(f, row.number, meant)


def kind_of(f: Any, code: int, meant: Fraction | str) -> str:
    if meant in ("nan", "inf", "-inf"):
        return str(meant).removeprefix("-")
    if meant in ("-0", 0):
        return "zero"
    return "normal" if abs(Fraction(meant)) >= oracle.two_to(f.emin) else "subnormal"


def worth(cell: str) -> Fraction | str:
    """What a cell of the grid says: a decimal, m×2^e, or no number."""
    if cell in ("inf", "NaN"):
        return cell.lower()
    odd, _, power = cell.rpartition("2^") if "2^" in cell else (cell, "", "0")
    return Fraction(odd.rstrip("×") or 1) * Fraction(2) ** int(power)


@pytest.mark.parametrize("f", [*SMALL, FAR[0], FAR[1]], ids=by_name)
def test_the_grid_says_all_of_it_in_eighty_columns(f: hu.Format) -> None:
    told = str(CodeTable.of(f)).splitlines()
    assert max(map(len, told)) <= 80
    lines = [line.split() for line in told if line.startswith("  0x")]
    parts = sum(map(bool, (int(f.signed), f.exponent_bits, f.fraction_bits)))
    codes = 2 ** (f.width - f.signed)
    wide = codes // len(lines)
    assert wide * len(lines) == codes
    for line in lines:
        first = int(line[0], 16)
        for code, cell in enumerate(line[1 + parts : 1 + parts + wide], start=first):
            assert worth(cell) == oracle.meaning(f, code)
    said = " ".join(" ".join(told).split()) if f.signed else ""
    assert ("is NaN" in said) == (f.signed and oracle.meaning(f, codes) == "nan")
    for code in range(1, codes if f.signed else 0):
        plain, signed = oracle.meaning(f, code), oracle.meaning(f, code + codes)
        assert signed == mirrored(plain) or signed == plain == 0


def mirrored(plain: Fraction | str) -> Fraction | str:
    if plain == 0:
        return "-0"
    return {"inf": "-inf", "nan": "nan"}[plain] if isinstance(plain, str) else -plain


@pytest.mark.parametrize("name", ["float16", "float64", "e5m3", "p3109_k9p4se"])
def test_wide_formats_have_no_table(name: str) -> None:
    with pytest.raises(hu.HalfulpError, match="at most 8 bits, such as float8_e4m3fn"):
        CodeTable.of(name)


@cache
def positive(f: Any) -> list[Fraction]:
    """All positive numbers of a format, in order."""
    found = [oracle.meaning(f, code) for code in range(2 ** (f.width - f.signed))]
    return [value for value in found if not isinstance(value, str) and value > 0]


def exponent_of(value: Fraction) -> int:
    exponent = round(math.log2(value))
    return exponent - (oracle.two_to(exponent) > value)


@pytest.mark.parametrize("f", LISTED, ids=by_name)
def test_densities_are_what_counting_gives(f: hu.Format) -> None:
    d, numbers = Density.of(f), positive(f)
    assert d.positive == len(numbers)
    assert d.numbers == len(numbers) * (1 + f.signed) + f.zero
    assert d.subnormal == sum(n < oracle.two_to(f.emin) for n in numbers)
    by_binade: dict[int, list[Fraction]] = {}
    for n in numbers:
        by_binade.setdefault(exponent_of(n), []).append(n)
    told = {e: b for b in d.binades for e in range(b.first, b.last + 1)}
    assert sorted(told) == sorted(by_binade)
    for e, held in by_binade.items():
        assert (told[e].numbers, told[e].kind == "subnormal") == (len(held), e < f.emin)
        assert told[e].significant_bits == 1 - told[e].relative_spacing
        if len(held) > 1:
            assert oracle.two_to(told[e].relative_spacing) == (held[1] - held[0]) / held[0]


@pytest.mark.parametrize("f", [*CATALOGUE, *CUSTOMS, *P3109, *FAR], ids=by_name)
def test_densities_add_up(f: hu.Format) -> None:
    d = Density.of(f)
    assert sum(b.numbers * (b.last - b.first + 1) for b in d.binades) == d.positive
    assert sum(b.numbers for b in d.binades if b.kind == "subnormal") == d.subnormal
    assert all(a.last + 1 == b.first for a, b in zip(d.binades, d.binades[1:], strict=False))
    assert len(d.binades) < 120
    assert max(map(len, str(d).splitlines())) <= 80
    assert json.loads(d.to_json())["format"] == f.name


@pytest.mark.parametrize(
    ("name", "survive", "tell"),
    [("float64", 15, 17), ("float32", 6, 9), ("float16", 3, 5), ("bfloat16", 2, 4)],
)
def test_decimal_digits_are_those_of_c(name: str, survive: int, tell: int) -> None:
    """DBL_DIG, FLT_DIG and DBL_DECIMAL_DIG, FLT_DECIMAL_DIG, and their formula."""
    d = Density.of(name)
    assert (d.decimal_digits, d.round_trip_digits) == (survive, tell)


@pytest.mark.parametrize("bits", range(1, 114))
def test_decimal_digits_by_their_definition(bits: int) -> None:
    few, many = decimal_digits(bits), round_trip_digits(bits)
    assert 10**few <= 2 ** (bits - 1) < 10 ** (few + 1)
    assert 10 ** (many - 2) <= 2**bits < 10 ** (many - 1)


@pytest.mark.parametrize("f", LISTED, ids=by_name)
def test_ranges_are_those_of_the_numbers(f: hu.Format) -> None:
    (row,) = Ranges.of([f]).formats
    numbers = positive(f)
    assert oracle.two_to(row.least) == numbers[0]
    assert row.largest == pytest.approx(math.log2(numbers[-1]), abs=1e-9)
    binades = {exponent_of(n) for n in numbers}
    assert row.subnormal_binades == sum(e < f.emin for e in binades)
    assert row.normal_binades == sum(e >= f.emin for e in binades)
    assert row.width == f.width


def test_ranges_keep_their_order_and_fit() -> None:
    chosen = [*CATALOGUE, *CUSTOMS]
    ranges = Ranges.of(chosen)
    assert [row.name for row in ranges.formats] == [f.name for f in chosen]
    assert max(map(len, str(ranges).splitlines())) <= 80
    assert max(map(len, str(Ranges.of(FAR)).splitlines())) <= 80
    with pytest.raises(hu.HalfulpError, match="no format to compare"):
        Ranges.of([])


def test_bars_show_the_subnormal_part() -> None:
    bars = str(Ranges.of(["float16", "e5m10_nosub"])).splitlines()[-3:-1]
    assert all("==" in bar for bar in bars)
    assert bars[0].count("-") > 10
    assert bars[1].count("-") == 0


def test_the_command_lists_codes_and_compares(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", "e4m3fn", "--codes"]) == 0
    assert "0x7c  0 1111 1··" in capsys.readouterr().out
    assert run(["formats", "e4m3fn", "--codes", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 256
    assert found["rows"][0x3C] == {
        "code": "0x3c", "bits": "00111100", "value": "1.5",
        "fields": {"sign": "0", "exponent": "0111", "fraction": "100", "exponent_value": 0, "kind": "normal"},
    }  # fmt: skip
    assert run(["formats", "float16, bfloat16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(f["name"], f["least"]) for f in found["formats"]] == [
        ("float16", -24), ("bfloat16", -133),
    ]  # fmt: skip
    assert run(["formats", "float16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["density"]["per_binade"] == 1024


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("float16", "--codes"), "at most 8 bits"), (("--codes",), "the codes of one format"),
        (("e4m3,e5m2", "--codes"), "the codes of one format"), (("e4m3,fp9",), "unknown format 'fp9'"),
        (("",), "unknown format"), ((",",), "unknown format"), (("fp9", "--codes"), "unknown format"),
        (("e4m3", "--codes", "--html", "/no/such/folder/x.html"), ""),
    ],
)  # fmt: skip
def test_mistakes_get_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run(["formats", *arguments]) == 2
    found = capsys.readouterr()
    assert (found.out, found.err.count("\n"), says in found.err) == ("", 1, True)
