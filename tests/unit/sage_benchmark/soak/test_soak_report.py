"""What is told of a soak: every figure can be written as JSON, and each bar is missed by what it is about."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import orjson

from sage_benchmark.soak.accounts import Account, Attempt, Ending, Kill
from sage_benchmark.soak.long_work import LongWork
from sage_benchmark.soak.memory import Growth, Life, MemoryWatch
from sage_benchmark.soak.soak_plan import SoakPlan, Work
from sage_benchmark.soak.soak_report import SoakOutcome, result_of
from sage_platform.supervision.process_status import ProcessIdentity


def outcome() -> SoakOutcome:
    """One in which nothing went wrong."""
    gateways: Any = None
    accounts = [Account(work.name, work, [Attempt(1, 0.0, 1.0, Ending.WHOLE, 2)]) for work in Work]
    kills = [Kill(10.0, 1, "gateway", "gateway"), Kill(20.0, 3, "engine", "engine")]
    growths = [Growth("gateway, host 1", 3, 40.0, 95.0, 0.5, 60.0), Growth("nats, host 1", 9, 0.0, 0.0, None, 60.0)]
    plan, restarts = SoakPlan(seconds=30.0, kill_seconds=10.0), {1: 1, 2: 0, 3: 0}
    memory = MemoryWatch()
    memory.lives["gateway, host 1"] = {ProcessIdentity(1, 1.0): Life(0.0, [(0.0, 90.0), (5.0, 95.0)])}
    return SoakOutcome(plan, accounts, kills, growths, memory, 0, restarts, LongWork(gateways), 31.0)


def missed(given: SoakOutcome) -> list[str]:
    return [bar.name for bar in result_of(given).bars if not bar.reached]


def test_a_soak_without_a_fault_reaches_every_bar_and_can_be_written(tmp_path: Path) -> None:
    result = result_of(outcome())
    assert [bar.name for bar in result.bars if not bar.reached] == []
    file, chart = result.write(tmp_path)
    figures = orjson.loads(file.read_bytes())["figures"]
    assert figures["requests"]["chat"]["whole"] == 1
    assert figures["restarts_by_host"] == {"1": 1, "2": 0, "3": 0}
    assert [one["name"] for one in figures["memory"]] == ["gateway, host 1"], "what lived too short says nothing"
    assert chart.exists()
    requests, kills, memory = result.tables
    assert requests.rows[0] == ("streamed chat", "1", "1", "0", "0", "0", "0")
    assert kills.rows == [("engine", "0", "0", "1"), ("gateway", "1", "0", "0")]
    assert memory.rows == [("gateway, host 1", "3", "1", "95", "+0.50", "+0.5")]


def test_each_bar_is_missed_by_what_it_is_about() -> None:
    good = outcome()
    lost = Account("lost", Work.CHAT, [Attempt(1, 0.0, 1.0, Ending.WRONG)])
    hung = Account("hung", Work.CHAT, [Attempt(1, 0.0, 99.0, Ending.HUNG)])
    for change, bar in (
        ({"accounts": [*good.accounts, lost]}, "requests lost, doubled or wrong"),
        ({"accounts": [*good.accounts, hung]}, "requests hung"),
        ({"accounts": [*good.accounts, good.accounts[0]]}, "requests accounted for twice"),
        ({"left": 1}, "requests still counted by the mesh at the end"),
        ({"growths": [Growth("nats, host 1", 1, 60.0, 50.0, 30.0, 60.0)]}, "processes whose memory grew"),
        ({"kills": good.kills[:1]}, "kills, of those that were due"),
    ):
        assert missed(dataclasses.replace(good, **change)) == [bar]  # type: ignore[arg-type]
