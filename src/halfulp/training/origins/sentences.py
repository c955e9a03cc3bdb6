"""The sentence that says where a non-finite number came from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from halfulp.training.origins.frames import Frame
from halfulp.training.origins.nodes import MOST
from halfulp.training.origins.poles import Pole

#: Formats that a training overflows without being absurd.
_SHORT = {"float16": torch.finfo(torch.float16).max, "bfloat16": torch.finfo(torch.bfloat16).max}

MASKED = ": a row of −inf alone, as a mask may make it, has no softmax"


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
    return f"{_part(frame)} {_kind(frame)}"


def parameter_came(name: str, reader: str, frame: Frame) -> str:
    """A parameter was not finite when it was read."""
    return (
        f"{name}: {_part(frame)} {_was(frame)} {_kind(frame)} before {reader.rstrip(',')} read it"
    )


def input_came(reader: str, frame: Frame, rows: Sequence[int], count: int) -> str:
    """An input was not finite when it was read, in ``count`` rows, of which the first are said."""
    if not frame.shape:
        return f"{reader} was given a number that is {_kind(frame)}"
    among, where = frame.shape[0], ""
    if 0 < count < among:
        more = ", …" if count > len(rows) else ""
        word = "row" if count == 1 else "rows"
        where = f", in {word} {', '.join(map(str, rows))}{more} of {among:,}"
    elif count > 1:
        where = f", in all of its {among:,} rows"
    came = (
        f"{_part(frame)} {_was(frame)} {_kind(frame)} in the input of {reader.rstrip(',')}{where}"
    )
    return came + reason(frame, None, None)


def made(who: str, to: str, others: int, frame: Frame | None, hidden: bool) -> str:
    """An operator made it, or one of those after it whose results nobody kept."""
    if others == 1:
        who = f"{who.rstrip(',')}, or the {to} after it,"
    elif others:
        who = f"{who.rstrip(',')}, or one of the {others:,} operators that followed"
        who += f", up to {to.rstrip(',')},"
    what = f"made {counted(frame)}" if frame is not None else "made numbers that are not finite"
    kept = "; what they made on the way was not kept, as in a checkpoint" if hidden else ""
    return f"{who} {what}{kept}"


def at_pole(who: str, met: Pole) -> str:
    """An operator was asked for what is not finite."""
    did = "made numbers" if met.value else "makes gradients"
    return f"{who} {did} that are not finite: {met.words}"


def reason(frame: Frame, largest: float | None, dtype: torch.dtype | None) -> str:
    """Why: how large the inputs were, where all are seen, and where the format ends.

    ``dtype`` is the one it was made in, where that is not the frame's.
    """
    name = frame.dtype if dtype is None else str(dtype).removeprefix("torch.")
    if not frame.nan and name in _SHORT:
        end = f"{name} ends at {_SHORT[name]:.5g}"
        return (
            f": {end}" if largest is None else f": its largest input was {largest:.5g}, and {end}"
        )
    return "" if largest is None else f": all it read was finite, at most {largest:.5g}"


def looked_at(nodes: int) -> str:
    """A note where a graph was too large to be looked at in whole."""
    return f" (of the graph, the last {MOST:,} operators were looked at)" if nodes >= MOST else ""


def _part(frame: Frame) -> str:
    size = frame.size
    return "its only number" if size == 1 else f"{frame.nonfinite:,} of {size:,} numbers"


def _was(frame: Frame) -> str:
    return "was" if frame.nonfinite == 1 else "were"


def _kind(frame: Frame) -> str:
    if frame.nan == frame.nonfinite:
        return "NaN"
    return "infinite or NaN" if frame.nan else "infinite"
