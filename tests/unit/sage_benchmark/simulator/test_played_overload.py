"""Several times more chats than can be served: the engines do what they can, and the rest is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sage_benchmark.report.outcome import RequestOutcome, level_of, meets
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.request_shapes import CHAT, MIXED, RequestShape
from sage_control_plane.policies.hybrid_settings import HybridSettings
from sage_control_plane.policies.registry import PolicySettings
from sage_control_plane.request.request import ServiceClass
from sage_control_plane.settings import ControlSettings

ENGINES = 2
TIMES = 5.0
# Calm, overload, calm again.
BEGINS, ENDS = 10.0, 35.0
# How long a chat may wait: its target of 500 ms times the multiple.
MOST_WAIT_SECONDS = 0.5 * HybridSettings().late_multiple


def arriving(
    config: EngineModelConfig, load: float, begins: float, ends: float, shapes: tuple[RequestShape, ...], seed: int
) -> list[Arrival]:
    settings = LoadSettings(ENGINES, ends - begins, load, tenants=1, shapes=shapes)
    return [replace(a, at_seconds=a.at_seconds + begins) for a in settings.arrivals(config, seed)]


def within(outcomes: Sequence[RequestOutcome], begins: float, ends: float) -> list[RequestOutcome]:
    return [o for o in outcomes if begins <= o.arrival.at_seconds < ends]


def met(outcomes: Sequence[RequestOutcome]) -> int:
    return sum(meets(o, level_of(o.arrival)) for o in outcomes)


@pytest.mark.parametrize("seats", [8, 48])
def test_an_overload_of_chats_is_refused_at_once_costs_no_goodput_and_is_over_when_it_ends(seats: int) -> None:
    config = replace(EngineModelConfig(), max_num_seqs=seats)
    chats = (replace(CHAT, share=1.0),)
    phases = [(0.5, 0.0, BEGINS), (TIMES, BEGINS, ENDS), (0.5, ENDS, ENDS + 20.0)]
    arrivals = [a for seed, phase in enumerate(phases) for a in arriving(config, *phase, chats, seed)]
    arrivals = [replace(a, index=index) for index, a in enumerate(arrivals)]
    outcomes = Simulation(SimulationPlan(ENGINES, "hybrid", config), arrivals).run()
    capacity = len(within(outcomes, BEGINS, ENDS)) / (ENDS - BEGINS) / TIMES

    lasting = within(outcomes, BEGINS + 10.0, ENDS)
    refused = [o for o in lasting if not o.served]
    assert len(refused) >= 0.6 * len(lasting)
    assert {o.status for o in refused} == {429}
    at_once = [o for o in refused if o.finished_at == pytest.approx(o.arrival.at_seconds)]
    assert len(at_once) >= 0.9 * len(refused)
    assert met(lasting) / (ENDS - BEGINS - 10.0) >= 0.9 * capacity
    # Whoever is not refused is served in time: nobody waits for nothing.
    assert met(lasting) >= 0.95 * (len(lasting) - len(refused))

    assert all(
        o.finished_at is not None and o.finished_at - o.arrival.at_seconds <= MOST_WAIT_SECONDS + 0.01
        for o in outcomes
        if not o.served
    )
    # What arrives next is served in time, but for a few while requests from before still wait.
    soon, later = within(outcomes, ENDS + 1.0, ENDS + 10.0), within(outcomes, ENDS + 10.0, ENDS + 20.0)
    assert met(soon) >= 0.85 * len(soon)
    assert all(o.served for o in later)
    assert met(later) >= 0.97 * len(later)


def test_only_chats_and_completions_are_refused() -> None:
    config = EngineModelConfig()
    # A completion may wait for 10 s here, so that some are refused in a short time.
    control = ControlSettings(policies=PolicySettings(hybrid=HybridSettings(late_multiple=5.0)))
    arrivals = arriving(config, 3.0, 0.0, 25.0, MIXED, seed=1)
    outcomes = Simulation(SimulationPlan(ENGINES, "hybrid", config, control), arrivals).run()
    refused = {o.arrival.service_class for o in outcomes if not o.served}
    assert refused == {ServiceClass.INTERACTIVE, ServiceClass.DEFAULT}
    assert all(o.served for o in outcomes if o.arrival.service_class in (ServiceClass.EMBEDDING, ServiceClass.BULK))
