from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sage_platform.garbage import settle_garbage_collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def test_what_has_been_loaded_since_is_kept_out_of_collections_too() -> None:
    settle_garbage_collector()
    frozen = gc.get_freeze_count()
    loaded = [[number] for number in range(10_000)]
    settle_garbage_collector()
    assert gc.get_freeze_count() >= frozen + len(loaded)
    assert gc.get_threshold()[0] > 700
