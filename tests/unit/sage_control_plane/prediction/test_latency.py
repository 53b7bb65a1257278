"""Fits find what makes engines slow, and say when they do not know."""

from __future__ import annotations

from random import Random

import pytest

from sage_control_plane.prediction.forecast import Forecast
from sage_control_plane.prediction.latency import Load, TpotFit, TtftFit
from sage_control_plane.prediction.latency_fits import LatencyFits
from sage_control_plane.prediction.settings import PredictionSettings

SETTINGS = PredictionSettings()


def true_ttft(tokens: float, load: Load, slowness: float = 1.0) -> float:
    return slowness * (0.02 + tokens / 8000 + load.queued_tokens / 8000 + load.running * 0.001)


def samples(count: int, seed: int) -> list[tuple[int, Load]]:
    random = Random(seed)
    return [(random.randrange(2000), Load(random.randrange(3000), random.randrange(50))) for _ in range(count)]


def test_the_fit_recovers_a_linear_engine() -> None:
    fit = TtftFit(SETTINGS)
    for tokens, load in samples(200, seed=1):
        fit.learn(tokens, load, true_ttft(tokens, load))
    assert fit.trusted
    for tokens, load in samples(50, seed=2):
        assert fit.seconds(tokens, load) == pytest.approx(true_ttft(tokens, load), rel=0.02)
    assert fit.seconds_per_input_token == pytest.approx(1 / 8000, rel=0.02)
    assert fit.error.value is not None
    assert fit.error.value < 0.1


def test_an_engine_that_has_become_slower_is_known_for_it_soon() -> None:
    fit = TtftFit(SETTINGS)
    for tokens, load in samples(300, seed=3):
        fit.learn(tokens, load, true_ttft(tokens, load))
    for tokens, load in samples(400, seed=4):
        fit.learn(tokens, load, true_ttft(tokens, load, slowness=5.0))
    load = Load(500, 10)
    assert fit.seconds(500, load) == pytest.approx(true_ttft(500, load, 5.0), rel=0.2)


def test_a_fit_that_is_wrong_is_not_trusted() -> None:
    fit, random = TtftFit(SETTINGS), Random(5)
    for tokens, load in samples(300, seed=6):
        fit.learn(tokens, load, random.choice([0.01, 5.0]))
    assert fit.known
    assert not fit.trusted


def test_equal_samples_do_not_blow_the_fit_up() -> None:
    fit = TtftFit(SETTINGS)
    for _ in range(20_000):
        fit.learn(100, Load(0, 1), 0.05)
    assert fit.seconds(100, Load(0, 1)) == pytest.approx(0.05)
    assert 0 <= fit.seconds(110, Load(0, 1)) < 0.1


def test_the_time_between_tokens_is_told_apart_by_what_it_goes_to() -> None:
    fit = TpotFit(SETTINGS)
    random = Random(7)
    for _ in range(400):
        decoding, prompts, vectors = random.uniform(1, 48), random.uniform(0, 300), random.uniform(0, 900)
        seconds = 0.006 + 0.00035 * decoding + prompts / 8_000 + vectors / 40_000
        fit.learn(decoding, 0.0, prompts, vectors, seconds)
    assert fit.step_seconds(40, 0.0) == pytest.approx(0.02, rel=0.01)
    assert fit.seconds_per_input_token == pytest.approx(1 / 8_000, rel=0.01)
    assert fit.seconds_per_vector_token == pytest.approx(1 / 40_000, rel=0.01)


def test_the_price_of_prompts_is_found_too_where_few_come_for_each_token() -> None:
    """A fit begins at 0, and leaves it only as far as its features vary: in thousands of tokens these hardly do."""
    fit = TpotFit(SETTINGS)
    random = Random(8)
    for _ in range(60):
        decoding, prompts = random.uniform(1, 4), random.uniform(0, 8)
        fit.learn(decoding, 0.0, prompts, 0.0, 0.016 + 0.004 * decoding + prompts / 1_000)
    assert fit.seconds_per_input_token == pytest.approx(1 / 1_000, rel=0.05)


def test_a_new_engine_is_predicted_by_its_pool_until_its_own_fit_knows() -> None:
    pool = LatencyFits(SETTINGS)
    old, new = Forecast(SETTINGS, pool), Forecast(SETTINGS, pool)
    assert new.ttft_seconds(True, 100) is None
    for tokens, load in samples(100, seed=8):
        old.learn_ttft(True, tokens, load, true_ttft(tokens, load))
    assert new.ttft_seconds(True, 800) == pytest.approx(true_ttft(800, Load()), rel=0.05)
    for tokens, load in samples(100, seed=9):
        new.learn_ttft(True, tokens, load, true_ttft(tokens, load, 5.0))
    assert new.ttft_seconds(True, 800) == pytest.approx(true_ttft(800, Load(), 5.0), rel=0.05)


def test_vectors_and_text_are_predicted_apart() -> None:
    forecast = Forecast(SETTINGS, LatencyFits(SETTINGS))
    for tokens, load in samples(100, seed=10):
        forecast.learn_ttft(True, tokens, load, true_ttft(tokens, load))
    assert forecast.ttft_seconds(True, 100) is not None
    assert forecast.ttft_seconds(False, 100) is None


def test_an_answer_costs_its_share_of_the_time_in_which_its_tokens_came_less_the_prompts_in_between() -> None:
    forecast = Forecast(SETTINGS, LatencyFits(SETTINGS))
    random, now = Random(11), 0.0
    shares = []
    for _ in range(400):
        decoding, prompts = random.randrange(1, 40), random.uniform(0, 5_000)
        forecast.decoding = decoding
        forecast.advance(now)
        began = forecast.counters
        forecast.computed(True, prompts)
        step = 0.006 + 0.00035 * decoding
        streamed = 100 * step + prompts / 8_000
        now += streamed
        forecast.advance(now)
        forecast.learn_answer(began, 101)
        shares.append((forecast.share_since(began), 100 * step / decoding))
    assert sum(share for share, _ in shares[200:]) == pytest.approx(sum(due for _, due in shares[200:]), rel=0.03)


def test_an_engine_without_answers_has_the_price_of_its_prompts_from_their_first_tokens() -> None:
    forecast = Forecast(SETTINGS, LatencyFits(SETTINGS))
    assert forecast.seconds_per_input_token(False) == 0.0
    for tokens, load in samples(100, seed=12):
        forecast.learn_ttft(False, tokens, load, true_ttft(tokens, load))
    assert forecast.seconds_per_input_token(False) == pytest.approx(1 / 8_000, rel=0.02)
