"""How full the pool is, which is what holds less urgent work back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.interpreted_only import interpreted_only

from sage_control_plane.pool.capacity import FIRST_LIMIT
from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.learning import PoolLearning
from sage_control_plane.request.engine_state import CapacitySource
from sage_control_plane.settings import ControlSettings


def taught(*engines: str) -> Pool:
    """Engines that compute a prompt of 100 tokens in 100 ms, one of 1,000 in 1 s, as the pool knows."""
    pool = Pool(*(engine(name, concurrency=100) for name in engines), settings=ControlSettings(prompt_seconds=0.15))
    for number in range(120):
        tokens = 200 + 40 * (number % 5)
        pool.submit(request(f"w{number}", pool.now, tokens=tokens))
        pool.now += tokens / 2 / 1000
        pool.manager.first_token(f"w{number}", pool.running[f"w{number}"].attempt, pool.now)
        pool.finish(f"w{number}")
    return pool


def test_one_long_prompt_fills_its_own_engine_and_no_other() -> None:
    pool = taught("a", "b", "c", "d")
    pool.submit(request("long", pool.now, tokens=4000))
    assert 0.2 < pool.manager.saturation < 0.3


def test_the_pool_is_full_when_every_engine_has_its_fill_of_prompts_and_empty_when_they_begin() -> None:
    pool = taught("a", "b")
    pool.submit(request("x", pool.now, tokens=4000), request("y", pool.now, tokens=4000))
    assert pool.manager.saturation > 0.99
    for name in ("x", "y"):
        pool.manager.first_token(name, pool.running[name].attempt, pool.now)
    assert pool.manager.saturation < 0.02


def test_the_prompts_of_an_engine_that_is_gone_fill_nothing() -> None:
    pool = taught("a", "b")
    pool.submit(request("x", pool.now, tokens=4000))
    pool.manager.engine_lost(pool.running["x"].engine_id, "it has died", pool.now)
    assert pool.manager.saturation < 0.02


def test_what_was_learned_of_a_server_is_forgotten_when_another_takes_its_place() -> None:
    state = engine("e", concurrency=64)
    spec = replace(state.spec, capacity_source=CapacitySource.UNKNOWN, url="http://one")
    pool = Pool(replace(state, spec=spec))
    credits = pool.manager.engines["e"].credits
    assert credits.learned is not None
    for _ in range(4):
        credits.learned.began(credits.learned.limit)
    learned = credits.learned.limit
    assert learned > FIRST_LIMIT
    pool.manager.engine_updated(replace(state, spec=replace(spec, labels=(("zone", "b"),))), pool.now)
    assert credits.learned.limit == learned
    pool.manager.engine_updated(replace(state, spec=replace(spec, url="http://other")), pool.now)
    assert (credits.learned.limit, credits.request_cap) == (FIRST_LIMIT, FIRST_LIMIT)


@interpreted_only
def test_the_time_for_which_a_seat_is_held_is_judged_with_the_prompt_that_is_not_cached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[float] = []

    def hold_seconds(self: PoolLearning, entry: EngineEntry, attempt: DispatchedAttempt) -> float:
        seen.append(attempt.uncached_tokens)
        return 1.0

    monkeypatch.setattr(PoolLearning, "hold_seconds", hold_seconds)
    pool = Pool(engine("e"), policy="hybrid")
    for number in range(3):
        pool.submit(request(f"r{number}", pool.now, tokens=300))
        pool.advance(0.3)
    assert seen
    assert set(seen) == {150.0}
