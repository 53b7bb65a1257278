"""Checks over the graph of a pipeline. Each yields problems; all of them run, so all errors show at once.

A pipeline may come from anyone on the network, so every check takes time about linear in nodes and edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sage_kernel.graph import find_cycles, topological_order
from sage_kernel.nodes import ERRORS_PORT, NodeSpec, Producer, producer_of
from sage_kernel.problems import Effort, Problem, Suggestions
from sage_kernel.stream_type import NodeProblems, StreamType
from sage_kernel.type_inference import infer_node, needed_types

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
    yield from _types(nodes, suggestions)


def _edges(nodes: Nodes, suggestions: Suggestions) -> Iterator[Problem]:
    for node_id, node in nodes.items():
        if node is None:
            continue
        if node.takes_input and not node.inputs:
            yield Problem(node_id, "in", "it has no input", "name the node whose output it takes, as 'in: [other]'")
        if not node.takes_input and node.inputs:
            yield Problem(node_id, "in", f"a {node.op} takes no input, got {list(node.inputs)}", "remove 'in'")
        if node.most_inputs is not None and len(node.inputs) > node.most_inputs:
            message = f"a {node.op} takes {node.most_inputs} inputs at most, got {len(node.inputs)}"
            yield Problem(node_id, "in", message, "join them with a union before it")
        for reference, count in Counter(node.inputs).items():
            if count > 1:
                yield Problem(node_id, "in", f"{reference!r} appears {count} times", "name it once")
            yield from _output_of(nodes, node_id, producer_of(reference), suggestions)
        for parameter, name in node.needs():
            if name not in nodes:
                message = f"there is no node {name!r}{suggestions.nearest(name, nodes)}"
                yield Problem(node_id, parameter, message, "name an index node")
            elif (needed := nodes[name]) is not None and not needed.makes_index:
                yield Problem(node_id, parameter, f"{name!r} is a {needed.op}, not an index", "name an index node")


def _output_of(nodes: Nodes, node_id: str, producer: Producer, suggestions: Suggestions) -> Iterator[Problem]:
    name, port = producer
    source = nodes.get(name)
    if name not in nodes:
        message = f"there is no node {name!r}{suggestions.nearest(name, nodes)}"
        yield Problem(node_id, "in", message, "name an existing node")
    elif source is not None and not source.gives_output:
        remedy = "reach it with a retrieve node" if source.makes_index else "take the input of that node"
        if not (port and port in source.ports()):
            yield Problem(node_id, "in", f"{name!r} is a {source.op} and gives nothing out", remedy)
    elif source is not None and port and port not in source.ports():
        known = ", ".join(sorted(source.ports())) or "none"
        remedy = "set 'on_error: output' there" if port == ERRORS_PORT else "name the node alone for its main output"
        yield Problem(node_id, "in", f"{name!r} has no output {port!r} (further outputs: {known})", remedy)


def _cycles(nodes: Nodes) -> Iterator[Problem]:
    for cycle in find_cycles(nodes):
        left_out = ("…",) if len(cycle) > MAX_CYCLE_SHOWN else ()
        path = " → ".join((*cycle[:MAX_CYCLE_SHOWN], *left_out, cycle[0]))
        yield Problem(cycle[0], "in", f"it depends on itself: {path}", "take one of these inputs away")


def _dead_ends(nodes: Nodes) -> Iterator[Problem]:
    if any(node is None for node in nodes.values()):
        return  # the node that could not be read may well be the one that takes the output
    taken = {producer for node in nodes.values() if node for producer in node.producers}
    searched = {name for node in nodes.values() if node for _, name in node.needs()}
    for node_id, node in nodes.items():
        if node is not None and node.gives_output and (node_id, "") not in taken:
            yield Problem(
                node_id, "", "its output goes nowhere", f"add a sink with 'in: [{node_id}]' or remove the node"
            )
        if node is not None and node.on_error == "output" and (node_id, ERRORS_PORT) not in taken:
            remedy = f"add a sink with 'in: [{node_id}.{ERRORS_PORT}]', or choose 'on_error: dlq'"
            yield Problem(node_id, "on_error", "its records that fail go nowhere", remedy)
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


def _types(nodes: Nodes, suggestions: Suggestions) -> Iterator[Problem]:
    """Follow the types of records from the sources; nodes behind one that is wrong are left out."""
    types: dict[Producer, StreamType] = {}
    effort = Effort()
    for node_id in topological_order(nodes):
        node = nodes[node_id]
        if node is None or any(producer not in types for producer in node.producers):
            continue
        if node.takes_input and not node.inputs:
            continue
        problems = NodeProblems(node_id, suggestions, needed_types(node, types), effort)
        inferred = infer_node(node, [types[producer] for producer in node.producers], problems)
        for parameter, message, remedy in problems.found:
            yield Problem(node_id, parameter, message, remedy)
        if len(inferred[""].fields) > MAX_FIELDS:
            message = f"its records have {len(inferred[''].fields)} fields"
            yield Problem(node_id, "", message, f"give a record at most {MAX_FIELDS}")
            return
        types.update({Producer(node_id, port): stream for port, stream in inferred.items()})
