"""An answer in one piece shows nothing before its last token, and must not be mistaken for a late first one."""

from __future__ import annotations

from fixtures.control_plane import Pool, engine, request

from sage_control_plane.settings import ControlSettings
from sage_control_plane.tracking.settings import HedgeSettings


def taught() -> Pool:
    """A pool of one engine that is known to begin after 50 ms."""
    pool = Pool(engine("a", concurrency=100), settings=ControlSettings(hedging=HedgeSettings(ratio=1.0)))
    for number in range(60):
        pool.submit(request(f"w{number}", pool.now))
        pool.now += 0.05
        pool.manager.first_token(f"w{number}", pool.running[f"w{number}"].attempt, pool.now)
        pool.finish(f"w{number}")
    return pool


def queued_tokens(pool: Pool) -> float:
    return pool.manager.engines["a"].forecast.queued_tokens


def test_what_begins_is_predicted_as_before_when_long_answers_come_in_one_piece() -> None:
    pool = taught()
    for number in range(30):
        pool.submit(request(f"whole{number}", pool.now, streaming=False))
        pool.now += 20.0
        pool.finish(f"whole{number}")
    forecast = pool.manager.engines["a"].forecast
    predicted = forecast.ttft_seconds(generates=True, uncached_tokens=50)
    assert predicted is not None
    assert 0.04 < predicted < 0.06
    error = pool.manager.prediction_errors["ttft_generating"]
    assert error is not None
    assert error < 0.2


def test_its_prompt_is_no_longer_queued_when_it_should_have_been_computed() -> None:
    pool = taught()
    pool.submit(request("whole", pool.now, streaming=False))
    assert queued_tokens(pool) == 50
    pool.advance(0.04)
    assert queued_tokens(pool) == 50
    pool.advance(0.04)
    assert queued_tokens(pool) == 0
    pool.advance(20.0)
    pool.finish("whole")
    assert queued_tokens(pool) == 0


def test_its_prompt_is_no_longer_queued_when_a_later_answer_has_begun() -> None:
    pool = taught()
    pool.submit(request("whole", pool.now, streaming=False), request("streamed", pool.now))
    pool.submit(request("later", pool.now, streaming=False))
    assert queued_tokens(pool) == 150
    pool.manager.first_token("streamed", pool.running["streamed"].attempt, pool.now)
    assert queued_tokens(pool) == 50


def test_it_is_never_hedged_for_a_late_first_token() -> None:
    pool = taught()
    pool.manager.engine_updated(engine("b", concurrency=100), pool.now)
    pool.submit(request("whole", pool.now, streaming=False))
    pool.advance(20.0)
    assert pool.manager.totals.hedged == 0


def test_word_of_a_computed_prompt_that_comes_after_the_engine_was_lost_changes_nothing() -> None:
    pool = taught()
    pool.submit(request("whole", pool.now, streaming=False))
    pool.manager.engine_lost("a", "it has died", pool.now)
    pool.advance(1.0)
    pool.manager.engine_updated(engine("b"), pool.now)
    pool.decide()
    assert pool.running["whole"].engine_id == "b"
    assert pool.manager.engines["b"].forecast.queued_tokens == 50
