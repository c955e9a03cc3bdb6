"""L3: what the buttons of a sheet of bits do: each is a name and a text, wherever it is pressed."""

from __future__ import annotations

from collections.abc import Mapping

from halfulp.catalogue import Format, format
from halfulp.errors import HalfulpError
from halfulp.explanations.bits import BitsSheet, bits_sheet, code_of, flipped, stepped
from halfulp.explanations.fields import whole
from halfulp.language import translate as _

#: ``flip`` a bit; set the bits at ``places`` ``to`` 0 or 1; ``step`` along the number line; ``go``
#: to another number; ``into`` another format.
BUTTONS = ("flip", "places", "to", "step", "go", "into")
FURTHEST = 10**6  # numbers that one step may pass


def pressed_sheet(x: str, target: str | Format, pressed: Mapping[str, str]) -> BitsSheet:
    """The sheet of what was typed, after buttons were pressed.

    Raises HalfulpError for what is no number, unknown formats, and bits the format does not have.

    >>> pressed_sheet("1", "float16", {"flip": "0"}).input
    'float16:0x3c01'
    >>> pressed_sheet("0011110000000000", "float16", {"into": "bfloat16"}).input
    'float16:0b0011110000000000'
    """
    text = pressed.get("go", _typed(x, target))
    found = format(pressed.get("into", target))
    before = code_of(text, found)
    code = _pressed(before, found, pressed)
    return bits_sheet(text if code == before else f"{found.name}:{found.hex(code)}", found)


def _typed(text: str, target: str | Format) -> str:
    """What was typed; as many bits as the format has are a code of it."""
    bits = text.replace(" ", "").replace("_", "")
    found = format(target)
    if len(bits) == found.width > 3 and not bits.strip("01"):
        return f"{found.name}:0b{bits}"
    return text


def _pressed(code: int, target: Format, pressed: Mapping[str, str]) -> int:
    """The code that buttons make of a code."""
    if "flip" in pressed:
        code = flipped(code, target, _place(pressed["flip"]))
    if "places" in pressed:
        wanted = int(pressed.get("to", "1") == "1")
        for place in pressed["places"].split("."):
            bit = _place(place)
            if code >> bit & 1 != wanted:
                code = flipped(code, target, bit)
    if "step" in pressed:
        code = stepped(target, code, whole(pressed, "step", -FURTHEST, FURTHEST))
    return code


def _place(text: str) -> int:
    try:
        return whole({"place": text}, "place", 0, 255)
    except HalfulpError:
        told = _("{text!r} is no place of a bit: the last bit is 0")
        raise HalfulpError(told.format(text=text[:20])) from None
