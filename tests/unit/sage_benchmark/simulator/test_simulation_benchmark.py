from __future__ import annotations

import pytest

from sage_benchmark.simulator.simulation_benchmark import CLAIRVOYANT, VirtualPlan, run_in_virtual_time
from sage_benchmark.workload.load_settings import LoadSettings
from sage_benchmark.workload.mixed_load import SharedPrefixes

PLAN = VirtualPlan((LoadSettings(engines=1, seconds=12, load=1.5),), repetitions=2, seed=3)


def test_every_policy_gets_every_request_of_every_seed() -> None:
    said: list[str] = []
    report = run_in_virtual_time(PLAN, ["fifo", "hybrid"], "sage bench simulate", said.append)
    by_name = {system.name: system for system in report.systems}
    assert list(by_name) == ["fifo", "hybrid", CLAIRVOYANT]
    sent = [[run.requests for run in system.runs] for system in report.systems]
    assert sent[0] == sent[1] == sent[2]
    assert sent[0][0] != sent[0][1]
    assert len(said) == 6
    assert {"goodput, hybrid to fifo", "goodput, hybrid to clairvoyant"} <= {bar.name for bar in report.bars}
    to_bound = [bar.value for bar in report.bars if bar.name.endswith("hybrid to the bound")]
    assert len(to_bound) == 2
    assert all(0 < value <= 1 for value in to_bound)


def test_each_load_is_played_and_has_bars_of_its_own() -> None:
    loads = tuple(LoadSettings(engines=1, seconds=20, load=load) for load in (0.5, 1.5))
    report = run_in_virtual_time(VirtualPlan(loads, repetitions=1), ["fifo", "hybrid"], "", lambda _: None)
    assert [(system.name, system.load) for system in report.systems] == [
        (name, load) for load in (0.5, 1.5) for name in ("fifo", "hybrid", CLAIRVOYANT)
    ]
    names = {bar.name for bar in report.bars}
    assert "goodput, hybrid to fifo at load 1.5" in names
    assert "goodput, hybrid to fifo at load 0.5" not in names


def test_affinity_finds_more_of_shared_prompts_in_the_caches_of_engines() -> None:
    shared = LoadSettings(engines=3, seconds=30, load=0.5, prefixes=SharedPrefixes())
    plan = VirtualPlan((shared,), repetitions=1, clairvoyant=False, without_affinity=True)
    hybrid, blind = run_in_virtual_time(plan, ["hybrid"], "", lambda _: None).systems
    assert blind.name == "hybrid, no affinity"
    assert hybrid.figures["cached_prompt_share"].mean > 1.1 * blind.figures["cached_prompt_share"].mean > 0
    p99 = "by_class.interactive.ttft.p99"
    assert hybrid.figures[p99].mean < blind.figures[p99].mean


@pytest.mark.long
def test_the_same_seeds_give_the_same_figures() -> None:
    def figures() -> list[object]:
        report = run_in_virtual_time(PLAN, ["hybrid"], "", lambda _: None)
        return [run.to_json() for system in report.systems for run in system.runs]

    assert figures() == figures()


def test_without_the_yardstick_there_is_no_bar_for_it() -> None:
    plan = VirtualPlan(PLAN.workloads, repetitions=1, clairvoyant=False)
    report = run_in_virtual_time(plan, ["hybrid"], "", lambda _: None)
    assert [system.name for system in report.systems] == ["hybrid"]
    assert not report.bars
