"""What a task needs of a worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sage_kernel.nodes import NodeSpec

# The label of workers that have the mesh's knowledge bases.
WITH_KNOWLEDGE: Mapping[str, str] = MappingProxyType({"sage.knowledge": "here"})


@dataclass(frozen=True)
class Resources:
    """Processors, GPUs and memory; zero asks for nothing."""

    num_cpus: float = 0.0
    num_gpus: float = 0.0
    memory_mb: float = 0.0

    def plus(self, other: Resources) -> Resources:
        """Return both together."""
        return Resources(
            self.num_cpus + other.num_cpus, self.num_gpus + other.num_gpus, self.memory_mb + other.memory_mb
        )

    def minus(self, other: Resources) -> Resources:
        """Return what is left; never less than nothing."""
        return Resources(
            max(0.0, self.num_cpus - other.num_cpus),
            max(0.0, self.num_gpus - other.num_gpus),
            max(0.0, self.memory_mb - other.memory_mb),
        )


@dataclass(frozen=True)
class TaskNeeds:
    """What a worker must have free, and the labels that it must carry."""

    resources: Resources = Resources()
    labels: Mapping[str, str] = field(default_factory=dict)


def needs_of(nodes: Iterable[NodeSpec]) -> TaskNeeds:
    """Return what a task of these nodes needs. They run at the same time, so it is the sum of what each needs.

    A node of a knowledge base needs a worker that has the mesh's.

    Two nodes that ask for different values of one label ask for what no worker has, and the placement says so.
    """
    resources = Resources()
    labels: dict[str, str] = {}
    for node in nodes:
        resources = resources.plus(Resources(node.num_cpus, node.num_gpus, node.memory_mb))
        wanted = node.labels if node.knowledge is None else {**node.labels, **WITH_KNOWLEDGE}
        for name, value in wanted.items():
            known = labels.setdefault(name, value)
            if known != value:
                labels[name] = f"{known} and {value}"
    return TaskNeeds(resources, labels)
