"""L3: lines of styled text: what text renderers write, printed with or without colours."""

from __future__ import annotations

import os
import re
import sys
from fractions import Fraction
from itertools import groupby

from halfulp.exact import Number
from halfulp.explanations.columns import columns, is_wide, padded, wrapped
from halfulp.records import decimal_string

# Bits are coloured as in the field's diagrams: sign, exponent, fraction.
STYLES = {
    "sign": "red", "exponent": "green", "fraction": "cyan", "title": "bold", "dim": "dim",
    "good": "green", "bad": "bold red", "key": "bold cyan",
}  # fmt: skip

# The same in HTML, in a page of our own or in a notebook: colours by day and by night, told apart
# by everybody (WCAG AA on both papers).
DAY = (
    "color-scheme: light; --hu-soft: #5b6470; --hu-red: #b3261e; --hu-green: #1b6e3c; "
    "--hu-blue: #0b5f86; --hu-line: #c9d0d8; --hu-panel: #f4f6f8; --hu-paper: #ffffff; "
    "--hu-ink: #1c2024; --hu-accent: #0b5f86;"
)
NIGHT = (
    "color-scheme: dark; --hu-soft: #a2abb5; --hu-red: #ff8f86; --hu-green: #7bd7a0; "
    "--hu-blue: #7cc8ee; --hu-line: #3a424b; --hu-panel: #1e2328; --hu-paper: #14171a; "
    "--hu-ink: #e6e9ec; --hu-accent: #7cc8ee;"
)
# Notebooks and documentation have themes of their own, and say so around what they show: JupyterLab
# and nbconvert, VS Code, Colab, Sphinx. Where nobody does, the system's setting holds.
HAS_DAY = (
    '[data-jp-theme-light="true"], .vscode-light, .vscode-high-contrast-light, '
    'html[theme="light"], [data-theme="light"]'
)
HAS_NIGHT = (
    '[data-jp-theme-light="false"], .vscode-dark, '
    '.vscode-high-contrast:not(.vscode-high-contrast-light), html[theme="dark"], '
    '[data-theme="dark"]'
)
# Every rule begins with the class of what is around our results, so that no other is touched.
STYLE_SHEET = f"""
.hu-record {{ {DAY} }}
@media (prefers-color-scheme: dark) {{ .hu-record {{ {NIGHT} }} }}
:is({HAS_DAY}) .hu-record {{ {DAY} }}
:is({HAS_NIGHT}) .hu-record {{ {NIGHT} }}
.hu-record pre.hu-steps {{ overflow-x: auto; white-space: pre;
  font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }}
.hu-record .hu-title {{ font-weight: 700; }} .hu-record .hu-dim {{ color: var(--hu-soft); }}
.hu-record :is(.hu-sign, .hu-bad) {{ color: var(--hu-red); }}
.hu-record :is(.hu-exponent, .hu-good) {{ color: var(--hu-green); }}
.hu-record :is(.hu-fraction, .hu-key) {{ color: var(--hu-blue); }}
.hu-record .hu-wide {{ letter-spacing: calc(2ch - 1em); }}
.hu-record.hu-card {{ color: var(--hu-ink); background: var(--hu-paper); padding: .25rem .5rem;
  font: .9rem/1.55 system-ui, sans-serif; }}
.hu-record.hu-card pre.hu-steps {{ color: inherit; background: none; margin: .25rem 0; }}
"""

# Lines of figures: Okabe and Ito's colours, told apart by every eye; black is the page's own ink.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000")

Part = str | tuple[str, str]
LABEL = 11  # columns of the label before each line
WIDTH = 80


