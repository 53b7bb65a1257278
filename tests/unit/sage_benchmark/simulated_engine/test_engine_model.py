"""The engine model keeps its books, its limits, and the times that it states."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_benchmark.simulated_engine.engine_config import EngineModelConfig
from sage_benchmark.simulated_engine.engine_model import EngineModel
from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork
from sage_control_plane.request.request import RequestKind

CHAT, EMBEDDING = RequestKind.LLM_CHAT, RequestKind.EMBEDDING


def chat(key: str, input_tokens: int = 80, output_tokens: int = 5, blocks: tuple[int, ...] = ()) -> EngineWork:
    return EngineWork(key, CHAT, input_tokens, output_tokens, blocks)


def drain(model: EngineModel) -> list[Emission]:
    emissions = []
    while (at := model.next_event_at) is not None:
        emissions += model.advance(at)
    return emissions


@pytest.mark.parametrize("every_token", [False, True])
def test_a_lone_request_takes_its_prefill_and_then_a_step_for_each_token(every_token: bool) -> None:
    model = EngineModel(EngineModelConfig(), every_token=every_token)
    model.submit(1.0, chat("a", input_tokens=800, output_tokens=11))
    emissions = drain(model)
    assert emissions[0] == Emission("a", pytest.approx(1.0 + 800 / 8000), 0, 1, False)
    assert emissions[-1].at == pytest.approx(1.1 + 10 * 0.00635)
    assert emissions[-1].finished
    assert len(emissions) == (11 if every_token else 2)
    assert model.running == model.waiting == model.kv_reserved_tokens == 0


def test_the_time_between_tokens_grows_with_the_batch_as_stated() -> None:
    model = EngineModel(EngineModelConfig(), every_token=True)
    for index in range(10):
        model.submit(0.0, chat(str(index), input_tokens=1, output_tokens=50))
    times = [e.at for e in drain(model) if e.key == "0"]
    assert times[30] - times[29] == pytest.approx(0.006 + 10 * 0.00035)


def test_a_prompt_stretches_the_steps_of_others_by_a_chunk_at_a_time() -> None:
    model = EngineModel(EngineModelConfig(prefill_chunk_tokens=512), every_token=True)
    model.submit(0.0, chat("a", input_tokens=8, output_tokens=100))
    model.advance(0.05)
    model.submit(0.05, chat("b", input_tokens=1024, output_tokens=1))
    emissions = drain(model)
    times = [e.at for e in emissions if e.key == "a"]
    gaps = [round(b - a, 6) for a, b in pairwise(times)]
    assert gaps.count(round(0.00635 + 512 / 8000, 6)) == 2
    assert set(gaps) == {0.00635, 0.07035}
    assert next(e.at for e in emissions if e.key == "b") in times


def test_an_embedding_request_ends_without_tokens_after_its_stated_time() -> None:
    model = EngineModel(EngineModelConfig())
    model.submit(0.0, EngineWork("e", EMBEDDING, 400))
    assert drain(model) == [Emission("e", pytest.approx(0.002 + 400 / 40_000), 0, 0, True)]


def test_a_shared_prefix_is_computed_once_and_the_last_token_always() -> None:
    model = EngineModel(EngineModelConfig())
    blocks = tuple(range(10))
    model.submit(0.0, chat("a", 640, 1, blocks))
    first = drain(model)[0].at
    model.submit(1.0, chat("b", 640, 1, blocks))
    assert drain(model)[0].at - 1.0 == pytest.approx(1 / 8000)
    model.submit(2.0, chat("c", 640, 1, (*blocks[:5], *range(100, 105))))
    assert drain(model)[0].at - 2.0 == pytest.approx(first / 2)
    assert model.prompt_tokens == (1920, 639 + 320)


def test_what_was_computed_of_a_cancelled_request_may_be_kept_for_its_continuation() -> None:
    model = EngineModel(EngineModelConfig())
    model.submit(0.0, chat("a", 640, 1000))
    drain_until = 0.08 + 640.5 * 0.00635
    assert model.cancel(drain_until, "a") == 641
    blocks = tuple(range(20))
    model.keep(blocks)
    model.submit(10.0, chat("a", 1281, 1, blocks))
    assert drain(model)[-1].at - 10.0 == pytest.approx(1 / 8000)


def test_a_full_engine_queues_in_order_of_arrival_and_a_cancelled_request_frees_its_seat() -> None:
    model = EngineModel(EngineModelConfig(max_num_seqs=1))
    for key in "abc":
        model.submit(0.0, chat(key, output_tokens=1000))
    assert (model.running, model.waiting) == (1, 2)
    assert model.cancel(1.0, "a") == model_tokens(1.0)
    assert model.cancel(1.0, "b") == 0
    assert [e.key for e in drain(model)] == ["a", "c", "c"]
    with pytest.raises(KeyError):
        model.cancel(2.0, "c")


def model_tokens(seconds: float) -> int:
    return 1 + int((seconds - 80 / 8000) / 0.00635)


def test_a_request_waits_for_kv_cache_and_one_that_can_never_fit_is_refused() -> None:
    model = EngineModel(EngineModelConfig(kv_tokens=1000))
    model.submit(0.0, chat("a", 500, 100))
    model.submit(0.0, chat("b", 500, 100))
    assert (model.running, model.waiting) == (1, 1)
    with pytest.raises(ValueError, match="needs 1001 tokens of KV cache, there are 1000"):
        model.submit(0.0, chat("c", 1000, 1))
    with pytest.raises(ValueError, match="'a' already"):
        model.submit(0.0, chat("a"))
    assert [e.key for e in drain(model) if e.finished] == ["a", "b"]


def test_kv_usage_counts_the_prompt_and_what_was_generated() -> None:
    model = EngineModel(EngineModelConfig(kv_tokens=1000))
    model.submit(0.0, chat("a", 80, 100))
    now = 80 / 8000 + 9.5 * 0.00635
    assert model.generated(now, "a") == 10
    assert model.kv_usage(now) == pytest.approx(0.090)
    drain(model)
    assert model.kv_usage(100.0) == 0


def test_a_slow_engine_takes_its_factor_longer_from_the_next_step_on() -> None:
    model = EngineModel(EngineModelConfig(), every_token=True)
    model.submit(0.0, chat("a", 8, 100))
    model.set_slowdown(0.1, 5.0)
    times = [e.at for e in drain(model)]
    gaps = {round(b - a, 6) for a, b in pairwise(times)}
    assert gaps == {0.00635, 0.03175}
    with pytest.raises(ValueError, match="slowdown is 0"):
        model.set_slowdown(100.0, 0)


def test_a_pause_delays_the_step_under_way_and_what_comes_meanwhile() -> None:
    model = EngineModel(EngineModelConfig())
    model.submit(0.0, chat("a", 80, 2))
    model.pause(0.005, 1.0)
    model.pause(0.505, 0.5)  # within the first: it ends with it
    assert [e.at for e in drain(model)] == pytest.approx([1.01, 1.01635])
    model.pause(2.0, 1.0)
    model.submit(2.5, chat("b", 80, 1))
    assert [e.at for e in drain(model)] == pytest.approx([3.01])


def test_a_failed_engine_tells_what_it_held_and_starts_empty() -> None:
    model = EngineModel(EngineModelConfig(max_num_seqs=1))
    model.submit(0.0, chat("a", 80, 1000, (1,)))
    model.submit(0.0, chat("b"))
    assert [(lost.key, lost.generated) for lost in model.fail(1.0)] == [("a", model_tokens(1.0)), ("b", 0)]
    assert model.next_event_at is None or model.advance(1.0)
    model.submit(2.0, chat("a", 80, 1, (1,)))
    assert drain(model)[-1].at == pytest.approx(2.01)


@st.composite
def scripts(draw: st.DrawFn) -> list[tuple[float, str, EngineWork | None]]:
    """Arrivals and cancellations over a few seconds: (time, key, work or None to cancel)."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    events: list[tuple[float, str, EngineWork | None]] = []
    for index in range(draw(st.integers(1, 40))):
        key, at = f"r{index}", round(rng.choice([0.0, rng.random() * 2]), 3)
        if rng.random() < 0.3:
            work = EngineWork(key, EMBEDDING, rng.randint(0, 2000))
        else:
            blocks = tuple(range(rng.choice([0, 100]), rng.choice([0, 100]) + rng.randint(0, 8)))
            work = EngineWork(key, CHAT, rng.randint(1, 1500), rng.randint(1, 60), blocks)
        events.append((at, key, work))
        if rng.random() < 0.2:
            events.append((at + rng.random(), key, None))
    return sorted(events, key=lambda event: event[0])


