"""One HTML file from sections: styles and scripts inline, nothing fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

from halfulp import __version__
from halfulp.explanations.page import STYLE_SHEET
from halfulp.language import N_, chosen
from halfulp.language import translate as _

LANG = {"en": "en", "zh": "zh-CN"}  # as HTML names them


@dataclass(frozen=True)
class Section:
    """A part of a document: a heading, prose, a drawn record, and figures."""

    title: str
    prose: str = ""  # paragraphs apart by an empty line
    records: tuple[Any, ...] = ()
    figures: tuple[Any, ...] = ()  # plotly figures


_DOCUMENT = Template("""<!doctype html>
<html lang="$language">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="halfulp $version">
<title>$title</title>
<style>
:root { color-scheme: light dark; --ink: #1c2024; --paper: #ffffff; --soft: #5b6470;
  --panel: #f4f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14171a; --soft: #a2abb5;
  --panel: #1e2328; } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 60rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; }
pre { background: var(--panel); padding: 1rem; border-radius: .4rem; }
$steps
.figure { margin: 1rem 0; background: #ffffff; border-radius: .4rem; overflow-x: auto; }
/* Figures are drawn for paper: at night light and dark change places, and hues stay. */
@media (prefers-color-scheme: dark) { .figure { filter: invert(.91) hue-rotate(180deg); } }
.figure .plotly-graph-div { height: auto !important; } /* menus of figures may change theirs */
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
</style>
$script
</head>
<body class="hu-record">
<h1>$title</h1>
$body
<footer>$footer</footer>
</body>
</html>
""")


_FOOTER = N_(
    "Made by halfulp {version}. The numbers of conversions, sums and walks are exact, but for\n"
    "those marked ≈ and errors such as 1.0e-5; those of trainings are measured."
)
_FIGURE: dict[str, Any] = {
    "full_html": False,
    "include_plotlyjs": False,
    "config": {"displayModeBar": False, "responsive": True},
}


def document(title: str, sections: Sequence[Section]) -> str:
    """The whole page as a text; plotly's script is in it if, and only if, there are figures."""
    script = ""
    if any(section.figures for section in sections):
        from halfulp.report.figures import plotly_script

        script = f"<script>{plotly_script()}</script>"
    return _DOCUMENT.substitute(
        title=escape(title),
        language=LANG[chosen()],
        footer=escape(_(_FOOTER).format(version=__version__)),
        version=__version__,
        steps=STYLE_SHEET,
        script=script,
        body="\n".join(_section(section) for section in sections),
    )


def _section(section: Section) -> str:
    heading = f"<h2>{escape(section.title)}</h2>" if section.title else ""
    prose = "".join(f"<p>{escape(p)}</p>" for p in section.prose.split("\n\n") if p.strip())
    records = "".join(record.page().html() for record in section.records)
    figures = "".join(
        '<div class="figure">' + figure.to_html(**_FIGURE) + "</div>" for figure in section.figures
    )
    return f"<section>{heading}{prose}{records}{figures}</section>"
