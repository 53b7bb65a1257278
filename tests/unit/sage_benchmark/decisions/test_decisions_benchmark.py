"""What the benchmark makes of its figures, and that its parts run."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage_benchmark.decisions import decisions_benchmark
from sage_benchmark.decisions.decisions_benchmark import BooksRate, DecisionsPlan
from sage_benchmark.decisions.service_run import ServiceFigures, ServicePlan, measure_service


def test_the_default_policy_is_held_to_the_bars_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def books(policy: str, engines: int, queued: int, requests: int) -> list[BooksRate]:
        rate = 30_000.0 if engines == 100 else 9_000.0
        return [BooksRate(policy, engines, queued, False, rate if policy == "hybrid" else 1.0)]

    def service(plan: ServicePlan, directory: Path) -> ServiceFigures:
        rest = {"nats-server": 0.01, "scheduler": 0.05 if plan.engines == 100 else 0.2}
        return ServiceFigures(plan, rest, decided=1_000, cpu_seconds=0.05, wall_seconds=0.1)

    monkeypatch.setattr(decisions_benchmark, "measure_books", books)
    monkeypatch.setattr(decisions_benchmark, "measure_service", service)
    result = decisions_benchmark.run(DecisionsPlan())
    reached = [bar.reached for bar in result.bars if "interpreted" in bar.name and "books" in bar.name]
    assert reached == [True, False]
    through_process = [bar for bar in result.bars if "scheduler process" in bar.name]
    assert [(bar.value, bar.reached) for bar in through_process] == [(20_000.0, False), (20_000.0, True)]
    assert [bar.reached for bar in result.bars if "at rest" in bar.name] == [True, False]
    assert result.tables[1].rows[1][-2:] == ["1.0 %", "20.0 %"]


@pytest.mark.long
def test_the_real_scheduler_decides_for_replayed_executors(tmp_path: Path) -> None:
    plan = ServicePlan(engines=6, executors=2, queued=60, requests=200, rest_seconds=0.5, settle_seconds=0.5)
    figures = measure_service(plan, tmp_path)
    assert set(figures.rest_cores) == {"nats-server", "scheduler", "gateway"}
    assert figures.decided >= 200
    assert figures.per_cpu_second > 0
    assert figures.resident_mb > 10
