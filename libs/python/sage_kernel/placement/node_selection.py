"""Which worker takes a task: filter by what it needs, score what is left, pick the best. Pure.

The resources are those of each worker by itself: two workers with one GPU each do not make one with two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sage_kernel.placement.resources import Resources, TaskNeeds

# In an explanation; the best come first.
MAX_CANDIDATES = 16


@dataclass(frozen=True)
class WorkerNode:
    """A worker as the registry knows it.

    Attributes:
        capacity: what it has.
        reserved: what the tasks that are placed on it have asked for.
        slots: tasks that it runs at most at once.
        tasks: tasks that are placed on it.
        load: share of its processors that is busy, 0 to 1 or a little more; other work on the machine counts.
    """

    worker_id: str
    capacity: Resources
    slots: int
    reserved: Resources = Resources()
    tasks: int = 0
    load: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A worker that was considered. ``refusal`` says why it cannot take the task; empty where it can."""

    worker_id: str
    refusal: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class TaskPlacement:
    """A decision. ``worker_id`` is None where no worker can take the task; ``reason`` says why either way."""

    worker_id: str | None
    reason: str
    candidates: tuple[Candidate, ...] = ()


Score = Callable[[WorkerNode, TaskNeeds], float]


def _share_taken(node: WorkerNode, needs: TaskNeeds) -> float:
    """The largest share of anything that would be taken, once the task were there."""
    taken = node.reserved.plus(needs.resources)
    shares = [(node.tasks + 1) / node.slots]
    for used, there in (
        (taken.num_cpus, node.capacity.num_cpus),
        (taken.num_gpus, node.capacity.num_gpus),
        (taken.memory_mb, node.capacity.memory_mb),
    ):
        if there:
            shares.append(used / there)
    return max(shares)


def balanced(node: WorkerNode, needs: TaskNeeds) -> float:
    """Prefer the worker with most room left in what it has least of, and among those the one that is least busy."""
    return 1.0 - _share_taken(node, needs) - 0.1 * min(node.load, 1.0)


def pack(node: WorkerNode, needs: TaskNeeds) -> float:
    """Prefer the fullest, so that others stay free for tasks that need a whole worker."""
    return _share_taken(node, needs)


def spread(node: WorkerNode, needs: TaskNeeds) -> float:
    """Prefer the one with the fewest tasks, so that the death of one takes the fewest along."""
    return -float(node.tasks)


STRATEGIES: Mapping[str, Score] = MappingProxyType({"balanced": balanced, "pack": pack, "spread": spread})


def select_worker(
    needs: TaskNeeds,
    nodes: Iterable[WorkerNode],
    strategy: str = "balanced",
    *,
    preferred: str = "",
    excluded: Mapping[str, str] = MappingProxyType({}),
) -> TaskPlacement:
    """Decide where a task runs.

    Args:
        strategy: a name of ``STRATEGIES``.
        preferred: worker that wins where scores are about equal: the one that coordinates the job saves a hop.
        excluded: workers that are not to be taken, and why.
    """
    score = STRATEGIES[strategy]
    candidates = []
    for node in nodes:
        refusal = excluded.get(node.worker_id) or _refusal(node, needs)
        candidates.append(Candidate(node.worker_id, refusal, 0.0 if refusal else round(score(node, needs), 4)))
    # Scores that differ by less than a tenth are about equal.
    candidates.sort(
        key=lambda c: (bool(c.refusal), -round(c.score, 1), c.worker_id != preferred, -c.score, c.worker_id)
    )
    shown = tuple(candidates[:MAX_CANDIDATES])
    if not candidates:
        return TaskPlacement(None, "no worker is registered; start one, as `sage up` does")
    best = candidates[0]
    if best.refusal:
        said = "; ".join(f"{c.worker_id}: {c.refusal}" for c in shown)
        return TaskPlacement(None, f"no worker can take it: {said}", shown)
    fitting = sum(not candidate.refusal for candidate in candidates)
    reason = f"{strategy}: score {best.score:g}, best of {fitting} that can take it ({len(candidates)} registered)"
    return TaskPlacement(best.worker_id, reason, shown)


def _refusal(node: WorkerNode, needs: TaskNeeds) -> str:
    for name, value in needs.labels.items():
        if node.labels.get(name) != value:
            has = f"has {name}={node.labels[name]}" if name in node.labels else f"has no label {name}"
            return f"{has}, needed {name}={value}"
    if node.tasks >= node.slots:
        return f"runs {node.tasks} tasks, its most"
    free = node.capacity.minus(node.reserved)
    for wanted, there, capacity, what in (
        (needs.resources.num_cpus, free.num_cpus, node.capacity.num_cpus, "CPUs"),
        (needs.resources.num_gpus, free.num_gpus, node.capacity.num_gpus, "GPUs"),
        (needs.resources.memory_mb, free.memory_mb, node.capacity.memory_mb, "MB of memory"),
    ):
        if wanted > there:
            return f"has {there:g} of {capacity:g} {what} free, needed {wanted:g}"
    return ""
