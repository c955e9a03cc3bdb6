"""Which operator made the first number that is not finite, told by the graph that autograd keeps.

The graph of a forward pass holds what the backward pass will need: inputs of some operators,
results of others. While it is alive a NaN in the output can be followed to where it began, and
nothing is computed again. Autograd's graph: https://docs.pytorch.org/docs/stable/notes/autograd.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from halfulp.records import Record
from halfulp.training.origins import sentences
from halfulp.training.origins.bounds import MOVES
from halfulp.training.origins.frames import Frame, Value, bad_rows, frame_of, unseen
from halfulp.training.origins.nodes import Nodes, tensors_of, walk
from halfulp.training.origins.saved import result_dtype
from halfulp.training.origins.sightings import Sightings, look
from halfulp.training.origins.suspects import Case, Inquiry, inquire

#: Operators that keep nothing of an operand from outside the graph.
OUTSIDE = frozenset(["add", "sub", "where", "cat", "stack"])
#: How many frames lead to an origin.
FRAMES = 12


@dataclass(frozen=True)
class Origin(Record):
    """Where a number that is not finite came from."""

    operator: str  # as in "exp"; of what came in, who read it first
    place: str  # as in "with blocks.2.mlp.0.weight", "after ln_f.weight", or ""
    what: str  # "result", "input" or "parameter"
    samples: tuple[int, ...]  # the first rows of an input that had it
    sentence: str
    frames: tuple[Frame, ...]  # what led to it, in the order the operators ran

    def __str__(self) -> str:
        return self.sentence


def origin(outputs: object, names: Mapping[int, str]) -> Origin | None:
    """The origin of what is not finite in ``outputs``, or else of what makes their gradients so.

    ``outputs`` are tensors in any nesting, before their backward pass; ``names`` says how the
    parameter of an id is called. Returns None where all that the graph shows is finite. Raises
    nothing, changes nothing and recomputes nothing: what is kept behind hooks (a checkpoint) stays
    there. Parameters are read as they are now, so ask before they are updated.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1)
    >>> _ = torch.nn.init.ones_(model.weight)
    >>> names = {id(p): name for name, p in model.named_parameters()}
    >>> found = origin(model(torch.ones(4, 2)).mul(300).exp(), names)
    >>> print(found)
    exp, after weight, made 4 of 4 numbers infinite
    >>> found.operator, found.place, found.what
    ('exp', 'after weight', 'result')
    """
    try:
        return find(outputs, names)
    except Exception:  # a training must not end because its graph is odd
        return None


def find(outputs: object, names: Mapping[int, str]) -> Origin | None:
    """What :func:`origin` does, and raises whatever goes wrong on the way."""
    tensors = tensors_of(outputs)
    roots = [(t.grad_fn, t.output_nr) for t in tensors if t.grad_fn is not None]
    if not roots:
        return None
    graph = walk((node for node, _ in roots), names)
    with unseen():
        seen = look(graph, tensors, names)
        inquiry, case = inquire(seen, roots)
        if case is None:
            return None
        return _came_in(seen, case) if case.came else _made(inquiry, case)


def operators_of(outputs: object, names: Mapping[int, str]) -> dict[str, str]:
    """Which operator reads each parameter; several, as of tied weights, are joined by "and".

    ``outputs`` and ``names`` are as in :func:`origin`; the backward pass may be over. Operators
    that move or convert a parameter are followed to the one that computes with it. Raises nothing.

    >>> import torch
    >>> model = torch.nn.Linear(2, 1)
    >>> names = {id(p): name for name, p in model.named_parameters()}
    >>> operators_of(model(torch.ones(4, 2)), names)
    {'bias': 'addmm', 'weight': 'addmm'}
    """
    try:
        roots = [t.grad_fn for t in tensors_of(outputs) if t.grad_fn is not None]
        graph = walk(roots, names)
    except Exception:
        return {}
    named = set(names.values())
    readers: dict[str, list[str]] = {}
    for moving in (False, True):
        known = set(readers)
        for node, operator in graph.operators.items():
            if (operator in MOVES) is moving:
                for name in graph.reads[node]:
                    if name in named - known:
                        readers.setdefault(name, []).append(operator)
    return {name: " and ".join(dict.fromkeys(found)) for name, found in readers.items()}


def _came_in(seen: Sightings, case: Case) -> Origin | None:
    assert case.came is not None
    value, name, is_parameter = case.came
    node = _reader(seen.graph, case.node, name)
    at = seen.at[node]
    what = "parameter" if is_parameter else "input"
    frame = frame_of(value.tensor, at.operator, at.place, what)
    if frame is None:
        return None
    rows: tuple[int, ...] = ()
    if is_parameter:
        whole = f"{at.operator}, {at.place}," if at.place else at.operator
        reader = at.operator if at.place == f"with {name}" else whole
        sentence = sentences.parameter_came(name, reader, frame)
    else:
        rows, count = bad_rows(value.tensor)
        reader = sentences.subject(at.operator, at.place)
        sentence = sentences.input_came(reader, frame, rows, count)
    sentence += sentences.looked_at(len(seen.graph.edges))
    before = [f for f in _frames(seen, case.node, FRAMES) if f.kind != "result"]
    frames = (*[f for f in before if f != frame][1 - FRAMES :], frame)
    return Origin(at.operator, at.place, what, rows, sentence, frames)


def _made(inquiry: Inquiry, case: Case) -> Origin:
    seen = inquiry.seen
    first, last = seen.at[case.suspects[0]], seen.at[case.suspects[-1]]
    who = sentences.subject(first.operator, first.place)
    if case.pole is not None:
        sentence = sentences.at_pole(who, case.pole)
    else:
        frame = None
        if case.shown is not None:
            shown = seen.at[case.node]
            frame = frame_of(case.shown.tensor, shown.operator, shown.place, "result")
        hidden = any(seen.at[node].hidden for node in case.suspects)
        others = len(case.suspects) - 1
        to = last.operator if others == 1 else sentences.subject(last.operator, last.place)
        sentence = sentences.made(who, to, others, frame, hidden)
        if case.masked:
            sentence += sentences.MASKED
        elif frame is not None and not others:
            read = _largest_input(inquiry, case.suspects[0])
            sentence += sentences.reason(frame, read, result_dtype(case.suspects[0]))
    sentence += sentences.looked_at(len(seen.graph.edges))
    frames = _frames(seen, case.node, FRAMES)
    return Origin(first.operator, first.place, "result", (), sentence, frames)


def _largest_input(inquiry: Inquiry, node: Any) -> float | None:
    """The largest magnitude an operator read, where that is seen to be finite."""
    at, values = inquiry.seen.at[node], inquiry.seen.values
    if at.operator in OUTSIDE and at.unseen:
        return None
    edges = [edge for edge in at.edges if edge]
    read = [values[edge].amax for edge in edges if edge in values]
    read += [value.amax for value, _ in at.given]
    # What is not seen may be known to be less, as a bias is that was converted.
    unseen_too = max((inquiry.bound(edge) for edge in edges), default=0.0)
    return max(read) if read and unseen_too <= max(read) else None


def _reader(graph: Nodes, node: Any, name: str) -> Any:
    """Who computes with a parameter that ``node`` may only have handed on."""
    if graph.operators[node] not in MOVES or not name:
        return node
    readers = (n for n, reads in graph.reads.items() if name in reads)
    return next((n for n in readers if graph.operators[n] not in MOVES), node)


def _frames(seen: Sightings, node: Any, most: int) -> tuple[Frame, ...]:
    """The last frames of what led to ``node``, its results included."""
    behind, waiting = {node}, [node]
    while waiting:
        for edge in filter(None, seen.graph.edges[waiting.pop()]):
            if edge[0] in seen.at and edge[0] not in behind:
                behind.add(edge[0])
                waiting.append(edge[0])
    frames: list[Frame] = []
    dull = MOVES - {"to_copy"}
    told = [n for n in seen.at if n in behind and (n is node or seen.at[n].operator not in dull)]
    for ancestor in reversed(told):
        found = [frame for frame in _of(seen, ancestor) if frame is not None]
        frames = found + frames
        if len(frames) >= most:
            break
    return tuple(frames[-most:])


def _of(seen: Sightings, node: Any) -> list[Frame | None]:
    """The frames of one operator: what it read, then what it gave."""
    at, graph = seen.at[node], seen.graph
    read: list[tuple[Tensor, str]] = []
    for edge in filter(None, at.edges):
        if edge in seen.values:
            moved = graph.operators.get(edge[0]) in MOVES and graph.reads[edge[0]]
            kind = "parameter" if moved or edge[0] in graph.names else "input"
            read.append((seen.values[edge].tensor, kind))
    read += [(value.tensor, "parameter" if name else "input") for value, name in at.given]
    gave: list[Value] = seen.results(node)
    return [
        frame_of(tensor, at.operator, at.place, kind)
        for tensor, kind in [*read, *((value.tensor, "result") for value in gave)]
    ]
