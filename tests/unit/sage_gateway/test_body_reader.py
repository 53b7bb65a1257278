from __future__ import annotations

from sage_gateway.body_reader import body_limit

MEBIBYTE = 1024 * 1024


def test_the_configured_limit_counts_where_the_mesh_carries_more() -> None:
    assert body_limit(8 * MEBIBYTE, 16 * MEBIBYTE) == 8 * MEBIBYTE


def test_the_meshs_limit_counts_where_it_is_less_and_leaves_room_for_prefix_hashes() -> None:
    room = 1024 * 1024
    limit = body_limit(8 * MEBIBYTE, room)
    assert limit < room
    assert limit + 8 * limit // 128 + 4096 < room


def test_a_mesh_that_carries_nothing_takes_nothing() -> None:
    assert body_limit(8 * MEBIBYTE, 100) == 0
