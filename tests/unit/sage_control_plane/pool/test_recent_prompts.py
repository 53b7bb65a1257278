"""Who was given how much to compute of late, beside the others."""

from __future__ import annotations

import pytest

from sage_control_plane.pool.recent_prompts import MOST_OF_MEAN, RECENT_SECONDS, RecentPrompts
from sage_control_plane.request.request import RequestKind, Route

CHAT = Route("small", RequestKind.LLM_CHAT)
OTHER = Route("large", RequestKind.LLM_CHAT)


def test_an_engine_is_ahead_above_the_stated_multiple_of_the_mean_and_not_at_it() -> None:
    recent = RecentPrompts()
    recent.add(CHAT, "a", 1000 * MOST_OF_MEAN, 2, 0.0)
    recent.add(CHAT, "b", 1000 * (2 - MOST_OF_MEAN), 2, 0.0)
    assert not recent.is_ahead(CHAT, "a", 0, 0.0)
    recent.add(CHAT, "a", 10, 2, 0.0)
    assert recent.is_ahead(CHAT, "a", 0, 0.0)
    assert not recent.is_ahead(CHAT, "b", 0, 0.0)


def test_engines_that_got_nothing_count_for_the_mean_and_a_lone_engine_is_never_ahead() -> None:
    recent = RecentPrompts()
    recent.add(CHAT, "a", 100, 1, 0.0)
    assert not recent.is_ahead(CHAT, "a", 0, 0.0)
    recent.add(CHAT, "a", 100, 4, 0.0)
    assert recent.is_ahead(CHAT, "a", 0, 0.0)
    assert not recent.is_ahead(CHAT, "never", 0, 0.0)
    assert not recent.is_ahead(OTHER, "a", 0, 0.0), "each route has a mean of its own"


def test_an_excess_that_is_less_than_what_it_saves_does_not_count() -> None:
    recent = RecentPrompts()
    recent.add(CHAT, "a", 3000, 2, 0.0)
    recent.add(CHAT, "b", 1000, 2, 0.0)
    assert recent.is_ahead(CHAT, "a", 999, 0.0)
    assert not recent.is_ahead(CHAT, "a", 1000, 0.0)


def test_old_prompts_count_less_than_new_ones() -> None:
    recent = RecentPrompts()
    recent.add(CHAT, "old", 1000, 2, 0.0)
    recent.add(CHAT, "new", 300, 2, 3 * RECENT_SECONDS)
    assert not recent.is_ahead(CHAT, "old", 0, 3 * RECENT_SECONDS)
    assert recent.is_ahead(CHAT, "new", 0, 3 * RECENT_SECONDS)


@pytest.mark.parametrize("later", [0.0, 5.0])
def test_an_engine_that_is_gone_counts_no_more(later: float) -> None:
    recent = RecentPrompts()
    recent.add(CHAT, "gone", 5000, 3, 0.0)
    recent.add(CHAT, "a", 200, 3, later)
    recent.add(CHAT, "b", 100, 3, later)
    recent.remove("gone")
    assert recent.is_ahead(CHAT, "a", 0, later), "200 of 300 between two"
    recent.remove("a")
    recent.remove("b")
    assert not recent.is_ahead(CHAT, "b", 0, later)
