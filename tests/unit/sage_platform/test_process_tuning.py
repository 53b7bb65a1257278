from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from sage_platform.process_tuning import settle_garbage_collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def test_what_has_been_loaded_since_is_kept_out_of_collections_too() -> None:
    settle_garbage_collector()
    loaded = [[number] for number in range(1_000)]
    assert walked(loaded) == len(loaded)
    settle_garbage_collector()
    assert walked(loaded) == 0
    assert gc.get_threshold()[0] > 700


def walked(objects: list[list[int]]) -> int:
    """How many of these a full collection would look at."""
    collectable = {id(found) for found in gc.get_objects()}
    return sum(id(one) in collectable for one in objects)
