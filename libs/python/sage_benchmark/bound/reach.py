"""What is reached of a workload, and what can be at most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sage_benchmark.bound.demand import demand_of
from sage_benchmark.bound.upper_bound import most_within_targets
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.workload.arrival import Arrival
from sage_control_plane.request.request import ServiceClass


@dataclass(frozen=True, slots=True)
class Reach:
    """Two figures of a run, or what they can be at most; each is bounded by itself.

    Attributes:
        attainment: share of the interactive requests within every target.
        goodput: requests within every target, a second of the time in which requests arrive.
    """

    attainment: float
    goodput: float

    @staticmethod
    def bound(
        arrivals: Sequence[Arrival],
        config: EngineModelConfig,
        engines: int,
        seconds: float,
        until: float = math.inf,
    ) -> Reach:
        """Return what no order of service can exceed.

        Args:
            seconds: in which requests arrive.
            until: when bulk answers must be complete to count.
        """
        demand = demand_of(arrivals, config, until)
        interactive = [arrival.service_class is ServiceClass.INTERACTIVE for arrival in arrivals]
        met = most_within_targets(demand, engines, np.array(interactive, dtype=np.bool_)).requests
        attainment = met / sum(interactive) if any(interactive) else 1.0
        return Reach(attainment, most_within_targets(demand, engines).requests / seconds)
