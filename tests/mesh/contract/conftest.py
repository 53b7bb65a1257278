"""A mesh for those who do what they like with it: every path is asked with the key of an operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sage_benchmark.isolated_mesh import IsolatedMesh, isolated_mesh

OPERATOR_KEY = "a-long-key-of-an-operator"


@pytest.fixture(scope="package")
def rough_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IsolatedMesh]:
    """The embedded default. It has a key from the start, or the first one that is made would shut everybody out."""
    keys = f'{{"{OPERATOR_KEY}": {{"tenant": "ops", "operator": true}}}}'
    settings = {
        "SAGE_ACCESS_API_KEYS": keys,
        # As long as a client may be slow.
        "SAGE_GATEWAY_BODY_TIMEOUT_SECONDS": "3",
        "SAGE_GATEWAY_KEEP_ALIVE_SECONDS": "3",
    }
    with isolated_mesh(tmp_path_factory.mktemp("rough"), settings=settings) as running:
        yield running


@pytest.fixture(scope="package")
def operator_key() -> str:
    return OPERATOR_KEY
