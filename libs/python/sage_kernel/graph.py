"""Orders and cycles of a graph of nodes. Edges run along ``in`` and along what a node waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sage_kernel.nodes import NodeSpec


def predecessors(nodes: Mapping[str, NodeSpec | None], node_id: str) -> tuple[str, ...]:
    """Return the existing nodes that ``node_id`` depends on directly, without repeats."""
    node = nodes.get(node_id)
    if node is None:
        return ()
    names = (*node.inputs, *(name for _, name in node.needs()))
    return tuple(dict.fromkeys(name for name in names if name in nodes))


def ancestors(nodes: Mapping[str, NodeSpec | None], node_id: str) -> frozenset[str]:
    """Return every node that ``node_id`` depends on."""
    found: set[str] = set()
    waiting = [node_id]
    while waiting:
        for name in predecessors(nodes, waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return frozenset(found)


def topological_order(nodes: Mapping[str, NodeSpec | None]) -> list[str]:
    """Return the nodes so that each stands behind those it depends on; nodes on or behind a cycle are left out."""
    remaining = {node_id: set(predecessors(nodes, node_id)) for node_id in nodes}
    order: list[str] = []
    while True:
        ready = [node_id for node_id, left in remaining.items() if not left]
        if not ready:
            return order
        order += ready
        for node_id in ready:
            del remaining[node_id]
        for left in remaining.values():
            left.difference_update(ready)


def find_cycles(nodes: Mapping[str, NodeSpec | None]) -> Iterator[tuple[str, ...]]:
    """Yield a cycle for each group of nodes that depend on themselves, in the direction in which records flow."""
    rest = set(nodes) - set(topological_order(nodes))
    seen: set[str] = set()
    for start in nodes:
        if start not in rest or start in seen:
            continue
        trail: list[str] = []
        current: str | None = start
        while current is not None and current not in trail and current not in seen:
            trail.append(current)
            current = next((name for name in predecessors(nodes, current) if name in rest), None)
        seen.update(trail)
        if current in trail:
            yield tuple(reversed(trail[trail.index(current) :]))
