"""What tests hold Chinese texts to: they fit a terminal, and no English word is left in them."""

from __future__ import annotations

import re
from unicodedata import east_asian_width

from halfulp.explanations.columns import CLOSING
from halfulp.profiles import PROFILES
from halfulp.rounding import DECISIONS
from halfulp.runs.elements import SPLIT
from halfulp.updates import STRATEGIES

# Words that are names in Chinese as well.
NAMES = {
    *DECISIONS, *STRATEGIES, *PROFILES, SPLIT, "ulp", "inf", "nan", "NaN", "IEEE", "SQNR", "dB",
    "binade", "Kahan", "halfulp", "torch",
    *re.findall(r"\w+", " ".join(f"{p.source} {[n.source for n in p.lines]}" for p in PROFILES.values() if p.source != "halfulp's default")),
}  # fmt: skip
# What a report repeats as it is: what an event says, names of parameters, and what is cut off.
AS_IT_IS = re.compile(r"“[^”]*”|\w+…|\w+(\.\w+)+|0x[0-9a-f]+|\w*[\d_]\w*")
COMMAND = re.compile(r"^ *(halfulp .*|--\w.*)$", re.MULTILINE)


def width(text: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def english(text: str, *names: str) -> set[str]:
    """Words that should have been translated."""
    words = set(re.findall(r"\b[A-Za-z]+\b", AS_IT_IS.sub(" ", COMMAND.sub("", text))))
    return {word for word in words - NAMES - {*names} if len(word) > 1}


def check(text: str, *names: str) -> None:
    """A page in Chinese; ``names`` are words that it may have in English."""
    assert max(map(width, text.splitlines())) <= 80, text
    left = english(text, *names)
    assert not left, f"{left} in:\n{text}"
    for line in text.splitlines():
        assert line.strip()[:1] not in set(CLOSING), line
