"""A mesh of its own for each test of the scheduler: leases and orders are state that tests must not share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fixtures.mesh import Mesh, open_mesh
from fixtures.nats import start_nats


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Mesh]:
    """Nats, an edge; the test adds executors and schedulers."""
    directory = tmp_path / "nats"
    directory.mkdir()
    nats = start_nats(directory)
    try:
        async with open_mesh(nats) as made:
            yield made
    finally:
        nats.stop()
