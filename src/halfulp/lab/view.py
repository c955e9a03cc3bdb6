"""What a view is: fields with defaults, how they become results, and the command that does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from halfulp.lab.state import State


@dataclass(frozen=True)
class Content:
    """What a view shows: what its template is given, its figures, and the same as a command."""

    state: State  # as it is after buttons were pressed
    shown: Mapping[str, Any]
    command: str
    figures: Mapping[str, Any] = field(default_factory=dict)  # plotly's, by their place
    elsewhere: str = ""  # the link of another view, where a button leads there


@dataclass(frozen=True)
class View:
    """One view of the lab. ``build`` raises HalfulpError for what its fields cannot be."""

    name: str  # in the URL, and of its template
    title: str
    about: str  # what it is for, in a sentence
    defaults: Mapping[str, str]
    build: Callable[[State, Mapping[str, str], Any], Content]  # (state, buttons pressed, lab)
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of its select fields
    offers: Callable[[Any], Mapping[str, Any]] = lambda lab: {}  # and what those of a lab offer now
    is_slow: bool = False  # whether it takes more than a few milliseconds: then in a thread
    keys: tuple[str, ...] = ()  # buttons: names that act once and never stay in the URL


def command(*words: str, flags: Sequence[str] = (), **options: str | None) -> str:
    """A command line as a shell takes it; options without a value are left out.

    >>> command("explain", "1/3", to="float16", via=None)
    'halfulp explain 1/3 --to float16'
    >>> command("digits", "-zz", base="2")
    'halfulp digits --base 2 -- -zz'
    """
    name, *given = words
    chosen = [f"--{flag}" for flag in flags]
    for option, value in reversed(options.items()):
        if value:
            chosen = [f"--{option.replace('_', '-')}", value, *chosen]
    # What begins like an option and is no number has to be told apart from one.
    parts = [*chosen, "--", *given] if any(map(_LIKE_OPTION.match, given)) else [*given, *chosen]
    return " ".join(quote(part) for part in ("halfulp", name, *parts))


_LIKE_OPTION = re.compile(r"-(?![\d.]|inf|nan)", re.IGNORECASE)
