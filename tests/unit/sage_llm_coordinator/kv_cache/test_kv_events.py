"""Events as vLLM writes them, of two generations, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from sage_llm_coordinator.kv_cache.kv_events import BlocksRemoved, BlocksStored, CacheCleared, read_batch

STORED: dict[str, Any] = {
    "type": "BlockStored",
    "block_hashes": [b"a", b"b"],
    "parent_block_hash": None,
    "token_ids": [1, 2, 3, 4],
    "block_size": 2,
    "lora_id": None,
    "medium": "GPU",
    "lora_name": None,
    "extra_keys": [None, None],
    "group_idx": 0,
    "of a later version": 1,
}


def test_events_are_maps_and_of_older_servers_arrays() -> None:
    as_map = [
        1.5,
        [STORED, {"type": "BlockRemoved", "block_hashes": [b"a"], "medium": "GPU"}, {"type": "AllBlocksCleared"}],
        0,
    ]
    as_array = [
        1.5,
        [
            ["BlockStored", [b"a", b"b"], None, [1, 2, 3, 4], 2, None, "GPU", None, [None, None]],
            ["BlockRemoved", [b"a"], "GPU"],
            ["AllBlocksCleared"],
        ],
    ]
    stored = BlocksStored((b"a", b"b"), None, [1, 2, 3, 4], 2, "", [None, None])
    for batch in (as_map, as_array):
        assert read_batch(batch) == [stored, BlocksRemoved((b"a",)), CacheCleared()]


@pytest.mark.parametrize("other", [{"medium": "CPU"}, {"group_idx": 1}, {"type": "SomethingNew"}])
def test_slower_tiers_further_groups_and_what_is_not_known_are_passed_over(other: dict[str, Any]) -> None:
    assert read_batch([0.0, [STORED | other]]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "text",
        [1.0],
        [1.0, 5],
        [1.0, [5]],
        [1.0, [STORED | {"block_hashes": None}]],
        [1.0, [STORED | {"block_hashes": [1.5]}]],
        [1.0, [STORED | {"token_ids": None}]],
        [1.0, [STORED | {"block_size": 0}]],
        [1.0, [STORED | {"parent_block_hash": []}]],
    ],
)
def test_what_is_no_batch_of_events_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"event|batch"):
        read_batch(wrong)
