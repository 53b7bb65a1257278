"""Opinions on engines: who begins soonest, who can just meet the target, who has the prompt."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from fixtures.control_plane import engine, forecast, request

from sage_control_plane.placement.scorer_weights import ScorerWeights
from sage_control_plane.placement.scorers import PredictedHeadroom, PrefixAffinity, SessionAffinity, SoonestStart
from sage_control_plane.pool.breaker import Breaker
from sage_control_plane.pool.breaker_settings import BreakerSettings
from sage_control_plane.pool.credits import Credits
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.session_index import SessionIndex
from sage_control_plane.prediction.latency import Load
from sage_control_plane.prediction.pace import Pace
from sage_control_plane.request.cached_blocks import CachedBlocks
from sage_control_plane.request.request import PendingRequest


def entry(engine_id: str, slowness: float = 1.0, *, known: bool = True) -> EngineEntry:
    state = engine(engine_id, concurrency=8)
    made = EngineEntry(engine_id, state, Credits(state.spec, 0.0), Breaker(BreakerSettings()), Pace(), 1e-3, forecast())
    random = Random(1)
    for _ in range(100 if known else 0):
        tokens, load = random.randrange(2000), Load(random.randrange(2000), random.randrange(8))
        seconds = slowness * (0.01 + (tokens + load.queued_tokens) / 8000)
        made.forecast.learn_ttft(True, tokens, load, seconds)
    return made


def prompt(request_id: str, *blocks: int) -> PendingRequest:
    made = request(request_id, tokens=1600)
    return replace(made, classification=replace(made.classification, prefix_blocks=blocks))


def test_the_engine_that_begins_soonest_scores_best() -> None:
    scorer, item = SoonestStart(PrefixIndex()), request("r", tokens=1000)
    fast, slow, unknown = entry("fast"), entry("slow", 5.0), entry("unknown", known=False)
    assert scorer.score(fast, item, 0.0) > scorer.score(unknown, item, 0.0) > scorer.score(slow, item, 0.0)


def test_headroom_packs_onto_the_engine_that_can_just_meet_the_target() -> None:
    scorer, item = PredictedHeadroom(PrefixIndex()), request("r", tokens=1000)
    idle, busy, hopeless = entry("idle"), entry("busy"), entry("hopeless", 20.0)
    busy.forecast.queued_tokens = 2000
    scores = [scorer.score(view, item, 0.0) for view in (busy, idle, hopeless)]
    assert scores == sorted(scores, reverse=True)


def test_when_nobody_can_meet_the_target_the_idlest_scores_best() -> None:
    scorer, item = PredictedHeadroom(PrefixIndex()), request("r", tokens=1000)
    idle, busy = entry("idle", 20.0), entry("busy", 20.0)
    busy.credits.take(10)
    assert scorer.score(idle, item, 0.0) > scorer.score(busy, item, 0.0)


def test_a_cached_prompt_draws_its_request_unless_the_wait_costs_more() -> None:
    prefixes = PrefixIndex()
    scorer, holder, other = PrefixAffinity(prefixes), entry("holder"), entry("other")
    prefixes.add("holder", prompt("first", 1, 2, 3, 4, 5))
    again = prompt("again", 1, 2, 3, 4, 9)
    assert scorer.score(holder, again, 0.0) == pytest.approx(0.8)
    assert scorer.score(other, again, 0.0) == 0.0
    holder.forecast.queued_tokens = 5000
    assert scorer.score(holder, again, 0.0) == 0.0


def test_a_short_match_draws_nobody() -> None:
    prefixes = PrefixIndex()
    prefixes.add("holder", prompt("first", 1))
    again = prompt("again", 1, *range(10, 20))
    assert PrefixAffinity(prefixes).score(entry("holder"), again, 0.0) == 0.0
    half = prompt("half", 1, 11)
    assert PrefixAffinity(prefixes).score(entry("holder"), half, 0.0) == pytest.approx(0.5)


def test_a_beginning_that_many_share_draws_no_more_to_who_was_given_most_while_a_conversation_goes_on_there() -> None:
    prefixes = PrefixIndex()
    scorer, holder = PrefixAffinity(prefixes), entry("holder")
    prefixes.add("holder", prompt("first", 1, 2, 3, 4))
    prefixes.add("holder", prompt("second", 1, 2, 5, 6))
    begins, goes_on = prompt("third", 1, 2, 7), prompt("first again", 1, 2, 3, 4, 8)
    route = begins.classification.route
    assert scorer.score(holder, begins, 0.0) == pytest.approx(2 / 3)
    prefixes.recent.add(route, "holder", 9000, 2, 0.0)
    prefixes.recent.add(route, "other", 1000, 2, 0.0)
    assert scorer.score(holder, begins, 0.0) == 0.0
    assert scorer.score(holder, goes_on, 0.0) == pytest.approx(0.8)
    prefixes.recent.add(route, "other", 8000, 2, 0.0)
    assert scorer.score(holder, begins, 0.0) == pytest.approx(2 / 3)


def test_a_match_branches_where_other_prompts_went_on_or_a_second_one_ended() -> None:
    prefixes = PrefixIndex()
    prefixes.add("e", prompt("a", 1, 2, 3))
    assert not prefixes.match("e", prompt("goes on", 1, 2, 3, 4)).branches
    assert prefixes.match("e", prompt("turns off", 1, 2, 9)).branches
    prefixes.add("e", prompt("b", 1, 2, 3))
    assert prefixes.match("e", prompt("goes on", 1, 2, 3, 4)).branches


def test_the_index_forgets_the_least_used_end_of_prompts_and_engines_that_are_gone() -> None:
    prefixes = PrefixIndex(blocks_per_engine=4)
    prefixes.add("e", prompt("a", 1, 2, 3))
    prefixes.add("e", prompt("b", 1, 4, 5))
    assert prefixes.matched("e", prompt("b", 1, 4, 5)) == 1.0
    assert prefixes.matched("e", prompt("a", 1, 2, 3)) < 1.0
    assert prefixes.latest(prompt("b", 1, 4, 6)) == "e"
    prefixes.remove("e")
    assert prefixes.matched("e", prompt("b", 1, 4, 5)) == 0.0
    assert prefixes.latest(prompt("b", 1, 4, 5)) is None


def of_session(session: int, *blocks: int) -> PendingRequest:
    made = prompt(f"s{session}", *blocks)
    return replace(made, classification=replace(made.classification, session=session))


def test_a_session_goes_on_where_it_was_unless_the_wait_costs_more() -> None:
    prefixes = PrefixIndex()
    scorer, last, other = SessionAffinity(prefixes), entry("last"), entry("other")
    prefixes.add("other", of_session(7))
    prefixes.add("last", of_session(7))
    assert scorer.score(last, of_session(7), 0.0) == 1.0
    assert scorer.score(other, of_session(7), 0.0) == 0.0
    assert scorer.score(last, of_session(8), 0.0) == scorer.score(last, prompt("none"), 0.0) == 0.0
    last.forecast.queued_tokens = 5000
    assert scorer.score(last, of_session(7), 0.0) == 0.0


def test_a_session_adds_nothing_to_what_is_known_to_be_cached_or_to_be_gone() -> None:
    prefixes = PrefixIndex()
    scorer, last = SessionAffinity(prefixes), entry("last")
    prefixes.add("last", of_session(7, 1, 2, 3))
    assert scorer.score(last, of_session(7, 1, 2, 3, 4), 0.0) == pytest.approx(0.25)
    prefixes.report(CachedBlocks("last", 5, 1, True))
    assert scorer.score(last, of_session(7, 1, 2, 3, 4), 0.0) == 0.0


def test_of_sessions_the_longest_unused_are_forgotten() -> None:
    sessions = SessionIndex(most=2)
    for session, engine_id in ((1, "a"), (2, "b"), (1, "a"), (3, "c"), (0, "none")):
        sessions.add(session, engine_id)
    assert [sessions.get(session) for session in (1, 2, 3, 0)] == ["a", None, "c", None]


def test_weights_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="scorer weights"):
        ScorerWeights(0.0, 0.0, 0.0, 0.0, 0.0)
