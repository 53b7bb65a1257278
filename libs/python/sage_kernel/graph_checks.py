"""Checks over the graph of a pipeline. Each yields problems; all of them run, so all errors show at once.

A pipeline may come from anyone on the network, so every check takes time about linear in nodes and edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sage_kernel.graph import find_cycles, topological_order
from sage_kernel.nodes import NodeSpec
from sage_kernel.problems import Problem, Suggestions

# A node that could not be read is None: its id is known, nothing else is.
Nodes = Mapping[str, NodeSpec | None]


# Of a record, as far as they are followed. What only a source says has no bound of its own.
MAX_FIELDS = 1000
MAX_CYCLE_SHOWN = 20


def graph_problems(nodes: Nodes, suggestions: Suggestions) -> Iterator[Problem]:
    """Yield every problem of the graph, in the order of the checks."""
    yield from _edges(nodes, suggestions)
    yield from _cycles(nodes)
    yield from _dead_ends(nodes)
    yield from _sinks(nodes)
    yield from _fields(nodes, suggestions)


def _edges(nodes: Nodes, suggestions: Suggestions) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        if node is None:
            continue
        if node.takes_input and not node.inputs:
            yield Problem(node_id, "in", "it has no input", "name the node whose output it takes, as 'in: [other]'")
        if not node.takes_input and node.inputs:
            yield Problem(node_id, "in", f"a {node.op} takes no input, got {list(node.inputs)}", "remove 'in'")
        for name, count in Counter(node.inputs).items():
            if count > 1:
                yield Problem(node_id, "in", f"{name!r} appears {count} times", "name it once")
            yield from _output_of(nodes, node_id, name, suggestions)
        for parameter, name in node.needs():
            if name not in nodes:
                message = f"there is no node {name!r}{suggestions.nearest(name, nodes)}"
                yield Problem(node_id, parameter, message, "name an index node")
            elif (needed := nodes[name]) is not None and not needed.makes_index:
                yield Problem(node_id, parameter, f"{name!r} is a {needed.op}, not an index", "name an index node")


def _output_of(nodes: Nodes, node_id: str, name: str, suggestions: Suggestions) -> Iterator[Problem]:
    source = nodes.get(name)
    if name not in nodes:
        message = f"there is no node {name!r}{suggestions.nearest(name, nodes)}"
        yield Problem(node_id, "in", message, "name an existing node")
    elif source is not None and not source.gives_output:
        remedy = "reach it with a retrieve node" if source.makes_index else "take the input of that node"
        yield Problem(node_id, "in", f"{name!r} is a {source.op} and gives nothing out", remedy)


def _cycles(nodes: Nodes) -> Iterator[Problem]:
    for cycle in find_cycles(nodes):
        left_out = ("…",) if len(cycle) > MAX_CYCLE_SHOWN else ()
        path = " → ".join((*cycle[:MAX_CYCLE_SHOWN], *left_out, cycle[0]))
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


def _fields(nodes: Nodes, suggestions: Suggestions) -> Iterator[Problem]:
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
            message = f"it reads field {field!r}, which not every record coming in has"
            message += suggestions.nearest(field, known)
            yield Problem(node_id, parameter, message, "correct the name or add the field before this node")
        outputs[node_id] = node.fields_out(known | {use.name for use in missing})
        if len(outputs[node_id]) > MAX_FIELDS:
            message = f"its records have {len(outputs[node_id])} fields"
            yield Problem(node_id, "", message, f"give a record at most {MAX_FIELDS}")
            return
