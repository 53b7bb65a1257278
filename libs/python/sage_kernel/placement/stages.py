"""Where a graph is cut so that tasks over splits do a part each, and one task merges. Pure.

What is cut is a node that brings records together and can be made of parts: a grouping of partial results, a file of
the records of each task one behind the other. Everything behind it is the merging task's alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sage_kernel.graph import predecessors, topological_order
from sage_kernel.nodes import NodeSpec, Producer
from sage_kernel.runtime.handover import HandedOverNode
from sage_kernel.stream_type import StreamType, union_of
from sage_kernel.type_inference import infer_types


@dataclass(frozen=True)
class Cut:
    """How a graph may be shared out.

    Attributes:
        sources: those whose splits may go to different tasks: all that give records to the sinks, or none.
        nodes: those that are made of parts; empty where no task has to merge.
        reason: why no source may be shared out.
    """

    sources: frozenset[str] = frozenset()
    nodes: frozenset[str] = frozenset()
    reason: str = ""


def cut_of(nodes: Mapping[str, NodeSpec]) -> Cut:
    """Return where ``nodes`` may be cut."""
    streaming, looked_up = reached_from(nodes)
    sources = {node_id for node_id in nodes if not nodes[node_id].takes_input}
    within = _within_partitions(nodes)
    ports = {producer.node for node in nodes.values() for producer in node.producers if producer.port}
    cuts: set[str] = set()
    behind: set[str] = set()
    for node_id in topological_order(nodes):
        node = nodes[node_id]
        if node_id not in streaming:
            continue
        if node_id in sources:
            if node_id in looked_up:
                return Cut(reason=f"the source {node_id!r} is both streamed and looked up")
            continue
        inputs = {producer.node for producer in node.producers} & streaming
        if inputs & (cuts | behind):
            if inputs - cuts - behind or node_id in looked_up:
                return Cut(reason=f"{node_id!r} ({node.op}) brings together what is grouped and what is not")
            behind.add(node_id)
        elif not node.is_splittable and node_id not in within:
            # Its further outputs would be given out by every task.
            if not node.is_mergeable or node_id in looked_up or node_id in ports:
                return Cut(reason=f"{node_id!r} ({node.op}) needs all records in one place")
            cuts.add(node_id)
    shared = frozenset(sources & streaming)
    if cuts and (endless := _endless(nodes, shared)):
        return Cut(reason=f"the source {endless!r} never ends, and {min(cuts)!r} needs all records in one place")
    return Cut(shared, frozenset(cuts))


def split_graph(nodes: Mapping[str, NodeSpec], cuts: frozenset[str]) -> dict[str, NodeSpec]:
    """Return the nodes that every task over splits runs: the cuts, and what is not behind them."""
    behind = _behind(nodes, cuts)
    ends = cuts | {node_id for node_id, node in nodes.items() if not node.gives_output and node_id not in behind}
    kept = _with_ancestors(nodes, ends, frozenset())
    return {node_id: node for node_id, node in nodes.items() if node_id in kept}


def merge_graph(
    nodes: Mapping[str, NodeSpec], cuts: frozenset[str], types: Mapping[Producer, StreamType]
) -> dict[str, NodeSpec]:
    """Return the nodes of the merging task: the cuts, what is behind them, and what that looks things up in.

    Args:
        types: of the whole graph.
    """
    behind = _behind(nodes, cuts)
    kept = _with_ancestors(nodes, cuts | behind, cuts)
    merged: dict[str, NodeSpec] = {}
    for node_id, node in nodes.items():
        if node_id in cuts:
            stream = union_of([types[producer] for producer in node.producers])
            merged[parts_of(node_id)] = HandedOverNode(stream=stream)
            merged[node_id] = node.model_copy(update={"inputs": (parts_of(node_id),)})
        elif node_id in kept:
            merged[node_id] = node
    return merged


def parts_of(node_id: str) -> str:
    """Return the id of the source of a cut node's parts, which no node of a pipeline can have."""
    return f"{node_id}:parts"


def reached_from(nodes: Mapping[str, NodeSpec]) -> tuple[set[str], set[str]]:
    """Return the nodes whose records flow on to a sink, and those that others look things up in."""
    streaming: set[str] = set()
    looked_up: set[str] = set()
    for node_id in reversed(topological_order(nodes)):
        node = nodes[node_id]
        if not node.gives_output and not node.makes_index:
            streaming.add(node_id)
        if node.makes_index:
            looked_up.add(node_id)
        held = node.held_inputs()
        for index, (name, _) in enumerate(node.producers):
            if node_id in streaming:
                # What is held back meanwhile is looked up in the inputs that are not.
                (streaming if index in held or not held else looked_up).add(name)
            if node_id in looked_up:
                looked_up.add(name)
    return streaming, looked_up


def _within_partitions(nodes: Mapping[str, NodeSpec]) -> set[str]:
    """Return the nodes that bring together only records that the splits of their source do not part."""
    if not any(getattr(node, "partition_by", ()) for node in nodes.values()):
        return set()
    types, _ = infer_types(nodes)
    found: set[str] = set()
    for node_id, node in nodes.items():
        if node.is_splittable or not node.is_mergeable or not node.gives_output or len(node.producers) != 1:
            continue
        stream = types[node.producers[0]]
        (key,) = node.shuffle_keys([stream])
        if stream.partitioned_by and stream.partitioned_by <= set(key):
            found.add(node_id)
    return found


def _endless(nodes: Mapping[str, NodeSpec], sources: Iterable[str]) -> str | None:
    types, _ = infer_types({name: nodes[name] for name in sorted(sources)})
    return next((name for name in sorted(sources) if not types[Producer(name, "")].is_bounded), None)


def _behind(nodes: Mapping[str, NodeSpec], cuts: frozenset[str]) -> set[str]:
    behind: set[str] = set()
    for node_id in topological_order(nodes):
        if node_id not in cuts and not behind.union(cuts).isdisjoint(predecessors(nodes, node_id)):
            behind.add(node_id)
    return behind


def _with_ancestors(nodes: Mapping[str, NodeSpec], ends: Iterable[str], until: frozenset[str]) -> set[str]:
    """Return ``ends`` and what they depend on, up to ``until``."""
    found: set[str] = set()
    left = list(ends)
    while left:
        node_id = left.pop()
        if node_id not in found:
            found.add(node_id)
            if node_id not in until:
                left += predecessors(nodes, node_id)
    return found
