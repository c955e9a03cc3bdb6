"""Convert: a chain of casts step by step, the other roundings beside it, two stacks compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from halfulp.arithmetic import Operand, operand
from halfulp.casting import code_number
from halfulp.catalogue import format
from halfulp.errors import HalfulpError
from halfulp.exact import Number
from halfulp.explanations.conversion import difference, explain
from halfulp.explanations.profiles import profile_diff
from halfulp.lab.state import State, names
from halfulp.lab.view import Content, View, command
from halfulp.language import N_
from halfulp.language import translate as _
from halfulp.profiles import PROFILES, profiled_cast, require
from halfulp.rounding import DECISIONS

ROUNDINGS = tuple(name for name in DECISIONS if name != "stochastic")
MOST_LINKS = 8  # of a chain


def build(state: State, pressed: Mapping[str, str], lab: Any) -> Content:
    """The chain as explained, and what other roundings and stacks make of it."""
    via, to = names(state, "via"), names(state, "to")
    if len(via) + len(to) > MOST_LINKS:
        raise HalfulpError(
            _("the chain has {found} formats: the page shows up to {most}").format(
                found=len(via) + len(to), most=MOST_LINKS
            )
        )
    if not to:  # the last format is the one it comes to, wherever it is named
        via, to = via[:-1], via[-1:]
    profile = state["profile"]
    for name in to if profile else ():
        require(profile, format(name))
    given = operand(state["x"])
    found = explain(given, via, to, rounding=state["rounding"], overflow=profile or None)
    shown = {
        "explanation": found,
        "outcomes": [_outcome(given, [*via, *to], name, profile or None) for name in ROUNDINGS],
        "difference": _difference(state, to),
    }
    rounding = state["rounding"] if state["rounding"] != "nearest_even" else None
    said = command("explain", state["x"], via=",".join(via), to=",".join(to), rounding=rounding,
                   profile=profile)  # fmt: skip
    return Content(state, shown, said)


class Outcome(NamedTuple):
    """What a chain of casts ends in under one rounding."""

    rounding: str
    value: Number
    code: str
    error: Fraction | None  # from the number given; None where either is not finite
    ulps: Fraction | None


def _outcome(given: Operand, chain: Sequence[str], rounding: str, overflow: str | None) -> Outcome:
    """The end of a chain alone: explaining all its steps takes several times as long."""
    source = value = given.number
    for name in chain:
        cast = profiled_cast(name, rounding, overflow)
        code = cast.code(value)
        source, value = value, code_number(cast.target, code)
    error = difference(value, given.number)
    ulps = None if error is None else error / cast.target.ulp(source.value)
    return Outcome(rounding, value, cast.target.hex(code), error, ulps)


def _difference(state: State, to: list[str]) -> Any:
    """Where two stacks part on the number; None where none is named."""
    if not state["against"]:
        return None
    if not state["profile"]:
        raise HalfulpError(
            _("choose the profile that {other} is compared with").format(other=state["against"])
        )
    targets = [format(name) for name in to[-1:]]
    return profile_diff(state["profile"], state["against"], state["x"], targets,
                        rounding=state["rounding"])  # fmt: skip


VIEW = View(
    name="convert",
    title=N_("Convert"),
    about=N_("Decimal, binary, each format in turn: what is dropped, and why it rounds so."),
    defaults={
        "x": "1.12156456132", "via": "float32", "to": "float16", "rounding": "nearest_even",
        "profile": "", "against": "",
    },
    build=build,
    choices={"roundings": ROUNDINGS, "profiles": tuple(PROFILES)},
)  # fmt: skip
