"""The benchmark of the policies runs on a real mesh, and what it counts is every request."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from sage_benchmark.live.comparison import ComparisonPlan
from sage_benchmark.live.policy_benchmark import run_policies
from sage_benchmark.live.simulated_pool import simulated_pool
from sage_benchmark.report.markdown import render_markdown
from sage_benchmark.simulated_engine.engine_config import EngineModelConfig, SimulatedModels
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.request_shapes import MIXED, Lengths, RequestShape

SHORTER = 8


def shortened(shape: RequestShape) -> RequestShape:
    """The same kind of requests with answers that end soon, so that as many requests take less time."""
    of = shape.outputs
    shorter = Lengths(of.median / SHORTER, of.sigma, 4, of.high // SHORTER) if of else None
    return replace(shape, outputs=shorter)


@pytest.mark.long
@pytest.mark.timeout(150)
def test_two_policies_get_the_same_requests_and_each_is_answered() -> None:
    load = LoadSettings(engines=1, seconds=3.0, load=0.8, shapes=tuple(shortened(shape) for shape in MIXED))
    plan = ComparisonPlan((load,), repetitions=1, seed=7, warm_up_seconds=1.0)
    said: list[str] = []
    engines = partial(simulated_pool, 1, SimulatedModels())
    report = run_policies(plan, ["fifo", "hybrid"], engines, "sage bench policies", said.append)
    sent = len(load.arrivals(EngineModelConfig(), 7))
    live, simulated = report.systems[:2], report.systems[2:]
    for system in live:
        [run] = system.runs
        assert run.requests == sent
        assert run.errors == {}
        assert run.throughput * run.seconds == pytest.approx(sent)
        assert {"embedding", "interactive"} <= run.by_class.keys()
        assert {"gateway", "classifier", "scheduler", "llm-coordinator"} <= system.cpu_seconds.keys()
        assert system.cpu_seconds["scheduler"] > 0
        assert system.cpu_seconds["simulated engines"] > 0
    assert [system.name for system in live] == ["fifo", "hybrid"]
    assert [system.name for system in simulated] == ["fifo, simulated", "hybrid, simulated"]
    assert all(run.requests == sent for system in simulated for run in system.runs)
    assert {(item.system, item.group) for item in report.agreements} >= {("fifo", "all"), ("hybrid", "interactive")}
    assert [timeline.title.partition(":")[0] for timeline in report.timelines] == ["fifo", "hybrid"]
    assert len(said) == 4
    assert "| hybrid |" in render_markdown(report)
