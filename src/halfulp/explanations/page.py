"""L3: lines of styled text: what text renderers write, printed with or without colours."""

from __future__ import annotations

import os
import sys
from fractions import Fraction

from halfulp.exact import Number
from halfulp.records import decimal_string

# Bits are coloured as in the field's diagrams: sign, exponent, fraction.
STYLES = {
    "sign": "red", "exponent": "green", "fraction": "cyan", "title": "bold", "dim": "dim",
    "good": "green", "bad": "bold red", "key": "bold cyan",
}  # fmt: skip

# The same in HTML, in a page of our own or in a notebook, by day and by night.
STYLE_SHEET = """
.hu-steps { --hu-soft: #5b6470; --hu-red: #b3261e; --hu-green: #1b6e3c; --hu-blue: #0b5f86;
  overflow-x: auto; font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { .hu-steps { --hu-soft: #a2abb5; --hu-red: #ff8f86;
  --hu-green: #7bd7a0; --hu-blue: #7cc8ee; } }
.hu-title { font-weight: 700; } .hu-dim { color: var(--hu-soft); }
.hu-sign, .hu-bad { color: var(--hu-red); } .hu-exponent, .hu-good { color: var(--hu-green); }
.hu-fraction, .hu-key { color: var(--hu-blue); }
"""

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
            import textwrap

            first, *rest = textwrap.wrap(parts[0], WIDTH - 2 - LABEL) or [""]
            self.line("  ", (_padded(label), "dim"), first)
            for more in rest:
                self.line(" " * (2 + LABEL), more)
            return
        self.line("  ", (_padded(label), "dim"), *parts)

    def table(self, header: list[str], rows: list[list[str]], right: str = "") -> None:
        """Columns under a header; those whose number is in ``right`` lean that way."""
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        for row in [header, *rows]:
            cells = [
                cell.rjust(width) if str(i) in right else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.line("  ", ("  ".join(cells), "dim") if row is header else "  ".join(cells))

    def html(self) -> str:
        """The lines as preformatted HTML, styled by class."""
        from html import escape

        lines = [
            "".join(
                escape(p)
                if isinstance(p, str)
                else f'<span class="hu-{p[1]}">{escape(p[0])}</span>'
                for p in line
            )
            for line in self.lines
        ]
        return '<pre class="hu-steps">' + "\n".join(lines) + "</pre>"

    def notebook(self) -> str:
        """The lines as HTML that brings its own style."""
        return f"<style>{STYLE_SHEET}</style>{self.html()}"

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


def _padded(label: str) -> str:
    """A label as wide as its column, or one space wider than itself."""
    return label.ljust(LABEL) if len(label) < LABEL else f"{label} "


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
    scaled = round(size * Fraction(10) ** (digits - 1 - exponent))
    if scaled == 10**digits:
        scaled, exponent = scaled // 10, exponent + 1
    text = str(scaled)
    sign = "-" if value < 0 else ""
    return f"{sign}{text[0]}.{text[1:]}e{exponent:+d}"


def _decimal_exponent(size: Fraction) -> int:
    # log10(2) to ten places settles the exponent but for one step, which comparison decides.
    bits = size.numerator.bit_length() - size.denominator.bit_length()
    guess = bits * 3010299957 // 10**10
    while Fraction(10) ** guess > size:
        guess -= 1
    while Fraction(10) ** (guess + 1) <= size:
        guess += 1
    return guess


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
