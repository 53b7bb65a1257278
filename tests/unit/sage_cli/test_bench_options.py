from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage_benchmark.live.engine_fault import LiveFault
from sage_cli.bench_options import live_plan, names_in
from sage_common.errors import InvalidRequestError

OPTIONS: dict[str, Any] = {
    "engines": 3,
    "seconds": 60.0,
    "load": 1.3,
    "cv": 3.0,
    "repetitions": 3,
    "seed": 5,
    "tenants": 3,
    "trace": None,
    "greedy": False,
    "fault": "",
    "quick": False,
}


def test_names_are_split_in_order_and_each_once() -> None:
    assert names_in(" fifo, hybrid,,fifo ") == ["fifo", "hybrid"]


def test_a_plan_holds_what_was_asked_for() -> None:
    plan = live_plan(**OPTIONS)
    assert (plan.load.load, plan.load.cv, plan.repetitions, plan.seed, plan.fault) == (1.3, 3.0, 3, 5, None)


def test_a_quick_one_is_short_and_run_once() -> None:
    plan = live_plan(**{**OPTIONS, "quick": True})
    assert (plan.load.seconds, plan.repetitions) == (20.0, 1)


def test_a_fault_strikes_after_a_third() -> None:
    fault = live_plan(**{**OPTIONS, "fault": "die"}).fault
    assert fault is not None
    assert (fault.kind, fault.at_seconds) == (LiveFault.DIE, 20.0)


@pytest.mark.parametrize("wrong", [{"fault": "explode"}, {"greedy": True, "trace": Path("trace.csv")}])
def test_what_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        live_plan(**{**OPTIONS, **wrong})
