"""The sentence that says where a non-finite number came from."""

from __future__ import annotations

import torch

from halfulp.training.watching.frames import Frame
from halfulp.training.watching.nodes import MOST
from halfulp.training.watching.poles import Pole

#: Formats that a training overflows without being absurd.
_SHORT = {"float16": torch.finfo(torch.float16).max, "bfloat16": torch.finfo(torch.bfloat16).max}


def subject(operator: str, place: str) -> str:
    """``addmm with W`` or ``exp, after W,`` as a sentence begins.

    >>> subject("addmm", "with fc.weight"), subject("exp", "after fc.weight"), subject("exp", "")
    ('addmm with fc.weight', 'exp, after fc.weight,', 'exp')
    """
    return f"{operator}, {place}," if place.startswith("after") else f"{operator} {place}".strip()


def counted(frame: Frame) -> str:
    """How many numbers of a frame are what.

    >>> counted(Frame("exp", "", "result", (64, 64), "float16", 1.0, 1.0, 3, 0))
    '3 of 4,096 numbers infinite'
    """
    return f"{frame.nonfinite:,} of {_numbers(frame.size)} {_kind(frame)}"


def came_in(
    what: str, reader: str, frame: Frame, rows: tuple[int, ...], count: int, among: int, name: str
) -> str:
    """A parameter or an input was not finite when it was read."""
    if what == "parameter":
        verb = "was" if frame.nonfinite == 1 else "were"
        return f"{name}: {counted(frame)[: -len(_kind(frame)) - 1]} {verb} {_kind(frame)} " + (
            f"before {reader.rstrip(',')} read it"
        )
    where = ""
    if rows and count < among:
        word = "row" if count == 1 else "rows"
        more = ", …" if count > len(rows) else ""
        where = f", in {word} {', '.join(map(str, rows))}{more} of {among:,}"
    elif rows:
        where = f", in all of its {among:,} rows"
    verb = "was" if frame.nonfinite == 1 else "were"
    return (
        f"the input of {reader} came in with {counted(frame)[: -len(_kind(frame)) - 1]} that "
        f"{verb} {_kind(frame)}{where}"
    )


def made(who: str, to: str, others: int, frame: Frame | None, hidden: bool) -> str:
    """An operator made it, or one of those after it whose results nobody kept."""
    if others:
        count = "the one operator" if others == 1 else f"one of the {others:,} operators"
        who = f"{who.rstrip(',')}, or {count} that followed up to {to}"
    what = f"made {counted(frame)}" if frame is not None else "made numbers that are not finite"
    kept = "; what they made on the way was not kept, as in a checkpoint" if hidden else ""
    return f"{who} {what}{kept}"


def at_pole(who: str, met: Pole) -> str:
    """An operator was asked for what is not finite."""
    did = "made numbers" if met.value else "makes gradients"
    return f"{who} {did} that are not finite: {met.words}"


def reason(frame: Frame | None, largest: float | None) -> str:
    """Why: how large the inputs were, where all are seen, and where the format ends."""
    if frame is None:
        return ""
    if not frame.nan and frame.dtype in _SHORT:
        end = f"{frame.dtype} ends at {_SHORT[frame.dtype]:.5g}"
        return f": {end}" if largest is None else f": its largest input was {largest:.5g}, and {end}"
    return "" if largest is None else f": all it read was finite, at most {largest:.5g}"


def looked_at(nodes: int) -> str:
    """A note where a graph was too large to be looked at in whole."""
    return f" (of the graph, the last {MOST:,} operators were looked at)" if nodes >= MOST else ""


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count:,} numbers"


def _kind(frame: Frame) -> str:
    if frame.nan == frame.nonfinite:
        return "NaN"
    return "infinite or NaN" if frame.nan else "infinite"
