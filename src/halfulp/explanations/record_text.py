"""L3: records without a page of their own as text: their fields, one a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from fractions import Fraction
from typing import Any

from halfulp.explanations.columns import columns, cut
from halfulp.explanations.page import WIDTH, Page, shown
from halfulp.language import plural
from halfulp.language import translate as _
from halfulp.records import Record

FEW = 8  # values that are listed; of more it is said how many they are


def record_page(record: Record) -> Page:
    """The fields of a record and their values, long ones in brief."""
    named = _named(record)
    name, kind = named.pop("name", None), type(record).__name__
    out = Page()
    if _says_itself(record):
        out.line((cut(str(record).partition("\n")[0], WIDTH), "title"))
    elif name:
        out.line((str(name), "title"), (f"  {kind}", "dim"))
    else:
        out.line((kind, "title"))
    wide = max(map(columns, named), default=0)
    for label, value in named.items():
        text = cut(value_text(value), WIDTH - wide - 4)
        out.line("  ", (f"{label.ljust(wide)}  ", "dim"), text)
    return out


def _named(record: Record) -> dict[str, Any]:
    """The values of a record by the names of their fields, as words."""
    itself: Any = record  # every Record is a dataclass, which its type cannot say
    return {f.name.replace("_", " "): getattr(record, f.name) for f in fields(itself)}


def _says_itself(record: Record) -> bool:
    return type(record).__str__ is not Record.__str__


def text_page(record: Record) -> Page:
    """A record that is a text, as that."""
    out = Page()
    out.line(str(record))
    return out


def value_text(value: Any) -> str:
    """A value of a field, on one line.

    >>> value_text(Fraction(287, 256)), value_text((1, 2, 3)), value_text([0.5] * 100)
    ('1.12109375', '1, 2, 3', '100 values')
    """
    if value is None or (isinstance(value, str) and not value):
        return "–"
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Fraction):
        return shown(value, 50)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Record):
        if _says_itself(value):
            return str(value).partition("\n")[0]
        return ", ".join(f"{label} {value_text(part)}" for label, part in _named(value).items())
    if isinstance(value, Mapping):
        return _listed([f"{key}: {value_text(part)}" for key, part in value.items()])
    if isinstance(value, (tuple, list)):
        return _listed([value_text(part) for part in value])
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = " × ".join(map(str, value.shape)) or "1"
        return _("array of {shape} {dtype}").format(shape=shape, dtype=value.dtype)
    return str(value).partition("\n")[0]


def _listed(texts: list[str]) -> str:
    if len(texts) > FEW:
        return plural("{n} value", "{n} values", len(texts)).format(n=len(texts))
    return ", ".join(texts) or "–"
