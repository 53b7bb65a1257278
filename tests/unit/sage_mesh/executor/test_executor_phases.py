"""An engine's phase is told when it changes, not with the next heartbeat."""

from __future__ import annotations

import pytest
from fixtures.engines import FakeEngine
from fixtures.mesh import open_mesh
from fixtures.nats import NatsProcess

from sage_control_plane.request.engine_state import EnginePhase
from sage_mesh.executor import executor


async def test_a_phase_that_changes_is_told_at_once(nats_server: NatsProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "HEARTBEAT_SECONDS", 600.0)
    async with open_mesh(nats_server) as mesh:
        engine = FakeEngine()
        await mesh.host(engine)
        engine.phase = EnginePhase.UNHEALTHY
        assert await mesh.directory.wait_until(lambda d: d.engines["fake-0"].phase is EnginePhase.UNHEALTHY, 10)
        engine.phase = EnginePhase.READY
        assert await mesh.directory.wait_until(lambda d: d.engines["fake-0"].phase is EnginePhase.READY, 10)
