"""A whole mesh of real processes, shared by the tests of this suite unless they break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """The embedded default: MiniLM and the extractive engine, one process of each service."""
    with isolated_mesh(tmp_path_factory.mktemp("mesh")) as running:
        yield running
