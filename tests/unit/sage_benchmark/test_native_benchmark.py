from __future__ import annotations

from typing import Any

import pytest

from sage_benchmark.native import join_opponents, scan_opponents
from sage_benchmark.native.native_benchmark import OURS, NativePlan, run
from sage_libs.native_scan import native_scan

PLAN = NativePlan(vectors=400, records=200, dimension=64, repetitions=1)


def absent(*_: Any) -> Any:
    raise ImportError("not here")


def test_every_way_that_is_installed_finds_what_brute_force_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    scans = {name: scan_opponents.OPPONENTS[name] for name in (OURS, "numkong", "numpy")}
    monkeypatch.setattr(scan_opponents, "OPPONENTS", scans | {"elsewhere": absent})
    steps: list[str] = []
    result = run(PLAN, steps.append)
    assert "elsewhere" in result.absent
    names = {"numpy"} | ({OURS} if native_scan() is not None else set())
    assert names <= {row.opponent for row in result.rows}
    assert {row.exactness for row in result.rows} == {1.0}
    assert len(steps) >= 4
    assert {one["name"] for one in result.to_json()["bars"]} == {bar.name for bar in result.bars}
    for bar in result.bars:
        if bar.name.endswith("right results"):
            assert bar.is_reached


def test_without_the_extension_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAGE_NATIVE", "off")
    monkeypatch.setattr(scan_opponents, "OPPONENTS", {OURS: scan_opponents.native, "numpy": scan_opponents.numpy})
    monkeypatch.setattr(join_opponents, "OPPONENTS", {OURS: join_opponents.native_pairs})
    result = run(PLAN, lambda _: None)
    assert result.absent == [OURS]
    assert {row.opponent for row in result.rows} == {"numpy"}
    assert result.bars == []
