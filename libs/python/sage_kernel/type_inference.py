"""Following the types of records through a graph: for checks before a run, and for the operators that it builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sage_kernel.graph import topological_order
from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.problems import Effort, Suggestions
from sage_kernel.stream_type import NodeProblems, StreamType, union_of


def infer_node(node: NodeSpec, inputs: Sequence[StreamType], problems: NodeProblems) -> dict[str, StreamType]:
    """Return the types of a node's outputs by port (empty for the main one), and report what is wrong with the node.

    A field that is missing counts as reported once and is taken for there afterwards.
    """
    if len(inputs) > 1 and not problems.afford(sum(len(stream.fields) for stream in inputs), "in"):
        return {port: StreamType(is_open=True) for port in ("", *node.ports())}
    known = union_of(inputs) if inputs else StreamType()
    is_missing = False
    for parameter, path in node.reads():
        name, _, rest = path.partition(".")
        if name not in known.fields:
            problems.missing(parameter, name, known)
            is_missing = is_missing or not known.is_open
        elif rest:
            problems.missing_within(parameter, path, known)
    if is_missing:
        # What the node makes of fields that it lacks is anyone's guess: nothing behind it is blamed for that.
        inputs = [replace(stream, is_open=True) for stream in inputs]
    outputs = {"": node.infer(inputs, problems)}
    outputs.update({port: node.port_type(port, inputs) for port in node.ports()})
    return outputs


def needed_types(node: NodeSpec, types: Mapping[Producer, StreamType]) -> dict[str, StreamType]:
    """Return by node id the types of what ``node`` waits for, as far as they are known."""
    needed = {name: types.get(Producer(name, "")) for _, name in node.needs()}
    return {name: stream for name, stream in needed.items() if stream is not None}


def infer_types(
    nodes: Mapping[str, NodeSpec], opened: Mapping[str, StreamType] | None = None
) -> tuple[dict[Producer, StreamType], dict[str, NodeProblems]]:
    """Return the types of every output, and what is wrong with each node.

    Args:
        opened: types of sources that were open and have been looked at since.
    """
    types: dict[Producer, StreamType] = {}
    found: dict[str, NodeProblems] = {}
    effort = Effort()
    for node_id in topological_order(nodes):
        node = nodes[node_id]
        problems = found[node_id] = NodeProblems(node_id, Suggestions(), needed_types(node, types), effort)
        outputs = infer_node(node, [types[producer] for producer in node.producers], problems)
        if opened and node_id in opened:
            outputs[""] = opened[node_id]
        types.update({Producer(node_id, port): stream for port, stream in outputs.items()})
    return types, found
