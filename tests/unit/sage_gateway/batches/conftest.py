"""A gateway that runs batches, and the real ``openai`` client as a tenant of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from fixtures.batch_client import client_of
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess


@pytest.fixture
async def mesh(nats_server: NatsProcess) -> AsyncIterator[Mesh]:
    async with gateway_mesh(nats_server) as mesh:
        mesh.run_batches()
        yield mesh


@pytest.fixture
async def client(mesh: Mesh) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(mesh.url, mesh.name) as client:
        yield client
