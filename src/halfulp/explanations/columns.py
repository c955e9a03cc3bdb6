"""L3: texts by the columns they take in a terminal, where a Chinese character takes two."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from unicodedata import east_asian_width

# A line neither begins with what closes nor ends with what opens.
CLOSING = "，。、；：？！）》」』】”’"
OPENING = "（《「『【“‘"


def columns(text: str) -> int:
    """How many columns a text takes.

    >>> columns("weight"), columns("权重"), columns("→ ≈ ×")
    (6, 4, 5)
    """
    return len(text) if text.isascii() else len(text) + sum(map(is_wide, text))


def is_wide(char: str) -> bool:
    """Whether a character takes two columns.

    >>> is_wide("权"), is_wide("，"), is_wide("→")
    (True, True, False)
    """
    return east_asian_width(char) in "WF"


def padded(text: str, width: int, right: bool = False) -> str:
    """A text filled up to some columns, on the other side where it leans to the right.

    >>> padded("权重", 6), padded("1.5", 6, right=True)
    ('权重  ', '   1.5')
    """
    fill = " " * (width - columns(text))
    return fill + text if right else text + fill


def cut(text: str, width: int) -> str:
    """A text of at most so many columns, with … for what goes.

    >>> cut("0.0001100110011", 8), cut("舍入之后的值", 8), cut("1.5", 8)
    ('0.00011…', '舍入之…', '1.5')
    """
    return text if columns(text) <= width else f"{_head(text, width - 1)}…"


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most so many columns, broken at spaces and between wide characters.

    >>> wrapped("剩余 0.25 ulp，不到一半：向零舍入", 16)
    ['剩余 0.25 ulp，', '不到一半：向零舍', '入']
    """
    if columns(text) == len(text):
        import textwrap  # prose alone needs it

        return textwrap.wrap(text, width) or [""]
    lines = [""]
    for piece in _pieces(text):
        if columns(lines[-1] + piece) > width:
            lines.append(piece.lstrip())
        else:
            lines[-1] += piece
        while columns(lines[-1]) > width:  # one piece alone is too long
            head = _head(lines[-1], width)
            lines[-1:] = [head, lines[-1][len(head) :]]
    return [line.rstrip() for line in lines if line.strip()]


def _pieces(text: str) -> Iterator[str]:
    """What a line is not broken within: words, and wide characters with their punctuation."""
    start = 0
    for i, (before, after) in enumerate(pairwise(text), start=1):
        if _may_break(before, after):
            yield text[start:i]
            start = i
    yield text[start:]


def _may_break(before: str, after: str) -> bool:
    if after == " ":
        return before != " "
    clings = after in CLOSING or before in OPENING or before == " "
    return not clings and (is_wide(before) or is_wide(after))


def _head(text: str, width: int) -> str:
    """As much of a text as fits."""
    taken = 0
    for i, char in enumerate(text):
        taken += 1 + is_wide(char)
        if taken > width:
            return text[:i]
    return text
