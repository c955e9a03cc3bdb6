"""What a graph shows of the numbers that passed through it: each kept tensor put in its place.

A tensor that a node keeps says which node made it. So the input of one operator is the result of
another, seen; and what no operator keeps is not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from halfulp.training.origins.frames import Value, value_of
from halfulp.training.origins.nodes import Edge, Nodes
from halfulp.training.origins.saved import Saved, is_custom, is_inside, is_result, kept


class Given(NamedTuple):
    """An input that no operator of the graph made: data, a buffer, a weight that is not trained."""

    value: Value
    name: str  # of the parameter, or ""


@dataclass
class Sighting:
    """What is seen at one operator."""

    operator: str
    place: str
    edges: tuple[Edge | None, ...]
    given: list[Given] = field(default_factory=list)
    inside: list[Value] = field(default_factory=list)  # made by the operator on its way
    loose: list[Value] = field(default_factory=list)  # inputs that do not say where they are from
    kept: dict[str, Tensor] = field(default_factory=dict)
    hidden: bool = False  # whether it keeps what it was not asked for

    @property
    def unseen(self) -> bool:
        """Whether it read a tensor from outside the graph that it did not keep."""
        return self.edges.count(None) > len(self.given)


@dataclass
class Sightings:
    """What is seen in a graph: at its operators, in the order they ran, and between them."""

    graph: Nodes
    values: dict[Edge, Value] = field(default_factory=dict)
    at: dict[Any, Sighting] = field(default_factory=dict)

    def results(self, node: Any) -> list[Value]:
        """What is seen of an operator's results, by itself or by those who read them."""
        return [self.values[edge] for edge in self._edges.get(node, ())]

    def put(self, edge: Edge, tensor: Tensor) -> None:
        """Note what is seen at an edge, once."""
        if edge not in self.values and (value := value_of(tensor)) is not None:
            self.values[edge] = value
            self._edges.setdefault(edge[0], []).append(edge)

    _edges: dict[Any, list[Edge]] = field(default_factory=dict)


def look(graph: Nodes, outputs: Sequence[Tensor], names: Mapping[int, str]) -> Sightings:
    """All that the outputs, the leaves and the operators of a graph show."""
    seen = Sightings(graph)
    for tensor in outputs:
        if tensor.grad_fn is not None:
            seen.put((tensor.grad_fn, tensor.output_nr), tensor)
    leaves = {id(tensor): node for node, tensor in graph.leaves.items()}
    for node, tensor in graph.leaves.items():
        seen.put((node, 0), tensor)
    for node, operator in graph.operators.items():
        found = kept(node)
        sighting = Sighting(operator, graph.places[node], graph.edges[node], hidden=found.hidden)
        seen.at[node] = sighting
        for saved in found.tensors:
            sighting.kept[saved.name] = saved.tensor
            if id(saved.tensor) not in leaves:
                _file(seen, sighting, node, saved, names)
    return seen


def _file(
    seen: Sightings, sighting: Sighting, node: Any, saved: Saved, names: Mapping[int, str]
) -> None:
    """Put one kept tensor where it belongs."""
    tensor = saved.tensor
    if not tensor.dim() and not tensor.is_floating_point():
        tensor = tensor.double()  # a plain number, as in x * 2
    if saved.linked and tensor.grad_fn is not None:
        seen.put((tensor.grad_fn, tensor.output_nr), tensor)
    elif is_result(saved.name):
        seen.put((node, 0), tensor)
    elif (value := value_of(tensor)) is not None:
        if is_inside(saved.name) or (is_custom(node) and not sighting.unseen):
            sighting.inside.append(value)
        elif saved.linked:
            whole = tensor if tensor._base is None else tensor._base  # of a weight that was turned
            sighting.given.append(Given(value, names.get(id(whole), "")))
        else:
            sighting.loose.append(value)
