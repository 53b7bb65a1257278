"""Checks over the graph of a pipeline. Each yields problems; all of them run, so all errors show at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sage_common.config import nearest
from sage_kernel.graph import ancestors, find_cycles, topological_order
from sage_kernel.nodes import NodeSpec
from sage_kernel.problems import Problem

# A node that could not be read is None: its id is known, nothing else is.
Nodes = Mapping[str, NodeSpec | None]


def graph_problems(nodes: Nodes) -> list[Problem]:
    """Return every problem of the graph, in the order of the checks."""
    checks = (_edges, _cycles, _dead_ends, _sinks, _fields)
    return [problem for check in checks for problem in check(nodes)]


def _edges(nodes: Nodes) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        if node is None:
            continue
        if node.takes_input and not node.inputs:
            yield Problem(node_id, "in", "it has no input", "name the node whose output it takes, as 'in: [other]'")
        if not node.takes_input and node.inputs:
            yield Problem(node_id, "in", f"a {node.op} takes no input, got {list(node.inputs)}", "remove 'in'")
        for name in dict.fromkeys(node.inputs):
            if node.inputs.count(name) > 1:
                yield Problem(node_id, "in", f"{name!r} appears {node.inputs.count(name)} times", "name it once")
            yield from _output_of(nodes, node_id, name)
        for parameter, name in node.needs():
            if name not in nodes:
                yield Problem(
                    node_id, parameter, f"there is no node {name!r}{_near(name, nodes)}", "name an index node"
                )
            elif (needed := nodes[name]) is not None and not needed.makes_index:
                yield Problem(node_id, parameter, f"{name!r} is a {needed.op}, not an index", "name an index node")


def _output_of(nodes: Nodes, node_id: str, name: str) -> Iterator[Problem]:
    source = nodes.get(name)
    if name not in nodes:
        yield Problem(node_id, "in", f"there is no node {name!r}{_near(name, nodes)}", "name an existing node")
    elif source is not None and not source.gives_output:
        remedy = "reach it with a retrieve node" if source.makes_index else "take the input of that node"
        yield Problem(node_id, "in", f"{name!r} is a {source.op} and gives nothing out", remedy)


def _cycles(nodes: Nodes) -> Iterator[Problem]:
    for cycle in find_cycles(nodes):
        path = " → ".join((*cycle, cycle[0]))
        yield Problem(cycle[0], "in", f"it depends on itself: {path}", "take one of these inputs away")


def _dead_ends(nodes: Nodes) -> Iterator[Problem]:
    if any(node is None for node in nodes.values()):
        return  # the node that could not be read may well be the one that takes the output
    taken = {name for node in nodes.values() if node for name in node.inputs}
    searched = {name for node in nodes.values() if node for _, name in node.needs()}
    for node_id, node in nodes.items():
        if node is not None and node.gives_output and node_id not in taken:
            yield Problem(
                node_id, "", "its output goes nowhere", f"add a sink with 'in: [{node_id}]' or remove the node"
            )
        if node is not None and node.makes_index and node_id not in searched:
            yield Problem(
                node_id, "", "no node retrieves from it", f"add a retrieve with 'index: {node_id}' or remove it"
            )


def _sinks(nodes: Nodes) -> Iterator[Problem]:
    if nodes and all(node is not None and not any(node.results()) for node in nodes.values()):
        yield Problem(
            "", "nodes", "there is no sink, so nothing would come of it", "add '{op: sink, uri: collection:…}'"
        )
    owners: dict[str, str] = {}
    for node_id, node in nodes.items():
        for parameter, name in node.results() if node else ():
            if owners.setdefault(name, node_id) != node_id:
                message = f"{name!r} is written by {owners[name]!r} too"
                yield Problem(node_id, parameter, message, "give both inputs to one sink, or choose another name")


def _fields(nodes: Nodes) -> Iterator[Problem]:
    """Follow the fields of records from the sources; nodes behind one that is wrong are left out."""
    outputs: dict[str, frozenset[str]] = {}
    for node_id in topological_order(nodes):
        node = nodes[node_id]
        if node is None or any(name not in outputs for name in node.inputs):
            continue
        if node.takes_input and not node.inputs:
            continue
        inputs = [outputs[name] for name in node.inputs]
        known = frozenset.intersection(*inputs) if inputs else frozenset()
        missing = [use for use in node.reads() if use.name not in known]
        for parameter, field in missing:
            message = f"it reads field {field!r}, which not every record coming in has{nearest(field, sorted(known))}"
            yield Problem(node_id, parameter, message, "correct the name or add the field before this node")
        outputs[node_id] = node.fields_out(known | {use.name for use in missing})


def shares_ancestors(nodes: Mapping[str, NodeSpec], node_id: str) -> bool:
    """Whether a node takes records from a node on which something that it waits for depends too."""
    node = nodes[node_id]
    awaited = {name for _, needed in node.needs() for name in ancestors(nodes, needed)}
    return bool(awaited) and not awaited.isdisjoint(
        name for taken in node.inputs for name in {taken, *ancestors(nodes, taken)}
    )


def _near(name: str, nodes: Nodes) -> str:
    return nearest(name, list(nodes))
