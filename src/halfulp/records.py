"""What every result has in common: it is frozen, prints, and becomes JSON from its own fields.

In JSON exact numbers are decimal strings (a fraction such as ``1/3`` where decimals would not
end), formats are their names, and enums their values. Field lists are never written by hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from enum import Enum
from fractions import Fraction
from types import NoneType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from halfulp.errors import missing_extra

PLAIN = "halfulp.explanations.record_text:record_page"


class Record:
    """Mixin for frozen dataclasses."""

    #: ``module:function`` that draws the record as a page of text; imported when first drawn.
    #: The plain one lists the fields.
    renderer: ClassVar[str] = PLAIN

    def __init_subclass__(cls) -> None:
        # IPython asks a class for its own repr, which dataclasses write, before what it inherits.
        cls._repr_pretty_ = Record._repr_pretty_  # type: ignore[method-assign] # the same method

    def __getstate__(self) -> dict[str, Any]:
        # What is derived stays behind: hashes of names differ from process to process.
        itself: Any = self
        return {f.name: getattr(self, f.name) for f in fields(itself)}

    def page(self) -> Any:
        """The record as styled lines (a :class:`halfulp.explanations.page.Page`)."""
        from importlib import import_module

        module, _, function = self.renderer.partition(":")
        return getattr(import_module(module), function)(self)

    def __str__(self) -> str:
        return repr(self) if self.renderer == PLAIN else str(self.page().plain())

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON types, from its dataclass fields."""
        itself: Any = self  # every Record is a dataclass, which its type cannot say
        return {f.name: plain(getattr(self, f.name)) for f in fields(itself)}

    def as_field(self) -> Any:
        """What stands for the record inside another one: itself in full, unless it is a value."""
        return self.to_dict()

    @classmethod
    def from_field(cls, value: Any) -> Any:
        """The record that :meth:`as_field` stood for."""
        return cls.from_dict(value)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Any:
        """The record of a dict as :meth:`to_dict` makes it, where its fields are plain or enums."""
        types = get_type_hints(cls)
        return cls(**{name: _revived(types[name], part) for name, part in value.items()})

    @classmethod
    def from_json(cls, text: str) -> Any:
        """The record of a JSON text as :meth:`to_json` makes it."""
        import json

        return cls.from_dict(json.loads(text))

    def to_json(self, indent: int | None = 2) -> str:
        """The record as a JSON text."""
        import json

        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def _repr_html_(self) -> str:
        from importlib import import_module

        try:
            markup = import_module("halfulp.explanations.markup")
        except ModuleNotFoundError as error:
            if error.name not in ("jinja2", "markupsafe"):
                raise
            return str(self.page().notebook())
        return str(markup.notebook(self))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython prints, line by line, so that it is indented where it is within a list."""
        for i, line in enumerate(str(self).split("\n")):
            if i:
                printer.break_()
            printer.text(line)


def data_frame(rows: Sequence[Record], leave_out: Sequence[str] = ()) -> Any:
    """Records of one kind as the rows of a pandas DataFrame, indexed by their names.

    Numbers that are exact in JSON are exact here too: decimal strings.
    """
    try:
        import pandas
    except ModuleNotFoundError:
        raise missing_extra("pandas", "report", "to_pandas") from None
    kept = [
        {"name": getattr(row, "name", None)}
        | {k: v for k, v in row.to_dict().items() if k not in leave_out}
        for row in rows
    ]
    return pandas.DataFrame(kept).set_index("name")


def plain(value: Any) -> Any:
    """Any field value as plain JSON types."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return decimal_string(value)
    if isinstance(value, float) and value - value != 0:
        return str(value)  # JSON has no inf and no nan
    if isinstance(value, Record):
        return value.as_field()
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # an array
        return plain(value.tolist())
    return value


def _revived(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (Union, UnionType) and value is not None:
        (kind, *_) = (part for part in get_args(kind) if part is not NoneType)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind.from_field(value)
    if get_origin(kind) is tuple and isinstance(value, list):
        (inner, *_) = get_args(kind)
        return tuple(_revived(inner, part) for part in value)
    if kind is float and isinstance(value, str):
        return float(value)  # what JSON has no number for
    return value


def decimal_string(value: Fraction) -> str:
    """The exact decimal expansion, or ``numerator/denominator`` where it would not end.

    >>> decimal_string(Fraction(287, 256)), decimal_string(Fraction(1, 3))
    ('1.12109375', '1/3')
    """
    twos = (value.denominator & -value.denominator).bit_length() - 1
    rest = value.denominator >> twos
    # Only a power of five is of interest, and no two of them are of one length.
    fives = math.ceil((rest.bit_length() - 1) / math.log2(5))
    if rest != 5**fives:
        sign = "-" if value < 0 else ""
        whole = _big_int_string(abs(value.numerator))
        return f"{sign}{whole}/{_big_int_string(value.denominator)}"
    places = max(twos, fives)
    digits = _big_int_string(abs(value.numerator) * 5 ** (places - fives) << (places - twos))
    sign = "-" if value < 0 else ""
    if not places:
        return sign + digits
    digits = digits.rjust(places + 1, "0")
    return f"{sign}{digits[:-places]}.{digits[-places:]}"


def _big_int_string(number: int) -> str:
    """str() of an int of any size; Python refuses beyond 4300 digits at a time."""
    if number.bit_length() < 14000:
        return str(number)
    half = number.bit_length() * 3 // 20  # about half the decimal digits
    high, low = divmod(number, 10**half)
    return _big_int_string(high) + _big_int_string(low).rjust(half, "0")
