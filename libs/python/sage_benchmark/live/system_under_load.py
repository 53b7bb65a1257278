"""What is put under load in a live benchmark, and how it is brought up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from sage_benchmark.live.class_labels import NO_LABELS, ClassLabels
from sage_benchmark.live.simulated_pool import SimulatedPool


class SystemUnderLoad(Protocol):
    """Something that answers OpenAI requests with the engines."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def urls(self) -> Sequence[str]:
        """Base URLs without ``/v1``; of several each gets a request in turn."""
        ...

    @property
    def labels(self) -> ClassLabels:
        """How it is told a request's class."""
        ...

    def prepare(self) -> None:
        """Make it ready for a run: every engine known and healthy. Raises SageError where that cannot be had."""
        ...

    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU time that each of its processes has used so far."""
        ...


@dataclass(frozen=True)
class Contender:
    """A system that is to be run.

    Attributes:
        start: brings it up for as long as the context lasts; SageError where it does not come up.
        told: what it was told of classes and of the engines' capacity, for the report.
    """

    name: str
    start: Callable[[], AbstractContextManager[SystemUnderLoad]]
    told: str

    @staticmethod
    def running(system: SystemUnderLoad, told: str) -> Contender:
        """Return one for a system that is up already."""
        return Contender(system.name, lambda: nullcontext(system), told)


class DirectSystem:
    """Nothing in front: the client goes to each engine in turn."""

    name = "none"
    told = "nothing: there is no front, and the client goes to each engine in turn"
    labels: ClassLabels = NO_LABELS

    def __init__(self, pool: SimulatedPool) -> None:
        self._pool = pool

    @property
    def urls(self) -> Sequence[str]:
        return self._pool.urls

    def prepare(self) -> None:
        """Do nothing: the pool's engines are up."""

    def cpu_seconds(self) -> Mapping[str, float]:
        return {}
