"""Filters keep off an engine what it could not do in time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from fixtures.control_plane import Pool, engine, request

from sage_control_plane.placement.filters import PrefillBudget
from sage_control_plane.request.engine_state import EngineState
from sage_control_plane.request.request import PendingRequest, ServiceLevel
from sage_control_plane.settings import ControlSettings

STEP_SECONDS = 0.02
SECONDS_PER_TOKEN = 1 / 8_000


def taught(pool: Pool, engine_id: str) -> None:
    """Let an engine's forecast know that a token takes 20 ms, and a prompt 1 s for 8,000 tokens."""
    forecast, random, now = pool.manager.engines[engine_id].forecast, Random(1), pool.now
    for _ in range(100):
        began, forecast.decoding = forecast.counters, 1
        tokens = random.uniform(0, 20_000)
        forecast.computed(True, tokens)
        now += 100 * STEP_SECONDS + tokens * SECONDS_PER_TOKEN
        forecast.advance(now)
        forecast.learn_answer(began, 101)
    pool.now = now
    forecast.decoding = 0


def paced(request_id: str, tpot_ms: int, input_tokens: int) -> PendingRequest:
    made = request(request_id, 100.0)
    classification = replace(
        made.classification, slo=ServiceLevel(ttft_ms=5_000, tpot_ms=tpot_ms), input_tokens=input_tokens
    )
    return replace(made, classification=classification)


def pool(state: EngineState) -> Pool:
    made = Pool(state, settings=ControlSettings(prompt_seconds=0.15, headroom=0.0))
    taught(made, state.spec.engine_id)
    return made


def begin(pool: Pool, request_id: str) -> None:
    pool.manager.first_token(request_id, pool.running[request_id].attempt, pool.now)


def dispatched(pool: Pool) -> list[str]:
    return [decision.request_id for decision in pool.dispatches()]


def test_prompts_wait_while_more_of_them_would_break_the_pace_of_an_answer_under_way() -> None:
    tight = pool(engine("e", concurrency=16))
    tight.submit(paced("answer", 50, 80))
    begin(tight, "answer")
    tight.manager.engines["e"].forecast.prompt_share = 0.6
    # 45 ms less 20 for a token leave room for 25 ms: 200 tokens, less half of a prompt.
    tight.submit(*(paced(f"r{n}", 50, 80) for n in range(10)))
    assert 2 <= len(dispatched(tight)) < 5
    begin(tight, dispatched(tight)[1])
    before = len(dispatched(tight))
    tight.decide()
    assert len(dispatched(tight)) > before


def test_a_burst_of_prompts_is_let_through() -> None:
    idle = pool(engine("e", concurrency=16))
    idle.submit(paced("answer", 50, 80))
    begin(idle, "answer")
    idle.submit(*(paced(f"r{n}", 50, 80) for n in range(10)))
    assert len(dispatched(idle)) == 11


def test_without_a_target_for_the_pace_only_the_wait_of_prompts_counts() -> None:
    loose = pool(engine("e", concurrency=16))
    loose.submit(paced("answer", 0, 80))
    begin(loose, "answer")
    loose.manager.engines["e"].forecast.prompt_share = 0.6
    loose.submit(*(paced(f"r{n}", 0, 80) for n in range(10)))
    assert len(dispatched(loose)) == 11


def test_an_engine_that_cannot_keep_the_pace_at_all_still_gets_prompts() -> None:
    slow = pool(engine("e", concurrency=16))
    slow.submit(paced("answer", 10, 8))
    begin(slow, "answer")
    for number in range(10):
        slow.submit(paced(f"r{number}", 10, 8))
        begin(slow, f"r{number}")
    assert len(dispatched(slow)) == 11


def test_the_pace_counts_no_more_when_the_answer_that_asked_for_it_has_ended() -> None:
    one = pool(engine("e", concurrency=16))
    one.submit(paced("answer", 50, 80), paced("patient", 100, 80))
    entry = one.manager.engines["e"]
    assert entry.tightest_ms == 50
    begin(one, "answer")
    one.finish("answer")
    assert entry.tightest_ms == 100
    begin(one, "patient")
    one.finish("patient")
    assert entry.tightest_ms is None
    assert PrefillBudget(0.15).admits(entry)
