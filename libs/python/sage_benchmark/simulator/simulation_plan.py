"""What is simulated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.engine_fault import EngineFault
from sage_control_plane.request.classification import DEFAULT_LEVEL
from sage_control_plane.request.engine_state import CapacitySource
from sage_control_plane.request.request import ServiceClass, ServiceLevel
from sage_control_plane.settings import ControlSettings

# What reports call a policy after whose name it stands, when it does not see which prompts begin alike.
WITHOUT_AFFINITY = ", no affinity"


# Requests of a class that may be queued for each engine, where the scheduler's own bound is too small for the pool: an
# operator of that many engines would raise it too.
QUEUED_PER_ENGINE = 1_000


@dataclass(frozen=True, slots=True)
class SimulationPlan:
    """The pool and its control plane.

    Attributes:
        engines: equal engines; each serves the model for text and the one for embeddings.
        timeout_seconds: after which a request that is still queued is refused, as the gateway's default has it.
        death_noticed_seconds: from an engine's death to the news of it: three missed heartbeats.
        heartbeat_seconds: between two words of an engine about its queue and cache; 0 for none.
        affinity: whether the control plane sees which prompts begin alike; engines' caches do in any case.
        seed: of the control plane's own randomness.
        registered_concurrency: seats that the engines register with; None for those that they have. With more, requests
            wait in the engines, and heartbeats say so, as servers' metrics do.
        levels: targets of each class.
        capacity_source: who said so; where nobody did, nobody said how many tokens fit either.
    """

    engines: int = 3
    policy: str = "hybrid"
    engine: EngineModelConfig = field(default_factory=EngineModelConfig)
    control: ControlSettings = field(default_factory=ControlSettings)
    faults: tuple[EngineFault, ...] = ()
    timeout_seconds: float = 600.0
    death_noticed_seconds: float = 0.75
    heartbeat_seconds: float = 0.5
    affinity: bool = True
    seed: int = 1
    registered_concurrency: int | None = None
    capacity_source: CapacitySource = CapacitySource.TOLD
    levels: Mapping[ServiceClass, ServiceLevel] = field(default_factory=lambda: DEFAULT_LEVEL)


def for_many_engines(control: ControlSettings, engines: int) -> ControlSettings:
    """Return the settings with queues as long as this number of engines needs; they never become shorter."""
    admission = control.admission

    def raised(most_requests: int) -> int:
        return max(most_requests, QUEUED_PER_ENGINE * engines)

    by_class = {name: raised(most) for name, most in admission.class_max_queued.items()}
    longer = replace(admission, max_queued=raised(admission.max_queued), class_max_queued=by_class)
    return replace(control, admission=longer)
