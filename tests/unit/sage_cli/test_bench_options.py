from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from sage_benchmark.live.capacities import TOLD, UNTOLD
from sage_benchmark.workload.class_rates import ClassRates
from sage_benchmark.workload.engine_fault import EngineFault, FaultKind
from sage_cli.bench_options import BenchOptions, names_in, takes_bench_options
from sage_cli.live_bench_options import LiveOptions
from sage_common.errors import InvalidRequestError


def test_names_are_split_in_order_and_each_once() -> None:
    assert names_in(" fifo, hybrid,,fifo ") == ["fifo", "hybrid"]


def test_a_plan_holds_what_was_asked_for() -> None:
    plan = BenchOptions(cv=3.0, seed=5).plan()
    assert (plan.repetitions, plan.seed, plan.fault) == (3, 5, None)
    [workload] = plan.workloads
    assert (workload.load, workload.cv) == (1.3, 3.0)


def test_a_quick_one_is_short_and_run_once() -> None:
    plan = BenchOptions(quick=True).plan()
    assert (plan.workloads[0].seconds, plan.repetitions) == (20.0, 1)


def test_a_fault_strikes_after_a_third() -> None:
    fault = BenchOptions(fault="die").plan().fault
    assert fault is not None
    assert (fault.kind, fault.at_seconds) == (FaultKind.DIE, 20.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"fault": "explode"},
        {"greedy": True, "trace": Path("trace.csv")},
        {"shared_prefixes": True, "trace": Path("trace.csv")},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        BenchOptions(**wrong).plan()


def test_real_engines_get_the_stated_rates_and_are_told_nothing() -> None:
    options = LiveOptions(engine="llamacpp", chat_rate=3.0, within=0.5, fault="die")
    plan = options.live_plan(2)
    assert (plan.alone, plan.within_seconds, plan.fault) == (True, 0.5, EngineFault(FaultKind.DIE, 50.0 / 3))
    assert plan.workloads == (ClassRates(engines=2, seconds=50.0, load=1.0, chat_rate=3.0),)
    assert LiveOptions(engine="llamacpp", engines=1, quick=True).live_plan(2).workloads == (ClassRates(1, 20.0),)
    assert options.capacities() == [UNTOLD]


def test_simulated_engines_get_the_mixed_load_and_their_capacity_is_told() -> None:
    options = LiveOptions(within=0.5)
    assert options.live_plan(2) == replace(BenchOptions().plan(), within_seconds=0.5)
    assert options.capacities() == [TOLD]
    assert LiveOptions(capacity="told,untold").capacities() == [TOLD, UNTOLD]


@pytest.mark.parametrize(
    "wrong",
    [
        {"engine": "vllm"},
        {"engine": "llamacpp", "fault": "slow"},
        {"engine": "llamacpp", "greedy": True},
        {"engine": "llamacpp", "trace": Path("trace.csv")},
        {"engine": "llamacpp", "shared_prefixes": True},
    ],
)
def test_what_an_engine_cannot_do_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        LiveOptions(**wrong).live_plan(1)


def test_the_mixed_load_can_do_without_embeddings() -> None:
    [workload] = BenchOptions(embeddings=False).workloads()
    assert [shape.name for shape in workload.shapes] == ["chat", "generate", "bulk"]


def test_each_load_given_is_run_once() -> None:
    plan = BenchOptions(load=[0.7, 1.3, 0.7], shared_prefixes=True).plan()
    assert [workload.load for workload in plan.workloads] == [0.7, 1.3]
    assert all(workload.prefixes is not None for workload in plan.workloads)


def test_a_command_has_its_own_options_and_all_shared_ones() -> None:
    got: list[tuple[BenchOptions, str]] = []

    @takes_bench_options(seconds=300.0)
    def command(options: BenchOptions, peers: str = "none") -> None:
        """Do it."""
        got.append((options, peers))

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, ["--load", "0.7", "--load", "1.3", "-n", "2", "--peers", "some"])
    assert result.exit_code == 0, result.output
    assert got == [(BenchOptions(seconds=300.0, load=[0.7, 1.3], repetitions=2), "some")]
