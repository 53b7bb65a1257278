"""Waiting for an engine that was ordered."""

from __future__ import annotations

import asyncio

import pytest

from sage_cli.commands.engine_servers import _until_ready
from sage_client.management.translation import engine_view
from sage_client.management.views import EngineView
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState

SPEC = EngineSpec("big-1a2b", "llamacpp", (), labels=(("name", "big"),))
LOADING = engine_view(EngineState(SPEC, EnginePhase.STARTING))


class LoadingMesh:
    """A mesh whose engine goes on loading."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def engines(self) -> list[EngineView]:
        self.asked.set()
        return [LOADING]


async def test_who_stops_waiting_is_told_that_the_engine_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    mesh = LoadingMesh()
    waiting = asyncio.create_task(_until_ready(mesh, LOADING))  # type: ignore[arg-type]
    await mesh.asked.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert "big goes on starting; `sage engine stop big` ends it" in capsys.readouterr().err
