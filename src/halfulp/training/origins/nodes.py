"""The operators of an autograd graph in the order they ran, each with its place in the model.

A place is the parameter that an operator reads, itself or moved about and converted, or else the
last one that was read before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, is_dataclass
from heapq import heapify, heappop, heappush
from typing import Any

from torch import Tensor
from torch.nn import Parameter

from halfulp.training.origins.bounds import MOVES
from halfulp.training.origins.saved import operator_name

#: How many nodes are looked at, the nearest to the outputs.
MOST = 20_000
Edge = tuple[Any, int]  # a node, and which of its results


@dataclass
class Nodes:
    """A graph: its operators in the order they ran, and what it starts from."""

    operators: dict[Any, str] = field(default_factory=dict)  # node -> operator
    edges: dict[Any, tuple[Edge | None, ...]] = field(default_factory=dict)
    leaves: dict[Any, Tensor] = field(default_factory=dict)
    names: dict[Any, str] = field(default_factory=dict)  # leaf -> parameter
    reads: dict[Any, tuple[str, ...]] = field(default_factory=dict)
    places: dict[Any, str] = field(default_factory=dict)


def tensors_of(outputs: object) -> list[Tensor]:
    """The tensors in whatever a model returns: mappings, sequences, dataclasses."""
    found: list[Tensor] = []
    seen: set[int] = set()
    waiting = deque([outputs])
    while waiting:
        part = waiting.popleft()
        if isinstance(part, Tensor):
            found.append(part)
        elif id(part) not in seen and not isinstance(part, (str, bytes, type)):
            seen.add(id(part))
            if isinstance(part, Mapping):
                waiting.extend(part.values())
            elif isinstance(part, (list, tuple, set, frozenset)):
                waiting.extend(part)
            elif is_dataclass(part):
                waiting.extend(vars(part).values())
    return found


def walk(roots: Iterable[Any], names: Mapping[int, str]) -> Nodes:
    """The graph behind ``roots``, which are nodes, without recursion."""
    graph = Nodes()
    waiting = deque(dict.fromkeys(roots))
    found = set(waiting)
    while waiting:
        node = waiting.popleft()
        graph.edges[node] = edges = tuple(
            (source, number) if source is not None else None
            for source, number in node.next_functions
        )
        if node.name().endswith("AccumulateGrad"):
            variable = graph.leaves[node] = node.variable
            if id(variable) in names:
                graph.names[node] = names[id(variable)]
            elif isinstance(variable, Parameter):
                graph.names[node] = f"a parameter of shape {tuple(variable.shape)}"
        for source, _ in filter(None, edges):
            if source not in found and len(found) < MOST:
                found.add(source)
                waiting.append(source)
    graph.operators = {node: operator_name(node) for node in _ordered(graph)}
    _place(graph)
    return graph


def _ordered(graph: Nodes) -> Iterable[Any]:
    """Nodes but leaves, inputs before what reads them, and otherwise in the order they ran."""
    missing: dict[Any, int] = {}
    readers: dict[Any, list[Any]] = {}
    inner = [node for node in graph.edges if node not in graph.leaves]
    among = set(inner)
    for node in inner:
        sources = {edge[0] for edge in graph.edges[node] if edge} & among
        missing[node] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(node)
    ready = [(node._sequence_nr(), id(node), node) for node in inner if not missing[node]]
    heapify(ready)
    while ready:
        *_, node = heappop(ready)
        yield node
        for reader in readers.get(node, ()):
            missing[reader] -= 1
            if not missing[reader]:
                heappush(ready, (reader._sequence_nr(), id(reader), reader))


def _place(graph: Nodes) -> None:
    bare: dict[Any, tuple[str, ...]] = {}  # parameters that a node only hands on
    last: dict[Any, tuple[int, str]] = {}
    sizes = {name: graph.leaves[leaf].dim() for leaf, name in graph.names.items()}
    for count, (node, operator) in enumerate(graph.operators.items()):
        sources = [edge[0] for edge in graph.edges[node] if edge]
        reads = [
            name
            for source in sources
            for name in ((graph.names[source],) if source in graph.names else bare.get(source, ()))
        ]
        graph.reads[node] = tuple(dict.fromkeys(reads))
        if operator in MOVES:
            bare[node] = graph.reads[node]
        if reads:
            name = max(reads, key=sizes.__getitem__)  # the weight rather than the bias
            graph.places[node], last[node] = f"with {name}", (count, name)
            continue
        before = [last[source] for source in sources if source in last]
        if before:
            last[node] = max(before)
        graph.places[node] = f"after {max(before)[1]}" if before else ""
