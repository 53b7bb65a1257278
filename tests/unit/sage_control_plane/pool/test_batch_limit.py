"""Batches are no larger than what keeps the tightest target for the time between tokens."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from fixtures.control_plane import Pool, engine, request

from sage_control_plane.pool.batch_limit import FIRST_BATCH, UNTOLD_ANSWERS, limit_batch
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.prediction.demand import Demand
from sage_control_plane.request.engine_state import EngineLoad
from sage_control_plane.request.request import ServiceLevel

BASE_SECONDS, SECONDS_PER_ANSWER = 0.006, 0.00035


def entry(*, base: float = BASE_SECONDS, known: bool = True, load: EngineLoad | None = None) -> EngineEntry:
    """An engine of 256 seats whose token takes ``base`` and a bit for each answer beside it."""
    pool = Pool(replace(engine("e", concurrency=256), load=load))
    made = pool.manager.engines["e"]
    forecast, random, now = made.forecast, Random(1), pool.now
    for _ in range(600 if known else 0):
        began, forecast.decoding = forecast.counters, random.randint(1, 200)
        now += 100 * (base + SECONDS_PER_ANSWER * forecast.decoding)
        forecast.advance(now)
        forecast.learn_answer(began, 101)
    forecast.decoding = 0
    return made


def asked(tpot_ms: int, output_tokens: int = 100) -> Demand:
    """A stream of requests with this target."""
    stream = Demand()
    stream.arrived(0.0, 0.5, tpot_ms)
    stream.answered(output_tokens)
    return stream


def test_the_batch_keeps_the_target() -> None:
    made = entry()
    limit_batch(made, asked(50))
    exact = (0.050 - BASE_SECONDS) / SECONDS_PER_ANSWER
    assert made.credits.request_cap == pytest.approx(exact, abs=2.0)
    assert made.pace_known
    limit_batch(made, asked(20))
    assert made.credits.request_cap == pytest.approx((0.020 - BASE_SECONDS) / SECONDS_PER_ANSWER, abs=2.0)


def test_bulk_work_leaves_room_for_more_prompts_than_usual_the_more_the_shorter_the_answers_are() -> None:
    made = entry()
    limit_batch(made, asked(50))
    assert made.steady == made.credits.request_cap
    forecast = made.forecast
    # A fifth of the time goes to prompts of 40 ms.
    forecast._fits.generating_price = 0.0001
    for _ in range(200):
        forecast.advance(forecast.counters.at + 0.2)
        forecast.computed(True, 400)
    limit_batch(made, asked(50, output_tokens=1000))
    long, cap = made.steady, made.credits.request_cap
    limit_batch(made, asked(50, output_tokens=20))
    assert made.steady is not None
    assert long is not None
    assert made.steady < long <= cap
    # With so many beside prompts that vary so much, fewer would keep their target.
    assert made.credits.request_cap < cap
    limit_batch(made, None)
    assert made.steady is None


def test_without_a_target_all_seats_are_used() -> None:
    made = entry()
    limit_batch(made, asked(50))
    limit_batch(made, None)
    assert made.credits.request_cap == 256


def test_a_target_that_no_batch_keeps_limits_nothing() -> None:
    slow = entry(base=0.2)
    limit_batch(slow, asked(50))
    assert slow.credits.request_cap == 256


def test_an_engine_of_which_nothing_is_known_begins_small_and_grows_while_it_says_that_it_keeps_the_target() -> None:
    silent = entry(known=False)
    limit_batch(silent, asked(50))
    assert silent.credits.request_cap == FIRST_BATCH
    assert not silent.pace_known
    quick = entry(known=False, load=EngineLoad(inter_token_seconds=0.02))
    for _ in range(40):
        quick.credits.take(1)
    limit_batch(quick, asked(50))
    assert quick.credits.request_cap == 60
    slow = entry(known=False, load=EngineLoad(inter_token_seconds=0.06))
    for _ in range(40):
        slow.credits.take(1)
    limit_batch(slow, asked(50))
    # No batch generates fewer tokens a second than a smaller one, so this many keep the target for certain.
    assert slow.credits.request_cap == int(40 * 0.05 / 0.06)


def test_the_tightest_target_of_what_was_asked_for_lately_counts() -> None:
    state = engine("e", concurrency=256)
    pool = Pool(state, policy="hybrid")
    for request_id, tpot_ms in (("patient", 100), ("quick", 50)):
        made = request(request_id, pool.now, model="m", tokens=20)
        slo = ServiceLevel(ttft_ms=500, tpot_ms=tpot_ms)
        pool.submit(replace(made, classification=replace(made.classification, slo=slo)))
        pool.finish(request_id)
        pool.manager.engine_updated(state, pool.now)
    group = pool.manager._reservation.group(pool.manager.engines["e"])
    tightest = group.tightest(pool.now)
    assert tightest is not None
    assert tightest.tpot_ms == 50
    assert pool.manager.engines["e"].credits.request_cap == FIRST_BATCH
    pool.now += 300.0
    pool.manager.engine_updated(state, pool.now)
    assert pool.manager.engines["e"].credits.request_cap == 256


def test_answers_in_one_piece_limit_no_batch_and_lift_no_limit() -> None:
    state = engine("e", concurrency=256)
    pool = Pool(state, policy="hybrid")
    slo = ServiceLevel(ttft_ms=500, tpot_ms=50)

    def serve(request_id: str, *, streaming: bool) -> None:
        made = request(request_id, pool.now, model="m", tokens=20)
        asked = replace(made.classification, slo=slo, streaming=streaming)
        pool.submit(replace(made, classification=asked))
        pool.finish(request_id)
        pool.manager.engine_updated(state, pool.now)

    serve("whole", streaming=False)
    assert pool.manager.engines["e"].credits.request_cap == 256
    serve("streamed", streaming=True)
    serve("whole again", streaming=False)
    assert pool.manager.engines["e"].credits.request_cap == FIRST_BATCH
    pool.now += 300.0
    serve("whole, later", streaming=False)
    assert pool.manager.engines["e"].credits.request_cap == 256


def test_an_engine_whose_answers_all_ran_with_as_many_grows_by_their_own_pace() -> None:
    """Then no fit shows how it slows down, and nothing else would ever raise the limit."""
    made = entry(known=False)
    forecast, now = made.forecast, made.forecast.counters.at
    for seconds, grows in ((0.010, True), (0.060, False)):
        for _ in range(40):
            began, forecast.decoding = forecast.counters, FIRST_BATCH
            now += 100 * seconds
            forecast.advance(now)
            forecast.learn_answer(began, 101)
            forecast._fits.tpot.trusted = forecast._pool.tpot.trusted = False
        made.credits.requests = FIRST_BATCH
        limit_batch(made, asked(50))
        assert (made.credits.request_cap > FIRST_BATCH) == grows


def test_an_engine_that_never_counts_its_tokens_is_not_held_small_for_ever() -> None:
    made = entry(known=False)
    made.untold_answers = UNTOLD_ANSWERS - 1
    limit_batch(made, asked(50))
    assert made.credits.request_cap == FIRST_BATCH
    made.untold_answers += 1
    limit_batch(made, asked(50))
    assert made.credits.request_cap == 256


def test_while_predictions_err_the_batch_is_the_smaller_the_more_they_do() -> None:
    batches = []
    for error in (0.0, 0.05, 0.2):
        made = entry()
        for _ in range(1000):
            made.forecast._fits.tpot.error.record(1.0 + error, 1.0)
        limit_batch(made, asked(50))
        batches.append(made.credits.request_cap)
    assert batches == sorted(batches, reverse=True)
    assert batches[0] > batches[2] > 0


def test_prompts_count_also_where_their_price_was_not_known_when_they_were_computed() -> None:
    made = entry()
    forecast = made.forecast
    forecast._fits.generating_price = forecast._pool.generating_price = 0.0
    for _ in range(200):
        forecast.advance(forecast.counters.at + 0.2)
        forecast.computed(True, 400)
    assert forecast.usual_prompt_share == 0.0
    forecast._fits.generating_price = 0.0001
    assert forecast.usual_prompt_share == pytest.approx(0.2, rel=0.1)
