"""Generated answers in one piece: nothing tells when their first token was, and that must spoil nothing."""

from __future__ import annotations

from fixtures.control_plane import Pool, engine, request

from sage_control_plane.request.request import PendingRequest
from sage_control_plane.settings import ControlSettings

# 1,000 input tokens a second, and prompts of 100 ms: an engine takes two at a time.
SETTINGS = ControlSettings(prompt_seconds=0.15)
PROMPT_TOKENS = 100


def begin(pool: Pool, request_id: str) -> None:
    """The engine computes the prompt, and the first token leaves."""
    pending = pool.running[request_id].request
    seconds = pending.classification.input_tokens / 1000
    pool.advance(seconds)
    pool.manager.first_token(request_id, pool.running[request_id].attempt, pool.now, seconds)
    pool.decide()


def taught() -> Pool:
    """A pool with one engine whose prompts have become predictable."""
    pool = Pool(engine("a", concurrency=64), settings=SETTINGS)
    for number in range(60):
        pool.submit(request(f"t{number}", pool.now, tokens=2 * (20 + 37 * number % 200)))
        begin(pool, f"t{number}")
        pool.finish(f"t{number}")
    return pool


def whole(pool: Pool, request_id: str) -> PendingRequest:
    return request(request_id, pool.now, tokens=2 * PROMPT_TOKENS, streaming=False)


def queued_tokens(pool: Pool) -> int:
    return pool.manager.engines["a"].forecast.queued_tokens


def test_their_prompts_keep_others_waiting_only_while_they_are_computed() -> None:
    pool = taught()
    pool.submit(whole(pool, "w0"), whole(pool, "w1"), whole(pool, "w2"))
    assert set(pool.running) == {"w0", "w1"}, "there is room for two prompts"
    assert queued_tokens(pool) == 2 * PROMPT_TOKENS
    pool.advance(0.5)
    assert set(pool.running) == {"w0", "w1", "w2"}, "none has ended, but the first prompts are done"
    pool.advance(0.5)
    assert queued_tokens(pool) == 0
    assert len(pool.running) == 3


def test_their_duration_is_not_taken_for_a_time_to_first_token() -> None:
    pool = taught()
    before = pool.manager.prediction_errors["ttft_generating"]
    assert before is not None
    for number in range(40):
        pool.submit(whole(pool, f"w{number}"))
        assert pool.running[f"w{number}"].predicted_ttft is None, "what cannot be seen is not predicted either"
        pool.advance(20)
        pool.finish(f"w{number}")
    assert pool.manager.prediction_errors["ttft_generating"] == before
    assert pool.manager.prediction_errors["tpot"] == taught().manager.prediction_errors["tpot"]
    pool.submit(request("s", pool.now, tokens=2 * PROMPT_TOKENS))
    predicted = pool.running["s"].predicted_ttft
    assert predicted is not None
    assert abs(predicted - 0.1) < 0.02


def test_one_that_ends_before_its_prompt_was_expected_to_leaves_nothing_behind() -> None:
    pool = taught()
    pool.submit(whole(pool, "w"))
    pool.finish("w")
    assert queued_tokens(pool) == 0
    pool.advance(5)
    assert queued_tokens(pool) == 0
    assert pool.manager.next_deadline() is None
