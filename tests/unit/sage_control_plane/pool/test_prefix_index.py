"""What engines tell of their caches, beside what is presumed of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import request

from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_control_plane.request.request import PendingRequest


def prompt(*blocks: int) -> PendingRequest:
    made = request("r", tokens=1600)
    return replace(made, classification=replace(made.classification, prefix_blocks=blocks))


def test_an_engine_that_tells_is_taken_at_its_word() -> None:
    index = PrefixIndex()
    index.add("e", prompt(1, 2, 3))
    assert index.report(CachedBlocks("e", 7, 1, True, (5, 6)))
    assert index.tells("e")
    assert index.matched("e", prompt(1, 2, 3)) == 0.0
    assert index.matched("e", prompt(5, 6, 9)) == pytest.approx(2 / 3)
    assert index.latest(prompt(5, 6)) == "e"
    assert index.report(CachedBlocks("e", 7, 2, stored=(9,), removed=(5,)))
    assert index.matched("e", prompt(5, 6, 9)) == 0.0, "a beginning that is gone is worth nothing"


def test_what_is_dispatched_counts_until_the_engine_says_otherwise() -> None:
    index = PrefixIndex()
    index.report(CachedBlocks("e", 7, 1, True))
    index.add("e", prompt(1, 2))
    assert index.matched("e", prompt(1, 2)) == 1.0
    index.report(CachedBlocks("e", 7, 2, removed=(2,)))
    assert index.matched("e", prompt(1, 2)) == 0.5


def test_a_message_that_is_missing_ends_the_account_until_it_begins_again() -> None:
    index = PrefixIndex()
    assert not index.report(CachedBlocks("e", 7, 2, stored=(1,))), "nobody has heard its beginning"
    assert index.report(CachedBlocks("e", 7, 2, True, (1,)))
    assert index.report(CachedBlocks("e", 7, 2, stored=(8,))), "it came twice"
    assert index.matched("e", prompt(8)) == 0.0
    assert not index.report(CachedBlocks("e", 7, 4, stored=(2,)))
    assert not index.tells("e")
    assert not index.report(CachedBlocks("e", 7, 5, stored=(3,)))
    assert index.report(CachedBlocks("e", 7, 6, True, (3,)))
    assert not index.report(CachedBlocks("e", 8, 7)), "another account has to begin"


def test_a_cache_that_is_not_known_any_more_is_judged_by_dispatches_again() -> None:
    index = PrefixIndex(blocks_per_engine=2)
    index.report(CachedBlocks("e", 7, 1, True, (1, 2, 3)))
    assert index.matched("e", prompt(1, 2, 3)) == 1.0, "it tells, so it is not bounded as a guess is"
    assert index.report(CachedBlocks("e", 0))
    assert not index.tells("e")
    assert index.matched("e", prompt(1, 2, 3)) == 0.0, "most likely it went with its server"
    index.add("e", prompt(4))
    assert index.matched("e", prompt(4)) == 1.0
    index.remove("e")
    assert index.matched("e", prompt(4)) == 0.0
    assert index.latest(prompt(4)) is None
