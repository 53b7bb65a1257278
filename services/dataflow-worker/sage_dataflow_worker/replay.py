"""The pipeline that takes up records where they failed. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sage_common.errors import ConflictError
from sage_kernel.graph import predecessors
from sage_kernel.nodes import NodeSpec, producer_of
from sage_kernel.schema import write_type
from sage_kernel.spec import PipelineSpec
from sage_kernel.stream_type import union_of
from sage_kernel.type_inference import infer_types

SOURCE_ID = "replayed_records"


def replay_pipeline(spec: PipelineSpec, node_id: str, records: Sequence[Mapping[str, Any]]) -> str:
    """Return, as JSON, the pipeline that gives ``records`` to ``node_id`` and to everything behind it.

    What these nodes look things up in is made again, from its own sources.

    Raises:
        ConflictError: the node is not there, is a source, brings streams together, or ends in a file that the replay
            would write over.
    """
    node = spec.nodes.get(node_id)
    if node is None or not node.takes_input:
        what = "is a source" if node else "is not in the job's pipeline"
        raise ConflictError(f"the node {node_id!r} {what}; correct its records and publish them to the source again")
    kept = _behind(spec.nodes, node_id)
    for name in sorted(kept):
        behind = spec.nodes[name]
        if not behind.is_splittable:
            reason = "writes a file that would be replaced" if not behind.gives_output else "brings records together"
            raise ConflictError(
                f"node {name!r} ({behind.op}), behind {node_id!r}, {reason}; read the letters with `sage job dlq list` "
                "and submit a pipeline of your own with them"
            )
    looked_up = _needed(spec.nodes, kept)
    value = spec.to_dict()
    nodes: dict[str, Any] = {SOURCE_ID: {"op": "source", "records": list(records)}}
    types, _ = infer_types(spec.nodes)
    stream = union_of([types[producer] for producer in node.producers])
    if not stream.is_open:
        nodes[SOURCE_ID]["schema"] = {name: write_type(dtype) for name, dtype in stream.fields.items()}
    for name in spec.nodes:
        if name in looked_up:
            nodes[name] = value["nodes"][name]
        elif name in kept:
            given = [one for one in spec.nodes[name].inputs if producer_of(one).node in kept | looked_up]
            nodes[name] = {**value["nodes"][name], "in": [SOURCE_ID] if name == node_id else given}
    metadata = {**value["metadata"], "name": f"{spec.metadata.name[:56]}-replay"}
    return json.dumps({**value, "metadata": metadata, "nodes": nodes}, default=str)


def _behind(nodes: Mapping[str, NodeSpec], node_id: str) -> set[str]:
    found = {node_id}
    grown = True
    while grown:
        grown = False
        for name, node in nodes.items():
            if name not in found and any(producer.node in found for producer in node.producers):
                found.add(name)
                grown = True
    return found


def _needed(nodes: Mapping[str, NodeSpec], kept: set[str]) -> set[str]:
    """Return what the kept nodes look things up in, with everything above it."""
    left = [name for one in kept for _, name in nodes[one].needs()]
    for one in kept:
        held = nodes[one].held_inputs()
        if held:
            left += [p.node for index, p in enumerate(nodes[one].producers) if index not in held]
    found: set[str] = set()
    while left:
        name = left.pop()
        if name not in found and name not in kept:
            found.add(name)
            left += predecessors(nodes, name)
    return found
