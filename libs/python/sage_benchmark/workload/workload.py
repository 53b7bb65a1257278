"""What a benchmark under load needs of a workload, wherever its requests come from."""

from __future__ import annotations

from typing import Any, Protocol

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival, offered_engine_seconds


class Workload(Protocol):
    """Requests that a seed makes."""

    @property
    def engines(self) -> int:
        """How many engines it is for."""
        ...

    @property
    def seconds(self) -> float:
        """Time in which requests arrive."""
        ...

    @property
    def load(self) -> float:
        """How much it asks for; systems are compared at equal loads."""
        ...

    def arrivals(self, config: EngineModelConfig, seed: int) -> list[Arrival]:
        """Return the arrivals, in order of time. The same arguments give the same list."""
        ...

    def warm_up(self, seconds: float) -> Workload:
        """A short run of the same kind of requests, at half of the load that is stated for it."""
        ...

    def describe(self) -> dict[str, Any]:
        """As settings of a report."""
        ...


def offered_load(workload: Workload, arrivals: list[Arrival], config: EngineModelConfig) -> float:
    """Return what a workload's arrivals really offer, as a multiple of what saturates its engines."""
    return offered_engine_seconds(arrivals, config) / (workload.seconds * workload.engines)