class Page:
    """Lines of (text, style) parts."""

    def __init__(self) -> None:
        self.lines: list[list[Part]] = []

    def line(self, *parts: Part) -> None:
        """One line of parts; a plain str has no style."""
        self.lines.append(list(parts))

    def labelled(self, label: str, *parts: Part) -> None:
        """An indented line that begins with what it shows; long prose goes on below itself."""
        if len(parts) == 1 and isinstance(parts[0], str):
            first, *rest = wrapped(parts[0], WIDTH - 2 - LABEL)
            self.line("  ", (_label(label), "dim"), first)
            for more in rest:
                self.line(" " * (2 + LABEL), more)
            return
        self.line("  ", (_label(label), "dim"), *parts)

    def paragraph(self, text: str) -> None:
        """Indented prose, as many lines as it takes."""
        for line in wrapped(text, WIDTH - 2):
            self.line("  ", line)

    def table(self, header: list[str], rows: list[list[str]], right: str = "") -> None:
        """Columns under a header; those whose number is in ``right`` lean that way."""
        widths = [max(columns(row[i]) for row in [header, *rows]) for i in range(len(header))]
        for row in [header, *rows]:
            cells = [
                padded(cell, width, right=str(i) in right)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  ", ("  ".join(cells), "dim") if row is header else "  ".join(cells))

    def html(self) -> str:
        """The lines as preformatted HTML, styled by class."""
        lines = [
            "".join(
                _escaped(p)
                if isinstance(p, str)
                else f'<span class="hu-{p[1]}">{_escaped(p[0])}</span>'
                for p in line
            )
            for line in self.lines
        ]
        return '<pre class="hu-steps" tabindex="0">' + "\n".join(lines) + "</pre>"

    def notebook(self) -> str:
        """The lines as HTML that brings its own style."""
        return in_notebook(self.html(), STYLE_SHEET)

    def blank(self) -> None:
        """An empty line."""
        self.line("")

    def plain(self) -> str:
        """The text without styles."""
        return "\n".join("".join(_text(p) for p in line).rstrip() for line in self.lines)

    def print(self) -> None:
        """To standard output, in colours where it is a terminal that wants them."""
        wanted = sys.stdout is not None and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        if not wanted:
            print(self.plain())
            return
        from rich.console import Console
        from rich.text import Text

        console = Console(highlight=False, soft_wrap=True)
        for line in self.lines:
            parts = [p if isinstance(p, str) else (p[0], STYLES[p[1]]) for p in line]
            console.print(Text.assemble(*parts))


def in_notebook(html: str, styles: str) -> str:
    """HTML with the styles it needs, which touch nothing else of the page that it comes to."""
    return f'<style>{styles}</style><div class="hu-record hu-card">{html}</div>'


def _label(label: str) -> str:
    """A label as wide as its column, or one space wider than itself."""
    return padded(label, max(LABEL, columns(label) + 1))


def _escaped(text: str) -> str:
    """A text for HTML, where wide characters must be told to take two columns."""
    from html import escape

    if columns(text) == len(text):
        return escape(text)
    runs = ((wide, escape("".join(run))) for wide, run in groupby(text, is_wide))
    return "".join(f'<span class="hu-wide">{run}</span>' if wide else run for wide, run in runs)


def woven(text: str, style: str = "", **parts: Part) -> list[Part]:
    """The parts of a sentence: what its braces name is put in, all that has no style takes one.

    >>> woven("→ {format} from {source}", "dim", format=("float16", "title"), source="float32")
    [('→ ', 'dim'), ('float16', 'title'), (' from ', 'dim'), ('float32', 'dim')]
    """
    pieces = re.split(r"\{(\w+)\}", text)
    found = [parts[piece] if i % 2 else piece for i, piece in enumerate(pieces) if piece]
    return [(p, style) if style and isinstance(p, str) else p for p in found]


def _text(part: Part) -> str:
    return part if isinstance(part, str) else part[0]


def shown(value: Number | Fraction | int, width: int = 58, digits: int = 17) -> str:
    """An exact decimal where it fits, else rounded to some digits with the sign ≈."""
    exact = value.value if isinstance(value, Number) else Fraction(value)
    # What has more bits than that has more digits than any line: do not write them out to count.
    if exact.denominator.bit_length() + exact.numerator.bit_length() < 2000:
        text = str(value) if isinstance(value, Number) else decimal_string(exact)
        if len(text) <= width:
            return text
    return f"≈ {scientific(exact, digits)}"


def scientific(value: Fraction, digits: int) -> str:
    """Rounded scientific notation of a number of any size.

    >>> scientific(Fraction(1, 3), 4), scientific(Fraction(10**400), 2)
    ('3.333e-1', '1.0e+400')
    """
    if not value:
        return "0"
    size = abs(value)
    exponent = _decimal_exponent(size)
    over, under = _times_ten(size, digits - 1 - exponent)
    scaled, rest = divmod(over, under)
    scaled += 2 * rest + scaled % 2 > under  # nearest, ties to even
    if scaled == 10**digits:
        scaled, exponent = scaled // 10, exponent + 1
    text = str(scaled)
    sign = "-" if value < 0 else ""
    return f"{sign}{text[0]}.{text[1:]}e{exponent:+d}"


def _decimal_exponent(size: Fraction) -> int:
    # log10(2) to ten places settles the exponent but for one step, which comparison decides.
    bits = size.numerator.bit_length() - size.denominator.bit_length()
    guess = bits * 3010299957 // 10**10
    while _is_less(size, guess):
        guess -= 1
    while not _is_less(size, guess + 1):
        guess += 1
    return guess


def _is_less(size: Fraction, exponent: int) -> bool:
    """Whether a number is less than 10 ** exponent."""
    over, under = _times_ten(size, -exponent)
    return over < under


def _times_ten(size: Fraction, power: int) -> tuple[int, int]:
    """A number times 10 ** power as two ints: a Fraction would be reduced, which takes long."""
    return size.numerator * 10 ** max(power, 0), size.denominator * 10 ** max(-power, 0)


def share(part: Fraction) -> str:
    """A share of an ulp: exact where short, else four significant digits with ≈."""
    if part.denominator.bit_length() < 2000:
        text = decimal_string(part)
        if len(text) <= 8:
            return text
    size = abs(part)
    if Fraction(1, 1000) <= size < 1000:
        return f"≈ {float(part):.4f}" if abs(float(part) - 0.5) > 5e-5 else f"≈ {float(part):.9f}"
    return f"≈ {scientific(part, 4)}"
