"""A mesh in front of servers that misbehave."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fixtures.mesh import open_mesh
from fixtures.nats import NatsProcess
from fixtures.outside_mesh import Outside


@pytest.fixture
async def outside(nats_server: NatsProcess, request: pytest.FixtureRequest) -> AsyncIterator[Outside]:
    """A mesh without engines; a test's parameter, if it has one, is the gateway's settings."""
    settings: dict[str, Any] = getattr(request, "param", {})
    async with open_mesh(nats_server, os.urandom(3).hex()) as mesh:
        await mesh.scheduler(f"scheduler-{mesh.name}")
        await mesh.gateway(**settings)
        async with aiohttp.ClientSession(mesh.url, timeout=aiohttp.ClientTimeout(total=20)) as http:
            yield Outside(mesh, http)
