"""The one exception users need to catch, and the sentences that recur in it.

Every message says what was asked, what was found, and what is allowed or what to do.
"""

from __future__ import annotations

from collections.abc import Collection

from halfulp.language import translate as _

LONGEST = 360  # characters of a message


class HalfulpError(ValueError):
    """A wrong use or a bad input, explained in one sentence.

    >>> raise unknown("format", "floot16", ["float16", "float32"])
    Traceback (most recent call last):
    halfulp.errors.HalfulpError: unknown format 'floot16': did you mean float16 or float32?
    """

    def __init__(self, message: str) -> None:
        # What was asked is repeated in the sentence, and may be of any length.
        super().__init__(message if len(message) < LONGEST else _shortened(message))


def _shortened(message: str) -> str:
    return f"{message[: LONGEST // 2]} … {message[-LONGEST // 3 :]}"


def listed(names: Collection[str]) -> str:
    """``a, b or c``, as a sentence lists what is allowed."""
    *head, last = names or [_("nothing")]
    return _("{names} or {last}").format(names=", ".join(head), last=last) if head else last


def unknown(kind: str, asked: str, known: Collection[str]) -> HalfulpError:
    """An unknown name, with the nearest known ones, or all of them where none is near."""
    # difflib takes milliseconds to import and is needed for mistakes only.
    from difflib import get_close_matches

    near = get_close_matches(asked.lower()[:80], known, n=3, cutoff=0.5)
    if near:
        text = _("unknown {kind} {asked!r}: did you mean {near}?")
        return HalfulpError(text.format(kind=kind, asked=asked, near=listed(near)))
    few = list(known)[:8]
    text = _("unknown {kind} {asked!r}: known are {few}")
    if len(known) > len(few):
        text = _("unknown {kind} {asked!r}: known are {few} and {more} more")
    more, names = len(known) - len(few), ", ".join(few)
    return HalfulpError(text.format(kind=kind, asked=asked, few=names, more=more))


def missing_extra(package: str, extra: str, purpose: str) -> HalfulpError:
    """A package that an extra of halfulp brings is not installed."""
    text = _("{purpose} needs {package}, which is not installed: pip install 'halfulp[{extra}]'")
    return HalfulpError(text.format(purpose=purpose, package=package, extra=extra))


def too_many_steps(steps: int, strategy: str, most: int) -> HalfulpError:
    """A walk that has not settled within the steps that can be simulated."""
    text = _(
        "{steps} steps are too many to simulate under {strategy}, which still moves after {most}: "
        "ask for fewer, or for the strategy nearest alone, or hu.predict, which knows any step"
    )
    return HalfulpError(text.format(steps=steps, strategy=strategy, most=most))
