from __future__ import annotations

from sage_benchmark.simulate.policies_in_virtual_time import CLAIRVOYANT, VirtualPlan, run_in_virtual_time
from sage_benchmark.workload.load_settings import LoadSettings

PLAN = VirtualPlan((LoadSettings(engines=1, seconds=20, load=1.5),), repetitions=2, seed=3)


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
