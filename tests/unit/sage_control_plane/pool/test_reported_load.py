"""What engines say of their own load narrows credits and stands in for what was not yet seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fixtures.control_plane import Pool, engine, forecast, request

from sage_control_plane.request.engine_state import EngineLoad
from sage_control_plane.settings import ControlSettings

TIGHT = ControlSettings(headroom=0.0)


def test_an_engine_that_keeps_requests_waiting_gets_no_more() -> None:
    state = engine("a", concurrency=8)
    pool = Pool(state, settings=TIGHT)
    pool.submit(*(request(str(n), pool.now) for n in range(4)))
    # One report says little: what has come since the engine's last step waits for the next.
    for _ in range(2):
        pool.manager.engine_updated(replace(state, load=EngineLoad(running=2, waiting=2)), pool.now)
    assert pool.submit(request("more", pool.now)) == []


def test_a_load_that_is_not_known_any_more_leaves_the_credits_alone() -> None:
    state = engine("a", concurrency=8)
    pool = Pool(state, settings=TIGHT)
    pool.submit(*(request(str(n), pool.now) for n in range(4)))
    for _ in range(2):
        pool.manager.engine_updated(replace(state, load=EngineLoad(running=2, waiting=2)), pool.now)
    assert pool.manager.engines["a"].credits.request_cap < 8
    pool.manager.engine_updated(replace(state, load=None), pool.now)
    pool.submit(*(request(f"more-{n}", pool.now) for n in range(4)))
    assert len(pool.running) == 8


def test_an_engines_own_word_on_its_pace_counts_until_enough_was_seen_here() -> None:
    entry = forecast()
    assert entry.tpot_seconds() is None
    entry.update_load(EngineLoad(inter_token_seconds=0.02))
    assert entry.tpot_seconds() == 0.02
    entry.decoding = 1
    for number in range(100):
        began = entry.counters
        entry.advance(5.0 * (number + 1))
        entry.learn_answer(began, 101)
    entry.decoding = 0
    seen = entry.tpot_seconds()
    assert seen is not None
    assert abs(seen - 0.05) < 0.01
    entry.update_load(None)
    assert entry.kv_usage == 0.0


def test_a_burst_is_spread_over_equal_engines_whatever_times_to_first_tokens_they_report() -> None:
    pool = Pool(*(engine(name, concurrency=64) for name in ("a", "b", "c")))
    for name, seconds in (("a", 0.05), ("b", 2.0), ("c", 0.0)):
        load = EngineLoad(first_token_seconds=seconds, queue_seconds=seconds / 2)
        pool.manager.engine_updated(replace(engine(name, concurrency=64), load=load), pool.now)
    pool.submit(*(request(str(number), pool.now) for number in range(60)))
    placed = Counter(dispatch.engine_id for dispatch in pool.running.values())
    assert all(18 <= count <= 22 for count in placed.values()), placed
    assert len(placed) == 3
