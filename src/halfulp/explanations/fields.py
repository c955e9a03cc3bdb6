"""L3: what people type into fields, as values: said in one sentence where it is none."""

from __future__ import annotations

from collections.abc import Mapping

from halfulp.errors import HalfulpError
from halfulp.language import translate as _

LONGEST = 400  # characters of a field: what is longer is no number that anyone typed


def check_length(name: str, text: str) -> None:
    """Raises HalfulpError for a text that is too long for a field."""
    if len(text) > LONGEST:
        told = _(
            "{name} has {found} characters: the page reads up to {most}; the command line reads "
            "more"
        )
        raise HalfulpError(told.format(name=name, found=len(text), most=LONGEST))


def whole(fields: Mapping[str, str], name: str, least: int, most: int) -> int:
    """A field as a whole number.

    Raises HalfulpError for what is none, and beyond the bounds.

    >>> whole({"steps": "100"}, "steps", 1, 1000)
    100
    """
    text = fields[name]
    try:
        value = int(text) if len(text) < 20 else None
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        told = _("{name} is {text!r}: give a whole number from {least} to {most}")
        raise HalfulpError(told.format(name=name, text=text[:40], least=least, most=most))
    return value
