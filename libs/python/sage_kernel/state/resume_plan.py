"""What becomes of a checkpoint when the pipeline has changed since: kept, dropped, new, or impossible, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sage_common.errors import ConflictError
from sage_kernel.graph import predecessors, topological_order
from sage_kernel.nodes import NodeSpec
from sage_kernel.operator import State
from sage_kernel.state.checkpoint import Checkpoint, NodeCheckpoint
from sage_kernel.stream_type import StreamType
from sage_kernel.type_inference import infer_types

# Parameters that change how a node works, not what it has seen.
_TUNING = frozenset(
    ("concurrency", "retries", "on_error", "ordered", "parallelism", "num_cpus", "num_gpus", "memory_mb", "labels")
)
_TUNING_OF_SOURCES = frozenset(("lateness", "idle_after", "max_ahead"))


class Fate(Enum):
    """What becomes of a node."""

    KEPT = "kept"
    # Its state is kept, and what comes now is processed by its new parameters.
    CHANGED = "changed"
    NEW = "new"
    DROPPED = "dropped"
    INCOMPATIBLE = "incompatible"


@dataclass(frozen=True)
class NodePlan:
    """One node of the old or the new pipeline.

    Attributes:
        reason: why, and what follows from it, for people; for ``INCOMPATIBLE`` with what to do.
    """

    node: str
    fate: Fate
    reason: str


@dataclass(frozen=True)
class ResumePlan:
    """Every node of both pipelines, those of the new one first, in the order of its records."""

    nodes: tuple[NodePlan, ...]

    @property
    def is_possible(self) -> bool:
        """Whether the new pipeline can go on from the checkpoint."""
        return not any(node.fate is Fate.INCOMPATIBLE for node in self.nodes)

    def apply(self, checkpoint: Checkpoint, spec_hash: str) -> Checkpoint:
        """Return ``checkpoint`` as one of the new pipeline, whose hash is given.

        Raises:
            ConflictError: some node is incompatible; the message has every reason.
        """
        if not self.is_possible:
            reasons = "".join(f"\n- node {n.node!r}: {n.reason}" for n in self.nodes if n.fate is Fate.INCOMPATIBLE)
            raise ConflictError(f"the pipeline cannot go on from checkpoint {checkpoint.number}:{reasons}")
        kept = {node.node for node in self.nodes if node.fate in (Fate.KEPT, Fate.CHANGED)}
        has_new = any(node.fate is Fate.NEW for node in self.nodes)
        return Checkpoint(
            checkpoint.number,
            spec_hash,
            {node_id: saved for node_id, saved in checkpoint.nodes.items() if node_id in kept},
            is_final=checkpoint.is_final and not has_new,
        )


def plan_resume(
    checkpoint: Checkpoint,
    old: Mapping[str, NodeSpec],
    new: Mapping[str, NodeSpec],
    handed_over: frozenset[str] = frozenset(),
) -> ResumePlan:
    """Return what becomes of each node.

    Args:
        checkpoint: of ``old``.
        old, new: the nodes of pipelines without problems, as far as the task that took the checkpoint runs them.
        handed_over: nodes whose state goes to another task, which takes nothing but what they took before.
    """
    before, after = _Graph(old), _Graph(new)
    found: list[NodePlan] = []
    open_nodes: set[str] = set()
    for node_id in topological_order(new):
        saved = checkpoint.nodes.get(node_id)
        senders = predecessors(new, node_id)
        gets_more = any(sender in open_nodes for sender in senders)
        if saved is None or node_id not in old:
            fate, reason = _new(new[node_id], senders, after.sources_above(node_id), checkpoint, gets_more)
        else:
            fate, reason = _old(node_id, saved, before, after, gets_more, node_id in handed_over)
        if saved is None or not saved.is_finished:
            open_nodes.add(node_id)
        found.append(NodePlan(node_id, fate, reason))
    for node_id, saved in checkpoint.nodes.items():
        if node_id not in new:
            found.append(NodePlan(node_id, Fate.DROPPED, _dropped(saved)))
    return ResumePlan(tuple(found))


class _Graph:
    def __init__(self, nodes: Mapping[str, NodeSpec]) -> None:
        self.nodes = nodes
        self._types, _ = infer_types(nodes)

    def inputs(self, node_id: str) -> list[StreamType]:
        return [self._types[producer] for producer in self.nodes[node_id].producers]

    def sources_above(self, node_id: str) -> set[str]:
        seen, left = set(), [node_id]
        while left:
            current = left.pop()
            if current not in seen:
                seen.add(current)
                left += predecessors(self.nodes, current)
        return {name for name in seen if not self.nodes[name].takes_input}


def _new(
    node: NodeSpec, senders: tuple[str, ...], sources: set[str], checkpoint: Checkpoint, gets_more: bool
) -> tuple[Fate, str]:
    if not node.takes_input:
        return Fate.NEW, "it reads from its beginning"
    known = sorted(source for source in sources if source in checkpoint.nodes)
    if not known:
        return Fate.NEW, "everything that it reads is new too"
    if not gets_more:
        names = ", ".join(repr(name) for name in senders)
        return Fate.INCOMPATIBLE, (
            f"it is new, and {names} had given out every record before: it would see none of them; start the job from "
            "the beginning to have it see them"
        )
    if node.makes_index:
        return Fate.INCOMPATIBLE, (
            f"it is a new index, and would lack what {', '.join(known)} had sent before; start the job from the "
            "beginning to have it whole"
        )
    return Fate.NEW, f"it sees what comes from now on, none of what {', '.join(known)} had sent before"


def _old(
    node_id: str, saved: NodeCheckpoint, before: _Graph, after: _Graph, gets_more: bool, is_handed_over: bool
) -> tuple[Fate, str]:
    was, now = before.nodes[node_id], after.nodes[node_id]
    if was.op != now.op or saved.op != now.op:
        return Fate.INCOMPATIBLE, f"it was {saved.op!r} and is {now.op!r}; give the new one another id"
    if saved.is_finished and gets_more:
        return Fate.INCOMPATIBLE, "it had ended, and takes no records of nodes that go on; give it another id"
    changed = _changed_parameters(was, now)
    tuning = _TUNING if now.takes_input else _TUNING | _TUNING_OF_SOURCES
    waiting = sum(1 for _ in saved.inbox.frames)
    names = ", ".join(changed)
    essential = [name for name in changed if name not in tuning and name != "in"]
    if essential and _has_state(saved.state):
        return Fate.INCOMPATIBLE, (
            f"its state belongs to other {', '.join(essential)}; put them back, or give it another id, under which it "
            "starts without one"
        )
    if before.inputs(node_id) != after.inputs(node_id) or len(was.inputs) != len(now.inputs):
        if waiting or (_has_state(saved.state) and (now.gives_output or is_handed_over)):
            what = "records wait in front of it" if waiting else "its state is made"
            return Fate.INCOMPATIBLE, (
                f"{what} of other fields, key or window than it takes now; put back the nodes in front of it, or give "
                "it another id"
            )
        return Fate.CHANGED, "it takes other records from now on"
    if not changed:
        return Fate.KEPT, "it had ended" if saved.is_finished else "nothing has changed"
    if saved.is_finished:
        return Fate.CHANGED, f"it had ended; its new {names} has no effect"
    return Fate.CHANGED, f"what comes from now on, and what waits in front of it, is processed with its new {names}"


def _changed_parameters(was: NodeSpec, now: NodeSpec) -> list[str]:
    old, new = (node.model_dump(mode="json", by_alias=True) for node in (was, now))
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def _has_state(state: State) -> bool:
    return bool(state.frames) or any(value not in (None, [], {}, "") for value in state.values.values())


def _dropped(saved: NodeCheckpoint) -> str:
    if saved.is_finished:
        return "it had ended"
    lost = ["its state"] if _has_state(saved.state) else []
    if len(saved.inbox.frames):
        lost.append("the records that wait in front of it")
    return f"dropped with it: {' and '.join(lost)}" if lost else "nothing is lost"
