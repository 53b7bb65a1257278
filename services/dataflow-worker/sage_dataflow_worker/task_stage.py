"""Which part of its job's graph a task runs, and what stands there in place of the nodes that are made of parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from sage_dataflow_worker.job_task import JobTask
from sage_kernel.event_time.split_grouping import Grouping, MergedGrouping
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import AnyOperator
from sage_kernel.operators.registry import OPERATORS
from sage_kernel.placement.stages import cut_of, merge_graph, parts_of, split_graph
from sage_kernel.placement.tasks import TaskRole
from sage_kernel.problems import NodeFailedError
from sage_kernel.run_context import RunContext
from sage_kernel.runtime.handover import HandedOverParts, PartialResults, RecordParts
from sage_kernel.runtime.opened_types import opened_types
from sage_kernel.state.blobs import FileBlobs
from sage_kernel.stream_type import StreamType
from sage_kernel.type_inference import infer_types
from sage_platform.subjects import token


@dataclass(frozen=True)
class TaskStage:
    """What a task runs.

    Attributes:
        nodes: of the graph.
        replaced: operators in place of the nodes' own.
        counted_before: the nodes whose incoming records the tasks before this one have counted.
    """

    nodes: Mapping[str, NodeSpec]
    replaced: Mapping[str, AnyOperator] = field(default_factory=dict)
    counted_before: frozenset[str] = frozenset()


def stage_nodes(nodes: Mapping[str, NodeSpec], role: TaskRole) -> Mapping[str, NodeSpec]:
    """Return the nodes of a pipeline whose records a task of this role counts."""
    if role is TaskRole.WHOLE:
        return nodes
    cuts = cut_of(nodes).nodes
    return split_graph(nodes, cuts) if role is TaskRole.SPLIT else nodes


def resumed_nodes(nodes: Mapping[str, NodeSpec], role: TaskRole) -> Mapping[str, NodeSpec]:
    """Return the nodes that a checkpoint of a task of this role knows, of a pipeline whose sources are not opened."""
    if role is not TaskRole.MERGE:
        return stage_nodes(nodes, role)
    types, _ = infer_types(nodes)
    return merge_graph(nodes, cut_of(nodes).nodes, types)


async def stage_of(
    task: JobTask, nodes: Mapping[str, NodeSpec], context: RunContext, checkpoint_dir: Path
) -> TaskStage:
    """Return what ``task`` runs, under its epoch.

    Args:
        nodes: of the whole pipeline.

    Raises:
        NodeFailedError: a source cannot be opened, or an operator not be made.
    """
    if task.role is TaskRole.WHOLE:
        return TaskStage(nodes)
    cuts = cut_of(nodes).nodes
    opened, _ = await opened_types(nodes, context)
    types, _ = infer_types(nodes, opened)
    inputs = {name: [types[producer] for producer in nodes[name].producers] for name in sorted(cuts)}
    folder = checkpoint_dir / token(task.job_id)
    replaced: dict[str, AnyOperator] = {}
    if task.role is TaskRole.SPLIT:
        own = FileBlobs(folder / str(task.number))
        for name in inputs:
            parts = RecordParts(own, name, task.epoch)
            is_grouping = nodes[name].gives_output
            grouping = _grouping(name, nodes[name], context, inputs[name]) if is_grouping else None
            replaced[name] = PartialResults(grouping, parts) if grouping is not None else parts
        return TaskStage(split_graph(nodes, cuts), replaced)
    blobs = [(FileBlobs(folder / str(number)), epoch) for number, epoch in task.handed_over]
    for name in inputs:
        replaced[parts_of(name)] = HandedOverParts(name, blobs)
        if nodes[name].gives_output:
            replaced[name] = MergedGrouping(_grouping(name, nodes[name], context, inputs[name]))
    return TaskStage(merge_graph(nodes, cuts, types), replaced, cuts)


def _grouping(name: str, node: NodeSpec, context: RunContext, inputs: Sequence[StreamType]) -> Grouping:
    try:
        return cast(Grouping, OPERATORS[node.op].build(name, node, context, inputs))
    except Exception as error:
        raise NodeFailedError(name, node.op, error) from error
