"""A number's bits, its neighbours and other formats: against the oracle and Python's own floats."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

import halfulp as hu
from cases import CATALOGUE, SMALL, by_name
from halfulp.errors import HalfulpError
from halfulp.exact import Number, number
from halfulp.explanations.bit_buttons import pressed_sheet
from halfulp.explanations.bits import AROUND, bits_sheet, flipped, hexadecimal, stepped
from oracle import meaning


def said(n: Number) -> Fraction | str:
    """A number as the oracle says it."""
    if n.special:
        return n.special if n.is_nan or not n.negative else f"-{n.special}"
    return "-0" if n.negative and not n.value else n.value


@pytest.mark.parametrize("f", SMALL, ids=by_name)
def test_every_code_is_what_the_oracle_says(f: hu.Format) -> None:
    for code in range(f.codes):
        sheet = bits_sheet(f"{f.name}:{f.hex(code)}", f)
        assert (sheet.number, said(sheet.value)) == (code, meaning(f, code))
        assert int(sheet.bits, 2) == code
        assert sheet.fields.sign + sheet.fields.exponent + sheet.fields.fraction == sheet.bits
        assert not sheet.error


@pytest.mark.parametrize("f", SMALL, ids=by_name)
def test_steps_go_along_the_number_line(f: hu.Format) -> None:
    """From the least number (or −inf) one by one to the largest, each once, in order."""
    order = {"-inf": -(Fraction(10) ** 99), "inf": Fraction(10) ** 99}

    def place(code: int) -> Fraction:
        found = meaning(f, code)
        return order[found] if isinstance(found, str) and found in order else Fraction(found)

    wanted = [c for c in range(f.codes) if meaning(f, c) not in ("nan", "-0")]
    ends = f.subnormals or not f.zero
    wanted = sorted(
        {place(c): c for c in wanted if ends or c not in (f.sign_bit,)}.values(), key=place
    )
    values = [place(c) for c in wanted]
    walked = [values[0]]
    code = wanted[0]
    for _ in values[1:]:
        code = stepped(f, code, 1)
        walked.append(place(code))
    assert walked == values
    assert place(stepped(f, code, -f.codes)) == values[0]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_hexadecimal_is_pythons(x: float) -> None:
    found = hexadecimal(number(x))
    assert float.fromhex(found) == x
    assert number(found) == number(x)


@given(st.sampled_from(CATALOGUE), st.data())
def test_a_bit_pressed_twice_is_as_it_was(f: hu.Format, data: st.DataObject) -> None:
    code = data.draw(st.integers(0, f.codes - 1))
    bit = data.draw(st.integers(0, f.width - 1))
    once = flipped(code, f, bit)
    assert bin(once ^ code).count("1") == 1
    assert flipped(once, f, bit) == code
    x = f"{f.name}:{f.hex(code)}"
    assert pressed_sheet(x, f, {"flip": str(bit)}).number == once
    low, high = sorted((bit, data.draw(st.integers(0, f.width - 1))))
    places = ".".join(str(b) for b in range(low, high + 1))
    mask = (1 << (high + 1)) - (1 << low)
    assert pressed_sheet(x, f, {"places": places, "to": "1"}).number == code | mask
    assert pressed_sheet(x, f, {"places": places, "to": "0"}).number == code & ~mask


def test_the_articles_number() -> None:
    sheet = bits_sheet("1.12156456132", "float16")
    assert (sheet.code, str(sheet.value), sheet.hexadecimal) == (
        "0x3c7c",
        "1.12109375",
        "0x1.1fp+0",
    )
    assert sheet.error == Fraction("1.12109375") - Fraction("1.12156456132")
    assert [m.code for m in sheet.around] == [f"0x{0x3C7C + n:04x}" for n in range(-AROUND, 5)]
    beside = {b.format.name: b for b in sheet.beside}
    assert set(beside) == {f.name for f in CATALOGUE}
    assert str(beside["float32"].value) == "1.12156450748443603515625"
    assert not any(b.exact for b in sheet.beside)


@pytest.mark.parametrize("f", CATALOGUE, ids=by_name)
def test_the_number_in_every_format_is_its_cast(f: hu.Format) -> None:
    for text in ("1/3", "-2.5", "1e300", "-1e-300", "0", "-0", "inf", "nan"):
        (beside,) = (b for b in bits_sheet(text, "float16").beside if b.format == f)
        sheet = bits_sheet(text, f)
        assert (beside.code, beside.error_ulps) == (sheet.code, sheet.error_ulps)
        assert said(beside.value) == said(sheet.value)


def test_bits_alone_are_a_code_of_the_format() -> None:
    assert pressed_sheet("0 01111 0001111100", "float16", {}).code == "0x3c7c"
    assert pressed_sheet("101", "float16", {}).value.value == 101  # fewer are a decimal


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(
        HalfulpError, match="float16 has no bit 16: its bits are 0, the last, to 15"
    ):
        flipped(0, hu.format("float16"), 16)
    with pytest.raises(HalfulpError, match="'x' is no place of a bit"):
        pressed_sheet("1", "float16", {"flip": "x"})
    with pytest.raises(HalfulpError, match="is no number"):
        bits_sheet("one", "float16")


def test_a_code_of_nan_stays_itself() -> None:
    sheet = bits_sheet("float16:0x7e01", "float16")
    assert (sheet.code, sheet.fields.kind, sheet.around) == ("0x7e01", "nan", ())
    assert bits_sheet("float16:0x8000", "float16").code == "0x8000"
