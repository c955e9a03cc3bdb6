"""A weight that takes the same update again and again: does it move?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traitlets import Unicode

from halfulp.catalogue import Format
from halfulp.explanations.walk_fields import REACH, asked_walk
from halfulp.language import translate as _
from halfulp.widgets.panel import Field, Panel, text_of


class WalkPanel(Panel):
    """A walk under every strategy; ``record`` is the comparison."""

    weight = Unicode().tag(sync=True)
    gradient = Unicode().tag(sync=True)
    rate = Unicode().tag(sync=True)
    steps = Unicode().tag(sync=True)
    format = Unicode().tag(sync=True)
    gradient_format = Unicode().tag(sync=True)
    share = Unicode().tag(sync=True)  # where the slider stands; "" where there is nothing to slide

    fields = ("weight", "gradient", "rate", "steps", "format", "gradient_format")
    buttons = ("share",)

    def _described(self) -> tuple[Field, ...]:
        rate = _("multiplies the gradient, in its format")
        slider = _(
            "The update, in doublings of half the gap to the next number: at 0 it begins to move"
        )
        return (
            Field("weight", _("Weight")),
            Field("gradient", _("Gradient, added each step"), _("negate it to descend")),
            Field("rate", _("Learning rate"), rate),
            Field("steps", _("Steps")),
            Field("format", _("Format"), kind="format"),
            Field("gradient_format", _("Gradient's format"), kind="format"),
            Field("share", slider, kind="range", reach=REACH),
        )

    def _found(
        self, fields: Mapping[str, str], pressed: Mapping[str, str]
    ) -> tuple[Any, dict[str, str]]:
        asked = asked_walk(fields, pressed.get("share"))
        share = "" if asked.share is None else f"{asked.share:g}"
        return asked.walk, {"gradient": asked.gradient, "share": share}


def walk(
    weight: Any = "1.125",
    gradient: Any = "0.00041999",
    steps: int = 100,
    target: str | Format = "float16",
    *,
    learning_rate: Any = None,
    gradient_format: str | Format | None = None,
) -> WalkPanel:
    """The walk w ← round(w + g) under every strategy, as a widget whose fields can be set.

    The arguments are those of :func:`halfulp.walk_all`; up to 10,000 steps. What they cannot be,
    the widget says.

    >>> widget = walk("1.125", "0.00041999", 100, "float16")
    >>> widget.record.strategies[0].lost, widget.share
    (100, '-0.25')
    >>> widget.gradient = "0.0005"
    >>> widget.record.strategies[0].lost
    0
    """
    return WalkPanel(
        weight=text_of(weight), gradient=text_of(gradient), rate=text_of(learning_rate),
        steps=str(steps), format=str(target),
        gradient_format="" if gradient_format is None else str(gradient_format),
    )  # fmt: skip
