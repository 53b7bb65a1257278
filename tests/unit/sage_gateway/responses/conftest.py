"""One gateway in front of a scripted engine that makes responses in the background too, for a whole module."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fixtures.mesh import Mesh, open_mesh
from fixtures.nats import NatsProcess
from fixtures.scripted_chat import ScriptedChat

from sage_mesh.edge.edge import EdgeTimings


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored_mesh(nats_server: NatsProcess) -> AsyncIterator[Mesh]:
    """A gateway with keys, and the engine behind the thinnest scheduler, which does not answer inquiries."""
    async with open_mesh(nats_server, os.urandom(3).hex(), timings=EdgeTimings(ask_after=60)) as mesh:
        engine = ScriptedChat()
        await mesh.host(engine)
        await mesh.dispatch_to(engine.spec.engine_id)
        await mesh.gateway(api_keys={"sk-right": mesh.name, "sk-other": f"other-{mesh.name}"})
        mesh.make_responses()
        yield mesh


@pytest.fixture
def engine(stored_mesh: Mesh) -> ScriptedChat:
    """The engine, with nothing left of the test before."""
    scripted: ScriptedChat = stored_mesh.engine
    scripted.reset()
    return scripted
