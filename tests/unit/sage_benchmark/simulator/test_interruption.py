"""All seats are held by bulk answers, and chats come: how soon they begin, and what that costs the bulk answers."""

from __future__ import annotations

import random

import pytest

from sage_benchmark.report.metrics import RunMetrics, measure
from sage_benchmark.report.outcome import RequestOutcome
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulator.simulation import Simulation
from sage_benchmark.simulator.simulation_plan import SimulationPlan
from sage_benchmark.workload.arrival import Arrival
from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
from sage_control_plane.request.request import RequestKind, ServiceClass
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.settings import InterruptionSettings

SEATS = 8
CONFIG = EngineModelConfig(max_num_seqs=SEATS)
PROMPT = 200
# A step of a full batch, and one that computes the chat's prompt beside it.
STEP_SECONDS = CONFIG.step_seconds(SEATS)
PREFILL_SECONDS = CONFIG.prompt_seconds(RequestKind.LLM_CHAT, PROMPT)


def bulk(at: float, tokens: int, prompt: int = 300) -> tuple[float, ServiceClass, int, int]:
    return at, ServiceClass.BULK, prompt, tokens


def chat(at: float) -> tuple[float, ServiceClass, int, int]:
    return at, ServiceClass.INTERACTIVE, PROMPT, 60


def arrivals(requests: list[tuple[float, ServiceClass, int, int]], *, streamed_bulk: bool) -> list[Arrival]:
    return [
        Arrival(
            index,
            at,
            RequestKind.LLM_CHAT if service_class is ServiceClass.INTERACTIVE else RequestKind.LLM_GENERATE,
            "t",
            prompt,
            tokens,
            service_class,
            max_tokens=2 * tokens,
            streaming=streamed_bulk or service_class is ServiceClass.INTERACTIVE,
        )
        for index, (at, service_class, prompt, tokens) in enumerate(sorted(requests, key=lambda one: one[0]))
    ]


def play(load: list[Arrival], seconds: float, **plan: object) -> tuple[list[RequestOutcome], RunMetrics]:
    simulation = Simulation(SimulationPlan(engine=CONFIG, timeout_seconds=7200.0, **plan), load)  # type: ignore[arg-type]
    outcomes = simulation.run()
    assert sorted(o.arrival.index for o in outcomes) == list(range(len(load)))
    assert all(o.served and o.tokens == o.arrival.output_tokens for o in outcomes)
    return outcomes, simulation.completed(measure(outcomes, seconds, CONFIG))


@pytest.mark.parametrize("streamed_bulk", [True, False])
def test_a_chat_begins_within_two_steps_and_its_prompt(streamed_bulk: bool) -> None:
    ttft, shares = [], []
    for seed in range(100):
        rng = random.Random(seed)
        held = [bulk(0.0, 4000) for _ in range(SEATS)]
        outcomes, metrics = play(
            arrivals([*held, chat(rng.uniform(1.0, 5.0))], streamed_bulk=streamed_bulk), 40.0, engines=1
        )
        ttft += [o.ttft_seconds or 0.0 for o in outcomes if o.arrival.service_class is ServiceClass.INTERACTIVE]
        shares.append(metrics.recomputed_share)
        assert metrics.interruptions == 1
    assert sorted(ttft)[98] <= 2 * STEP_SECONDS + PREFILL_SECONDS
    assert max(shares) <= 0.05


def backlog(seconds: float, gap: float, seed: int) -> list[Arrival]:
    """Enough bulk work to hold two engines at all times, and a chat now and then."""
    rng = random.Random(seed)
    sizes = [int(rng.lognormvariate(6.7, 0.4)) + 1 for _ in range(int(2.3 * seconds))]
    load = [bulk(0.0 if n < 64 else rng.uniform(0.0, seconds), size) for n, size in enumerate(sizes)]
    at = 20.0
    while at < seconds:
        load.append(chat(at))
        at += gap * rng.uniform(0.5, 1.5)
    return arrivals(load, streamed_bulk=False)


@pytest.mark.long
def test_chats_are_in_time_at_the_cost_of_few_tokens_and_no_bulk_answer() -> None:
    load = backlog(1000.0, 120.0, seed=5)
    never = ControlSettings(interruption=InterruptionSettings(ratio=0.0))
    _, without = play(load, 1000.0, engines=2, control=never)
    outcomes, metrics = play(load, 1000.0, engines=2)
    assert without.interruptions == 0
    assert metrics.interruptions >= 1
    assert metrics.recomputed_share <= 0.05
    assert metrics.by_class["interactive"].attainment >= without.by_class["interactive"].attainment
    assert metrics.by_class["interactive"].attainment >= 0.95
    # Interrupted answers took further dispatches, one more each at most in a row.
    assert sum(o.attempts - 1 for o in outcomes) == metrics.interruptions


def test_an_engine_may_die_among_interruptions() -> None:
    load = backlog(200.0, 8.0, seed=6)
    _, metrics = play(load, 200.0, engines=2, faults=(EngineFault(FaultKind.DIE, 60.0),))
    assert metrics.by_class["bulk"].served == 1.0


def test_the_same_seed_gives_the_same_run() -> None:
    load = backlog(150.0, 10.0, seed=7)
    assert play(load, 150.0, engines=2) == play(load, 150.0, engines=2)
