"""Meshes over several hosts, which are network namespaces here; without root, or such namespaces, all is skipped."""

from __future__ import annotations

import pytest

from sage_benchmark.hosts.host_network import why_impossible


@pytest.fixture(scope="session", autouse=True)
def _possible() -> None:
    if reason := why_impossible():
        pytest.skip(reason)
