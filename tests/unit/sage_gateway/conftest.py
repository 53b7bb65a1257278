"""A gateway for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess


@pytest.fixture
async def mesh(nats_server: NatsProcess) -> AsyncIterator[Mesh]:
    """A gateway with an engine behind it."""
    async with gateway_mesh(nats_server) as mesh:
        yield mesh


@pytest.fixture
async def http(mesh: Mesh) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the gateway as its root."""
    async with aiohttp.ClientSession(mesh.url) as session:
        yield session
