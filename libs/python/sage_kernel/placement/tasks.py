"""How a graph becomes tasks over the splits of its sources. Pure.

A task is the whole graph over its splits. Sources are *partitioned* (each split goes to one task) or *broadcast* (read
whole by every task, because nodes only look things up in them). Where records are brought together, each task makes a
part, and one more task merges them. A graph that cannot be cut is one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import Split
from sage_kernel.placement.stages import cut_of

# A job's task records are read and summed twice a second.
MAX_TASKS = 256


class TaskRole(Enum):
    """What part of a graph a task runs."""

    WHOLE = "whole"
    # Everything up to the nodes where records are brought together, over its splits.
    SPLIT = "split"
    # Those nodes, over what the tasks before it hand over, and everything behind them.
    MERGE = "merge"


@dataclass(frozen=True)
class PlannedTask:
    """One task. ``splits`` has the splits of every partitioned source; a source that is not named is read whole."""

    number: int
    splits: Mapping[str, Sequence[Split]] = field(default_factory=dict)
    role: TaskRole = TaskRole.WHOLE


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
    cut = cut_of(nodes)
    return cut.sources, cut.reason


def plan_tasks(nodes: Mapping[str, NodeSpec], splits: Mapping[str, Sequence[Split]], most_tasks: int) -> TaskPlan:
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
    cut = cut_of(nodes).nodes if count > 1 else frozenset()
    role = TaskRole.SPLIT if cut else TaskRole.WHOLE
    tasks = []
    for number in range(count):
        # Neighbours stay together: parts of one file share its pages.
        mine = units[number * len(units) // count : (number + 1) * len(units) // count]
        tasks.append(PlannedTask(number, {name: [s for source, s in mine if source == name] for name in splits}, role))
    limit = "splits"
    if bounds and count == min(bounds):
        limit = "parallelism"
    elif count == most_tasks:
        limit = "the workers' slots"
    reason = f"{count} tasks over {len(units)} splits, bounded by {limit}"
    if cut:
        tasks.append(PlannedTask(count, role=TaskRole.MERGE))
        reason += f", and one that merges {', '.join(map(repr, sorted(cut)))}"
    return TaskPlan(tuple(tasks), reason)
