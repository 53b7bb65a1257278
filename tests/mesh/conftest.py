"""A whole mesh of real processes, shared by the tests of this suite unless they break it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh


# Down again after the last test here: idle, it takes a sixteenth of a processor from all tests that follow.
@pytest.fixture(scope="package")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """The embedded default: MiniLM and the extractive engine, one process of each service."""
    with isolated_mesh(tmp_path_factory.mktemp("mesh")) as running:
        yield running
