"""L3: results as HTML, by templates that notebooks and the lab share; they need Jinja.

A record's template is named by its class; what has none is drawn as its page of text. Where there
is somebody to answer (``live``), templates have submit buttons that carry a name and a value: the
lab's form takes them to the server, a notebook's widget to its kernel. Elsewhere they have none.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from importlib import import_module
from importlib.resources import files
from types import ModuleType
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from halfulp.exact import Number, digits
from halfulp.explanations.columns import cut
from halfulp.explanations.page import STYLE_SHEET, in_notebook, share, shown
from halfulp.language import plural, translate
from halfulp.records import plain
from halfulp.updates import Walk, WalkComparison

LONGEST = 200  # characters of a binary expansion


@cache
def environment() -> Environment:
    """The templates of records, and what they may call."""
    return templates("halfulp.explanations", **helpers())


def templates(*packages: str, **called: Any) -> Environment:
    """The templates of packages, the first one's before others' of the same name."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.globals |= called
    return made


def helpers() -> dict[str, Any]:
    """What every template may call."""
    from halfulp.explanations.drawings import alignment, columns, number_line
    from halfulp.explanations.formats import FormatSheet
    from halfulp.explanations.formats_text import power_text
    from halfulp.explanations.steps_text import reason_text, shifted
    from halfulp.explanations.walk_text import (
        is_steady,
        predicted_text,
        signed_text,
        threshold_text,
        walk_row,
    )

    return {
        "_": translate, "plural": plural, "shown": shown, "share": share, "markup": _inner,
        "reason": reason_text, "shifted": shifted, "binary": _binary, "fraction_text": _fraction,
        "number_line": number_line, "columns": columns, "alignment": alignment,
        "power_text": power_text, "predicted_text": predicted_text, "walk_row": walk_row,
        "threshold_text": threshold_text, "signed": signed_text, "renderer": _renderer,
        "sheet_of": FormatSheet.of, "is_steady": is_steady, "plain": plain,
    }  # fmt: skip


def _renderer(record: Any) -> ModuleType:
    """The module that draws a record as text, whose sentences templates use again."""
    return import_module(record.renderer.partition(":")[0])


def _binary(value: Number) -> str:
    return cut(str(digits(value, 2, limit=2000)), LONGEST)


def _fraction(value: Fraction) -> str:
    """A fraction as numerator and denominator, a power of two as such where it is large."""
    over, under = value.numerator, value.denominator
    if under.bit_length() > 20 and under & (under - 1) == 0:
        return f"{_whole(over)}/2^{under.bit_length() - 1}"
    return f"{_whole(over)}/{_whole(under)}" if under != 1 else _whole(over)


def _whole(number: int) -> str:
    return str(number) if number.bit_length() < 200 else shown(number)


def markup(record: Any, *, live: bool = False, prefix: str = "") -> Markup:
    """A record as HTML, without the style sheet.

    ``live`` says that somebody answers its buttons, ``prefix`` tells its ids from others'.
    """
    name = f"{type(record).__name__}.html"
    if name not in _names():
        return Markup(record.page().html())
    template = environment().get_template(name)
    return Markup(template.render(record=record, live=live, prefix=prefix))


@cache
def _names() -> frozenset[str]:
    """The templates there are; to list them is to read the folder."""
    return frozenset(environment().list_templates())


@pass_context
def _inner(context: Context, record: Any) -> Markup:
    """A record within a template, which says whether it is live."""
    live, prefix = context.get("live", False), context.get("prefix", "")
    return markup(record, live=live, prefix=prefix)


@cache
def style_sheet() -> str:
    """The styles of all templates."""
    return STYLE_SHEET + _beside("records.css")


def drag_script() -> str:
    """The script of bits that are dragged across, where somebody answers buttons."""
    return _beside("drag.js")


def _beside(name: str) -> str:
    return files("halfulp.explanations").joinpath("templates", name).read_text(encoding="utf-8")


def notebook(record: Any) -> str:
    """A record as HTML that brings its own style, with its figure."""
    return in_notebook(markup(record) + drawn(record), style_sheet())


def drawn(record: Any) -> Markup:
    """The figure of a record that needs no script; most have none."""
    from halfulp.explanations.trajectories import trajectories

    return trajectories(record) if isinstance(record, (Walk, WalkComparison)) else Markup("")
