"""A job's deadline split over the stages that call models: each request is given what is left, shared fairly."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sage_kernel.graph import predecessors, topological_order
from sage_kernel.nodes import NodeSpec

# A job that is late goes on: its requests then ask for an answer at once.
LEAST_SECONDS = 0.1


def stages_from(nodes: Mapping[str, NodeSpec]) -> dict[str, int]:
    """Return for each node how many model calls a record makes one after the other from it to the end, with its own."""
    stages = dict.fromkeys(nodes, 0)
    for node_id in reversed(topological_order(nodes)):
        stages[node_id] += int(nodes[node_id].calls_model)
        for before in predecessors(nodes, node_id):
            stages[before] = max(stages[before], stages[node_id])
    return stages


class StageTargets:
    """Answers within which time a request of a node is wanted.

    Args:
        seconds_left: until the job's deadline; None for a job without one.
    """

    def __init__(self, nodes: Mapping[str, NodeSpec], seconds_left: Callable[[], float] | None) -> None:
        self._stages = stages_from(nodes) if seconds_left is not None else {}
        self._seconds_left = seconds_left

    def target_seconds(self, node_id: str, own_seconds: float | None) -> float | None:
        """Return the lesser of the node's own target and its share of what is left of the job's time."""
        if self._seconds_left is None:
            return own_seconds
        share = max(LEAST_SECONDS, self._seconds_left() / max(1, self._stages[node_id]))
        return share if own_seconds is None else min(own_seconds, share)


NO_TARGETS = StageTargets({}, None)
