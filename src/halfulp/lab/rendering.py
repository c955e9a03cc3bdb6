"""Templates of the lab, around those of the records."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from halfulp import __version__
from halfulp.explanations.markup import drag_script, helpers, style_sheet, templates
from halfulp.language import chosen


@cache
def environment() -> Environment:
    """The lab's own templates, and the records'."""
    return templates(
        "halfulp.lab", "halfulp.explanations", version=__version__, figure=figure, language=chosen,
        styles=_styles, script=_script, plotly=_plotly, **helpers(),
    )  # fmt: skip


def render(template: str, **context: Any) -> str:
    """A template of the lab as text."""
    return environment().get_template(template).render(**context)


def figure(drawn: Any, name: str) -> Markup:
    """A figure: plotly's, its JSON, or its data and layout. The script of the page draws it."""
    # < never stands as such in a data block, so that no text in a figure can end it.
    text = json.dumps(drawn, ensure_ascii=False) if isinstance(drawn, dict) else drawn
    text = text if isinstance(text, str) else text.to_json()
    safe = text.replace("<", "\\u003c")
    return Markup(
        f'<div class="figure" data-name="{name}">'
        f'<script type="application/json">{safe}</script></div>'
    )


@cache
def styles() -> str:
    """All styles of the lab."""
    return style_sheet() + static("lab.css").decode()


@cache
def script() -> str:
    """The lab's own script."""
    return drag_script() + static("lab.js").decode()


@cache
def static(name: str) -> bytes:
    """A file that is served as it is."""
    return files("halfulp.lab").joinpath("static", name).read_bytes()


# What a saved page holds in itself; a script must not have its own end in it.


def _styles() -> Markup:
    return Markup(styles())


def _script() -> Markup:
    return Markup(script())


def _plotly() -> Markup:
    from halfulp.report.figures import plotly_script

    return Markup(plotly_script().replace("</script", "<\\/script"))
