"""How a graph becomes tasks over the splits of its sources. Pure.

A task is the whole graph over its splits. Sources are *partitioned* (each split goes to one task) or *broadcast* (read
whole by every task, because nodes only look things up in them). A graph that cannot be cut is one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sage_kernel.graph import topological_order
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Split

# A job's task records are read and summed twice a second.
MAX_TASKS = 256


@dataclass(frozen=True)
class PlannedTask:
    """One task. ``splits`` has the splits of every partitioned source; a source that is not named is read whole."""

    number: int
    splits: Mapping[str, Sequence[Split]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskPlan:
    """The tasks of a job. ``reason`` says, for people, why there are as many."""

    tasks: tuple[PlannedTask, ...]
    reason: str


def partitioned_sources(nodes: Mapping[str, NodeSpec]) -> tuple[frozenset[str], str]:
    """Return the sources whose splits may go to different tasks, and, where none may, why.

    It is all sources that give records to the sinks, or none: where one of them were read by every task, its records
    would come out once a task.
    """
    streaming, looked_up = _reached_from(nodes)
    sources = {node_id for node_id in nodes if not nodes[node_id].takes_input}
    for node_id in topological_order(nodes):
        node = nodes[node_id]
        if node_id in streaming and not node.is_splittable:
            return frozenset(), f"{node_id!r} ({node.op}) needs all records in one place"
        if node_id in sources and node_id in streaming and node_id in looked_up:
            return frozenset(), f"the source {node_id!r} is both streamed and looked up"
    return frozenset(sources & streaming), ""


def plan_tasks(
    nodes: Mapping[str, NodeSpec], splits: Mapping[str, Sequence[Split]], most_tasks: int
) -> TaskPlan:
    """Return the tasks of a job.

    Args:
        splits: of every partitioned source, see ``partitioned_sources``; empty where there is none.
        most_tasks: as many as are worth having, from the workers' slots; a node's ``parallelism`` is a bound too.
    """
    if not splits:
        _, reason = partitioned_sources(nodes)
        return TaskPlan((PlannedTask(0),), f"one task: {reason or 'there is nothing to split'}")
    units = [(source, split) for source, parts in splits.items() for split in parts]
    bounds = [node.parallelism for node in nodes.values() if node.parallelism is not None]
    count = max(1, min(len(units), most_tasks, MAX_TASKS, *bounds))
    tasks = []
    for number in range(count):
        # Neighbours stay together: parts of one file share its pages.
        mine = units[number * len(units) // count : (number + 1) * len(units) // count]
        tasks.append(PlannedTask(number, {name: [s for source, s in mine if source == name] for name in splits}))
    limit = "splits"
    if bounds and count == min(bounds):
        limit = "parallelism"
    elif count == most_tasks:
        limit = "the workers' slots"
    return TaskPlan(tuple(tasks), f"{count} tasks over {len(units)} splits, bounded by {limit}")


def _reached_from(nodes: Mapping[str, NodeSpec]) -> tuple[set[str], set[str]]:
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
