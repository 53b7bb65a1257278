"""Where the nodes of a graph are drawn: in layers along the flow of records, with few crossings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sage_kernel.graph import predecessors, topological_order
from sage_kernel.nodes import NodeSpec

# Rounds of sorting each layer by where its neighbours are (Sugiyama et al. 1981).
_ROUNDS = 4


class Place(NamedTuple):
    """A node's layer, from 0, and its number in it."""

    layer: int
    row: int


class Edge(NamedTuple):
    """An arrow; ``label`` is the further output that it leaves by, ``waits`` that its end waits for all of it."""

    start: str
    end: str
    label: str = ""
    waits: bool = False


def edges(nodes: Mapping[str, NodeSpec]) -> list[Edge]:
    """Return the arrows, in the order of the nodes that they end at."""
    found: list[Edge] = []
    for node_id, node in nodes.items():
        found += [Edge(producer.node, node_id, producer.port) for producer in node.producers]
        found += [Edge(name, node_id, waits=True) for _, name in node.needs() if name in nodes]
    return found


def places(nodes: Mapping[str, NodeSpec]) -> dict[str, Place]:
    """Return where each node goes: behind all that it depends on, beside those that it is connected with."""
    layer: dict[str, int] = {}
    for node_id in topological_order(nodes):
        layer[node_id] = 1 + max((layer[name] for name in predecessors(nodes, node_id)), default=-1)
    layers: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node_id in layer:
        layers[layer[node_id]].append(node_id)
    before = {node_id: list(predecessors(nodes, node_id)) for node_id in layer}
    behind: dict[str, list[str]] = {node_id: [] for node_id in layer}
    for node_id, names in before.items():
        for name in names:
            behind[name].append(node_id)
    rows = {node_id: float(row) for column in layers for row, node_id in enumerate(column)}
    for number in range(_ROUNDS):
        forwards = number % 2 == 0
        neighbours = before if forwards else behind
        for column in layers if forwards else reversed(layers):
            centre = {
                node_id: sum(rows[name] for name in neighbours[node_id]) / len(neighbours[node_id])
                if neighbours[node_id]
                else rows[node_id]
                for node_id in column
            }
            column.sort(key=lambda node_id: centre[node_id])
            rows.update({node_id: float(row) for row, node_id in enumerate(column)})
    return {node_id: Place(layer[node_id], int(rows[node_id])) for node_id in layer}
