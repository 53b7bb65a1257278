"""What an engine is charged with comes back to nothing, whatever attempts at a request came and went."""

from __future__ import annotations

from dataclasses import replace

from fixtures.control_plane import Pool, engine, request

from sage_common.errors import EngineFailedError
from sage_control_plane.request.engine_state import EngineState, ModelCard, RunningRequest
from sage_control_plane.request.request import Attempt, RequestKind, ServiceLevel, TokensUsed
from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT
from sage_control_plane.tracking.settings import HedgeSettings, RetrySettings


def taught(*states: EngineState) -> Pool:
    """A pool whose first engine is known to begin after 50 ms."""
    pool = Pool(states[0], settings=ControlSettings(hedging=HedgeSettings(ratio=1.0)))
    for number in range(60):
        pool.submit(request(f"t{number}", pool.now))
        pool.now += 0.05
        pool.manager.first_token(f"t{number}", pool.running[f"t{number}"].attempt, pool.now)
        pool.finish(f"t{number}")
    for state in states[1:]:
        pool.manager.engine_updated(state, pool.now)
    return pool


def load(pool: Pool, engine_id: str) -> tuple[int, int, int]:
    forecast = pool.manager.engines[engine_id].forecast
    return forecast.running, forecast.decoding, forecast.queued_tokens


def test_an_answer_in_one_piece_that_was_computed_on_a_lost_engine_is_not_taken_off_the_next_one_twice() -> None:
    pool = taught(engine("a", concurrency=100), engine("b", concurrency=100))
    pool.submit(request("whole", pool.now, streaming=False))
    pool.advance(0.2)
    first = pool.running["whole"].engine_id
    assert load(pool, first) == (1, 1, 0), "its prompt is presumed computed"
    pool.manager.engine_lost(first, "it has died", pool.now)
    pool.decide()
    second = pool.running["whole"].engine_id
    assert second != first
    pool.manager.cancel("whole", now=pool.now)
    pool.decide()
    assert load(pool, second) == (0, 0, 0)


def test_an_adopted_hedge_that_has_begun_ends_like_any_other() -> None:
    pool = Pool(epoch=2)
    earlier = 1 << EPOCH_SHIFT
    pending = request("r", 100.0)
    pending = replace(
        pending, classification=replace(pending.classification, slo=ServiceLevel(ttft_ms=500, tpot_ms=50))
    )
    pool.submit(pending)
    slow = RunningRequest("r", Attempt(1, earlier + 1), started_replying=False, tokens=100)
    fast = RunningRequest("r", Attempt(1, earlier + 2), started_replying=True, tokens=100)
    pool.manager.engine_updated(replace(engine("a"), running=(slow,)), 100.0)
    pool.manager.engine_updated(replace(engine("b"), running=(fast,)), 100.0)
    pool.manager.finished("r", fast.attempt, 101.0, TokensUsed(50, 50))
    assert not pool.manager.holds("r")
    assert pool.manager.outstanding == 0
    assert (load(pool, "a"), load(pool, "b")) == ((0, 0, 0), (0, 0, 0))


def test_a_beginning_that_only_a_heartbeat_shows_takes_the_prompt_out_of_the_engines_queue() -> None:
    pool = taught(engine("a", concurrency=100))
    pool.submit(request("r", pool.now))
    assert load(pool, "a")[2] > 0
    listed = RunningRequest("r", pool.running["r"].attempt, started_replying=True, tokens=100)
    pool.manager.engine_updated(replace(engine("a", concurrency=100), running=(listed,)), pool.now)
    assert load(pool, "a") == (1, 1, 0)


def test_what_waits_for_a_model_that_its_engine_has_dropped_is_refused_soon() -> None:
    state = engine("a", concurrency=1)
    adapter = ModelCard("adapter", frozenset({RequestKind.LLM_CHAT}))
    both = replace(state, spec=replace(state.spec, models=(*state.spec.models, adapter)))
    pool = Pool(both)
    pool.submit(request("busy", 100.0, model="m"), request("waits", 100.0, model="adapter"))
    assert set(pool.running) == {"busy"}
    listed = RunningRequest("busy", pool.running["busy"].attempt, started_replying=False, tokens=100)
    pool.manager.engine_updated(replace(state, running=(listed,)), 100.1)
    assert pool.manager.next_deadline() is not None
    pool.advance(10.0)
    assert not pool.manager.holds("waits")


def test_a_tenant_gets_its_charge_back_when_every_try_has_failed() -> None:
    pool = Pool(engine("a"), settings=ControlSettings(retries=RetrySettings(max_tries=1)))
    pool.submit(request("r", 100.0))
    tracked = pool.manager._table.get("r")
    assert tracked is not None
    assert tracked.charged_seconds > 0
    error = EngineFailedError("it broke", retryable=True)
    pool.manager.failed("r", pool.running["r"].attempt, error, 100.1, started_replying=False)
    assert tracked.charged_seconds == 0


def test_two_attempts_lost_with_one_executor_count_as_one_try() -> None:
    pool = taught(*(engine(name, concurrency=100) for name in "abcd"))
    pool.submit(request("r", pool.now))
    first = pool.running["r"].engine_id
    pool.advance(1.0)
    assert pool.manager.totals.hedged == 1
    second = pool.running["r"].engine_id
    assert second != first
    for engine_id in (first, second):
        pool.manager.engine_lost(engine_id, "its executor is silent", pool.now)
    pool.decide()
    third = pool.running["r"].engine_id
    assert third not in (first, second)
    pool.manager.engine_lost(third, "its executor is silent", pool.now)
    pool.decide()
    assert pool.running["r"].engine_id not in (first, second, third)
    assert not pool.refusals()
