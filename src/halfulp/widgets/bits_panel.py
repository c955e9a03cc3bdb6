"""The bits of a number: click them, drag across them, step along the number line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traitlets import Unicode

from halfulp.catalogue import Format
from halfulp.explanations.bit_buttons import BUTTONS, pressed_sheet
from halfulp.language import translate as _
from halfulp.widgets.panel import Field, Panel, text_of


class BitsPanel(Panel):
    """One number in one format; ``record`` is its sheet."""

    x = Unicode().tag(sync=True)
    format = Unicode().tag(sync=True)

    fields = ("x", "format")
    buttons = BUTTONS

    def _described(self) -> tuple[Field, ...]:
        notations = _(
            "1.5, 17/23, 0x1.8p3, 0b1.01, 2^-11, nan, all bits, or a code: float16:0x3c7c"
        )
        return (
            Field("x", _("Number"), notations, steps=True),
            Field("format", _("Format"), _("a name, or your own: e5m10, e4m3b7"), "format"),
        )

    def _found(
        self, fields: Mapping[str, str], pressed: Mapping[str, str]
    ) -> tuple[Any, dict[str, str]]:
        sheet = pressed_sheet(fields["x"], fields["format"], pressed)
        changed = {"x": sheet.input, "format": sheet.format.name}
        return sheet, changed if pressed else {}


def bits(x: Any, target: str | Format = "float16") -> BitsPanel:
    """A number's bits in a format, as a widget: ``widget.x`` and ``widget.format`` can be set.

    What the number or the format cannot be, the widget says.

    >>> widget = bits("1.12156456132", "float16")
    >>> widget.x = "1.5"
    >>> str(widget.record.value), widget.record.code
    ('1.5', '0x3e00')
    """
    return BitsPanel(x=text_of(x), format=str(target))
