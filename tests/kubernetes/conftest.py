"""The manifests need what renders them."""

from __future__ import annotations

import pytest
from fixtures.rendered_overlays import renderer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of rendered overlays where nothing renders them."""
    if renderer() is not None:
        return
    skip = pytest.mark.skip(reason="neither kustomize nor a kubectl with kustomize 5 is here to render the overlays")
    for item in items:
        if "kubernetes" in item.path.parts and "overlay" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)
