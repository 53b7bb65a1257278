"""An engine's phase is told when it changes, not with the next heartbeat."""

from __future__ import annotations

import pytest
from fixtures.engines import FakeEngine
from fixtures.manual_clock import ManualClock
from fixtures.mesh import open_mesh
from fixtures.nats import NatsProcess

from sage_control_plane.request.engine_state import EnginePhase
from sage_mesh.executor import executor
from sage_mesh.executor.hosted_engine import HostedEngine
from sage_mesh.wire.engines import state_from_wire, state_to_wire


async def test_a_phase_that_changes_is_told_at_once(nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "HEARTBEAT_SECONDS", 600.0)
    async with open_mesh(nats_server) as mesh:
        engine = FakeEngine()
        await mesh.host(engine)
        engine.phase = EnginePhase.UNHEALTHY
        assert await mesh.directory.wait_until(lambda d: d.engines["fake-0"].phase is EnginePhase.UNHEALTHY, 10)
        engine.phase = EnginePhase.READY
        assert await mesh.directory.wait_until(lambda d: d.engines["fake-0"].phase is EnginePhase.READY, 10)


def test_how_long_an_engine_has_been_in_its_phase_is_counted_from_each_change() -> None:
    clock = ManualClock()
    hosted, told = HostedEngine(FakeEngine(), clock), []
    for seconds, phase in ((5.0, "STARTING"), (4.0, "STARTING"), (0.5, "READY"), (1.5, "READY"), (1.0, "STARTING")):
        clock.advance(seconds)
        hosted.engine.phase = EnginePhase[phase]  # type: ignore[misc]
        told.append(state_from_wire(state_to_wire(hosted.state("e")), "e").phase_seconds)
    assert told == [0.0, 4.0, 0.0, 1.5, 0.0]
