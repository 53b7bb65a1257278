"""Orders and cycles of a graph of nodes. Edges run along ``in`` and along what a node waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sage_kernel.nodes import NodeSpec


def predecessors(nodes: Mapping[str, NodeSpec | None], node_id: str) -> tuple[str, ...]:
    """Return the existing nodes that ``node_id`` depends on directly, without repeats."""
    node = nodes.get(node_id)
    if node is None:
        return ()
    names = (*(producer.node for producer in node.producers), *(name for _, name in node.needs()))
    return tuple(dict.fromkeys(name for name in names if name in nodes))


def topological_order(nodes: Mapping[str, NodeSpec | None]) -> list[str]:
    """Return the nodes so that each stands behind those it depends on; nodes on or behind a cycle are left out.

    Takes time linear in nodes and edges (Kahn 1962).
    """
    before = {node_id: predecessors(nodes, node_id) for node_id in nodes}
    behind: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    for node_id, names in before.items():
        for name in names:
            behind[name].append(node_id)
    left = {node_id: len(names) for node_id, names in before.items()}
    order = [node_id for node_id, count in left.items() if not count]
    for node_id in order:  # grows while it is read
        for follower in behind[node_id]:
            left[follower] -= 1
            if not left[follower]:
                order.append(follower)
    return order


def find_cycles(nodes: Mapping[str, NodeSpec | None]) -> Iterator[tuple[str, ...]]:
    """Yield a cycle for each group of nodes that depend on themselves, in the direction in which records flow."""
    rest = set(nodes) - set(topological_order(nodes))
    seen: set[str] = set()
    for start in nodes:
        if start not in rest or start in seen:
            continue
        trail: dict[str, int] = {}
        current: str | None = start
        while current is not None and current not in trail and current not in seen:
            trail[current] = len(trail)
            current = next((name for name in predecessors(nodes, current) if name in rest), None)
        seen.update(trail)
        if current is not None and current in trail:
            yield tuple(reversed(list(trail)[trail[current] :]))


def sharing_ancestors(nodes: Mapping[str, NodeSpec]) -> frozenset[str]:
    """Return the nodes that take records from a node on which something that they wait for depends too: an index, or
    the other inputs where some are held.

    ``nodes`` has no cycles. Sets of nodes are bits of one integer, so the time is about linear in nodes and edges.
    """
    order = topological_order(nodes)
    bits = {node_id: 1 << position for position, node_id in enumerate(order)}
    above: dict[str, int] = {}
    for node_id in order:
        above[node_id] = 0
        for name in predecessors(nodes, node_id):
            above[node_id] |= above[name] | bits[name]
    found = []
    for node_id in order:
        awaited = taken = 0
        held = nodes[node_id].held_inputs()
        for _, name in nodes[node_id].needs():
            awaited |= above.get(name, 0)
        for index, (name, _) in enumerate(nodes[node_id].producers):
            reached = above.get(name, 0) | bits.get(name, 0)
            if held and index not in held:
                awaited |= reached
            else:
                taken |= reached
        if awaited & taken:
            found.append(node_id)
    return frozenset(found)
