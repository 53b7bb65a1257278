"""Heartbeats say since when all of an executor's engines are as they describe them."""

from __future__ import annotations

from dataclasses import replace

from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState
from sage_mesh.executor.heartbeat_writer import HeartbeatWriter
from sage_mesh.executor.reported_engine import ReportedEngine

STATES = [EngineState(EngineSpec(name, "test", ()), EnginePhase.READY) for name in ("a", "b")]


def test_a_revision_lasts_until_an_engine_changes_comes_or_goes() -> None:
    a, b = [(ReportedEngine(), state) for state in STATES]
    draining = (a[0], replace(a[1], phase=EnginePhase.DRAINING))
    writer = HeartbeatWriter("x", "test")
    told = [
        writer.next(engines, 0.25).revision for engines in ([a], [a], [a, b], [a, b], [draining, b], [draining], [])
    ]
    assert told == [1, 1, 3, 3, 5, 6, 7]


def test_heartbeats_are_counted_and_say_how_often_they_come() -> None:
    writer = HeartbeatWriter("x", "test")
    sent = [writer.next((), 0.25), writer.next((), 0.25, leaving=True)]
    assert [(one.executor_id, one.service, one.sequence, one.interval_ms, one.leaving) for one in sent] == [
        ("x", "test", 1, 250, False),
        ("x", "test", 2, 250, True),
    ]
