"""Who made the first non-finite number, of what a graph shows.

A number that is seen to be finite ends all suspicion of what came before it, and one that is seen
not to be passes it on. In between, where nothing is seen, suspicion grows with every operator that
could have made it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

from halfulp.training.origins.bounds import Reads, largest, limit
from halfulp.training.origins.frames import Value
from halfulp.training.origins.nodes import Edge
from halfulp.training.origins.poles import Pole, pole
from halfulp.training.origins.saved import plain_number, result_dtype
from halfulp.training.origins.sightings import Sighting, Sightings

#: Operators that write −inf where a mask says so, which is as meant.
MASKS = frozenset(["masked_fill", "where", "add", "sub", "constant_pad_nd", "tril", "triu"])
SOFTMAXES = frozenset(["softmax", "log_softmax"])


class State(IntEnum):
    """What is known of a result."""

    CLEAN = 0  # finite
    MAYBE = 1  # not seen, and what made it could have overflowed
    TAINTED = 2  # not finite


class Case(NamedTuple):
    """The first operator at which a non-finite number is seen, and who can have made it."""

    node: Any
    came: tuple[Value, str, bool] | None  # what came in with it, its name, whether a parameter
    shown: Value | None  # the result in which it is seen
    suspects: tuple[Any, ...]  # in the order they ran; the first is named
    pole: Pole | None = None
    masked: bool = False  # whether it is a softmax of what a mask may have emptied


def inquire(seen: Sightings, roots: Sequence[Edge]) -> tuple[Inquiry, Case | None]:
    """The case, and the inquiry that found it.

    A number that overflows though it would have fitted tells of a shorter format, emulated.
    """
    short = "_Border" in seen.graph.operators.values()
    inquiry = Inquiry(seen, short)
    case = inquiry.case(roots)
    if case and case.shown and not case.came and not short and inquiry.fits(case.node):
        inquiry = Inquiry(seen, True)
        case = inquiry.case(roots)
    return inquiry, case


@dataclass
class Inquiry:
    """Goes through the operators in the order they ran."""

    seen: Sightings
    short: bool  # whether float32 tensors may hold numbers of a shorter format
    states: dict[Any, State] = field(default_factory=dict)  # of results that are not seen
    bounds: dict[Any, float] = field(default_factory=dict)
    cases: list[Any] = field(default_factory=list)

    def case(self, roots: Iterable[Edge]) -> Case | None:
        """The first case that reaches a non-finite root, or of all where the roots are finite."""
        for node, sighting in self.seen.at.items():
            self._judge(node, sighting)
        ends = [edge for edge in roots if self.state(edge) is State.TAINTED]
        if ends:
            reached = self._behind(ends)
            nodes = [node for node in self.cases if node in reached]
        else:
            nodes = [node for node in self.seen.at if self._matters(node)]
        return self._made_up(nodes[0]) if nodes else None

    def state(self, edge: Edge | None) -> State:
        """What is known of the number that passes along an edge."""
        if edge is None:
            return State.CLEAN
        if edge in self.seen.values:
            return State.TAINTED if self.seen.values[edge].bad else State.CLEAN
        if edge[0] in self.seen.graph.leaves:
            return State.CLEAN  # no plain tensor: nothing is known against it
        return self.states.get(edge[0], State.MAYBE)

    def bound(self, edge: Edge) -> float:
        """The largest magnitude that passes along an edge, infinite where not known."""
        if edge in self.seen.values:
            value = self.seen.values[edge]
            return math.inf if value.bad else value.amax
        return self.bounds.get(edge[0], math.inf)

    def fits(self, node: Any) -> bool:
        """Whether an operator's results are known to be small enough for their format."""
        return self.bounds[node] <= limit(result_dtype(node), self.short)

    def _judge(self, node: Any, sighting: Sighting) -> None:
        inputs = [self.state(edge) for edge in sighting.edges]
        self.bounds[node] = self._largest(node, sighting)
        state = max(inputs, default=State.CLEAN)
        if self._came(sighting) is not None:
            self.cases.append(node)
            state = State.TAINTED
        elif state is not State.TAINTED:
            if self._shown(node, sighting) is not None or any(v.bad for v in sighting.loose):
                self.cases.append(node)
                state = State.TAINTED
            elif not self.fits(node) and not _hands_on(node, sighting.operator):
                state = State.MAYBE
        self.states[node] = state

    def _largest(self, node: Any, sighting: Sighting) -> float:
        given = iter(sighting.given)
        amaxes = []
        for edge in sighting.edges:
            if edge is not None:
                amaxes.append(self.bound(edge))
            else:
                value = next(given, None)
                amaxes.append(math.inf if value is None else value.value.amax)
        alpha = plain_number(node, "alpha")
        return largest(
            sighting.operator, Reads(amaxes, sighting.kept, 1.0 if alpha is None else alpha)
        )

    def _came(self, sighting: Sighting) -> tuple[Value, str, bool] | None:
        """What is not finite and was made by no operator."""
        graph = self.seen.graph
        for edge in filter(None, sighting.edges):
            if edge[0] in graph.leaves and self.state(edge) is State.TAINTED:
                name = graph.names.get(edge[0], "")
                return self.seen.values[edge], name, bool(name)
        for value, name in sighting.given:
            if value.bad:
                return value, name, bool(name)
        return None

    def _shown(self, node: Any, sighting: Sighting) -> Value | None:
        values = [*self.seen.results(node), *sighting.inside]
        return next((value for value in values if value.bad), None)

    def _behind(self, ends: Iterable[Edge]) -> set[Any]:
        """All nodes from which a number that may not be finite has reached the ends."""
        reached = {edge[0] for edge in ends}
        waiting = list(reached)
        while waiting:
            for edge in self.seen.graph.edges.get(waiting.pop(), ()):
                if edge and edge[0] not in reached and self.state(edge) is not State.CLEAN:
                    reached.add(edge[0])
                    waiting.append(edge[0])
        return reached

    def _matters(self, node: Any) -> bool:
        """Whether something is wrong that no output shows, so that gradients must."""
        sighting = self.seen.at[node]
        if _pole(node, sighting) is not None:
            return True
        results = self.seen.results(node)
        if node not in self.cases or (results and not any(value.bad for value in results)):
            return False
        shown = self._shown(node, sighting)
        return not (shown and sighting.operator in MASKS and _only_low(shown))

    def _made_up(self, node: Any) -> Case:
        sighting = self.seen.at[node]
        came, shown = self._came(sighting), self._shown(node, sighting)
        met = _pole(node, sighting)
        if came is not None:
            return Case(node, came, shown, (node,))
        if met is not None and (met.value or shown is None):
            return Case(node, None, shown, (node,), met)
        unsettled = self._unsettled(node)
        for suspect in unsettled:
            met = _pole(suspect, self.seen.at[suspect])
            if met is not None and met.value:
                return Case(node, None, shown, (suspect,), met)
        could, masked = unsettled, False
        if sighting.operator in SOFTMAXES:
            unsettled = [n for n in could if self.seen.at[n].operator not in MASKS]
            masked = len(unsettled) < len(could)
        # What is seen in an input only was not made here, if it can have been made before.
        elsewhere = _hands_on(node, sighting.operator) or shown is None
        itself = [] if unsettled and elsewhere else [node]
        return Case(node, None, shown, (*unsettled, *itself), masked=masked and bool(itself))

    def _unsettled(self, node: Any) -> list[Any]:
        """The operators before ``node`` that are not seen, and could have made what it got."""
        found: set[Any] = set()
        waiting = [node]
        while waiting:
            for edge in filter(None, self.seen.graph.edges[waiting.pop()]):
                new = edge[0] in self.seen.at and edge[0] not in found
                if new and self.state(edge) is State.MAYBE:
                    found.add(edge[0])
                    waiting.append(edge[0])
        return [n for n in self.seen.at if n in found and self._could(n)]

    def _could(self, node: Any) -> bool:
        sighting = self.seen.at[node]
        before = [self.state(edge) for edge in sighting.edges]
        return max(before, default=State.CLEAN) is State.CLEAN or not _hands_on(
            node, sighting.operator
        )


def _hands_on(node: Any, operator: str) -> bool:
    """Whether an operator makes nothing infinite of what is not: none of its results is larger."""
    if operator == "to_copy":
        dtype = result_dtype(node)
        return dtype is not None and dtype.itemsize >= 4
    return largest(operator, Reads((2.0, 2.0), {})) <= 2.0


def _pole(node: Any, sighting: Sighting) -> Pole | None:
    return pole(sighting.operator, sighting.kept, plain_number(node, "exponent"))


def _only_low(value: Value) -> bool:
    bad = value.tensor.detach()[~value.tensor.detach().isfinite()]
    return bool((bad == -math.inf).all())