SMALL = EngineModelConfig(max_num_seqs=4, kv_tokens=4000)


def play(script: list[tuple[float, str, EngineWork | None]], *, every_token: bool, poke: bool) -> list[Emission]:
    """Play a script; ``poke`` advances the model at needless moments too, which must change nothing."""
    model = EngineModel(SMALL, every_token=every_token)
    emissions: list[Emission] = []
    for at, key, work in script:
        if poke:
            while (due := model.next_event_at) is not None and due < at:
                emissions += model.advance(due)
            emissions += model.advance(at)
        if work is not None:
            model.submit(at, work)
        elif model.holds(key):
            model.cancel(at, key)
        assert model.running <= SMALL.max_num_seqs
        assert 0 <= model.kv_reserved_tokens <= SMALL.kv_tokens
        assert 0 <= model.kv_usage(at) * SMALL.kv_tokens <= model.kv_reserved_tokens + 1e-6
    emissions += drain(model)
    assert (model.running, model.waiting, model.kv_reserved_tokens, model.kv_usage(99.0)) == (0, 0, 0, 0)
    return emissions


@settings(max_examples=150, deadline=None)
@given(scripts())
def test_every_token_comes_once_in_order_and_no_request_is_forgotten(
    script: list[tuple[float, str, EngineWork | None]],
) -> None:
    emissions = play(script, every_token=True, poke=True)
    assert [e.at for e in emissions] == sorted(e.at for e in emissions)
    tokens: dict[str, int] = defaultdict(int)
    finished = set()
    for emission in emissions:
        assert emission.key not in finished
        assert emission.first == tokens[emission.key]
        tokens[emission.key] = emission.until
        finished |= {emission.key} if emission.finished else set()
    works = {key: work for _, key, work in script if work is not None}
    cancelled = {key for _, key, work in script if work is None}
    assert finished | cancelled == set(works)
    assert all(tokens[key] == works[key].output_tokens for key in finished)


@settings(max_examples=150, deadline=None)
@given(scripts())
def test_counting_steps_gives_the_same_times_as_playing_them(
    script: list[tuple[float, str, EngineWork | None]],
) -> None:
    played = play(script, every_token=True, poke=True)
    counted = play(script, every_token=False, poke=False)
    ends = [(e.key, e.at, e.until) for e in played if e.finished]
    firsts = [(e.key, e.at) for e in played if e.first == 0]
    assert ends == [(e.key, e.at, e.until) for e in counted if e.finished]
    assert firsts == [(e.key, e.at) for e in counted if e.first == 0]
    assert counted == play(script, every_token=False, poke=True)
