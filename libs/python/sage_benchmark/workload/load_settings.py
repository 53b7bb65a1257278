"""The workload that a command asks for, whichever benchmark it is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival, offered_engine_seconds
from sage_benchmark.workload.mixed_load import (
    POISSON,
    LoadPlan,
    SharedPrefixes,
    equal_tenants,
    generate,
    with_a_greedy_one,
)
from sage_benchmark.workload.request_shapes import MIXED, RequestShape
from sage_benchmark.workload.trace_file import TracePlan, read_trace, trace_arrivals

WARM_UP_LOAD = 0.5


@dataclass(frozen=True)
class LoadSettings:
    """A workload, to be generated from a seed.

    Attributes:
        load: offered, as a multiple of what saturates the engines. A trace is played at the speed at which the whole
            of it offers so much; its bursts remain.
        cv: coefficient of variation of the gaps between arrivals; 1 is Poisson.
        greedy: whether the first tenant offers ten times its share of the engines.
        prefixes: long system prompts that a tenant's requests share; None for none. They come on top of the load.
        trace: file to play instead of the mixed load.
        shapes: what the mixed load is made of.
    """

    engines: int = 3
    seconds: float = 60.0
    load: float = 1.3
    cv: float = POISSON
    tenants: int = 3
    greedy: bool = False
    trace: Path | None = None
    prefixes: SharedPrefixes | None = None
    shapes: tuple[RequestShape, ...] = MIXED

    def arrivals(self, config: EngineModelConfig, seed: int) -> list[Arrival]:
        """Return the arrivals, in order of time. The same arguments give the same list.

        Raises:
            InvalidRequestError: the trace is not one, or nothing arrives within the time.
            OSError: the trace cannot be read.
        """
        if self.trace is not None:
            return self._traced(self.trace, config, seed)
        tenants = (with_a_greedy_one if self.greedy else equal_tenants)(self.tenants, self.load)
        plan = LoadPlan(self.seconds, self.engines, tenants, self.cv, self.shapes, self.prefixes)
        return generate(plan, config, seed)

    def warm_up(self, seconds: float) -> LoadSettings:
        """A short run of the same kind of requests, at half of what saturates the engines."""
        return LoadSettings(self.engines, seconds, WARM_UP_LOAD, shapes=self.shapes)

    def describe(self) -> dict[str, Any]:
        """As settings of a report."""
        source = {"trace": self.trace.name} if self.trace else {"workload": "mixed load", "cv": self.cv}
        if self.prefixes is not None:
            shared = self.prefixes
            source["shared prefixes"] = (
                f"{shared.share:.0%} of the generating requests begin with one of {shared.groups} system prompts of "
                f"their tenant, of {shared.tokens} tokens each"
            )
        return {
            **source,
            "engines": self.engines,
            "seconds": self.seconds,
            "load": self.load,
            "tenants": f"{self.tenants}, the first greedy" if self.greedy else self.tenants,
        }

    def _traced(self, path: Path, config: EngineModelConfig, seed: int) -> list[Arrival]:
        points = read_trace(path)
        names = tuple(tenant.name for tenant in equal_tenants(self.tenants, self.load))
        everything = trace_arrivals(points, TracePlan(duration=float("inf"), tenants=names), seed)
        recorded = max(points[-1].at, 1e-9)
        offered = offered_engine_seconds(everything, config) / (recorded * self.engines)
        plan = TracePlan(speed=self.load / offered, duration=self.seconds, tenants=names)
        return trace_arrivals(points, plan, seed)
