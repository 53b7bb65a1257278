"""Prices are what was measured, and something sensible before that."""

from __future__ import annotations

import pytest

from sage_control_plane.prediction.prices import FIRST_INPUT_PRICE, FIRST_OUTPUT_PRICE, Prices
from sage_control_plane.request.request import RequestKind, Route

CHAT = Route("m", RequestKind.LLM_CHAT)
VECTORS = Route("e", RequestKind.EMBEDDING)


def test_before_anything_is_measured_tokens_have_assumed_prices() -> None:
    assert Prices().seconds(CHAT, 100, 10) == pytest.approx(100 * FIRST_INPUT_PRICE + 10 * FIRST_OUTPUT_PRICE)


def test_each_route_has_its_own_prices_in_one_unit() -> None:
    prices = Prices()
    for _ in range(1_000):
        prices.learn_input(CHAT, 1 / 8_000)
        prices.learn_output(CHAT, 100, 0.05)
        prices.learn_input(VECTORS, 1 / 40_000)
    assert prices.seconds(CHAT, 800, 100) == pytest.approx(0.1 + 0.05, rel=0.05)
    assert prices.seconds(VECTORS, 800, 0) == pytest.approx(0.02)


def test_prices_follow_engines_that_become_slower() -> None:
    prices = Prices(memory_requests=50)
    for price in (1e-4, 5e-4):
        for _ in range(300):
            prices.learn_input(CHAT, price)
            prices.learn_output(CHAT, 100, 1_000 * price)
    assert prices.seconds(CHAT, 1_000, 0) == pytest.approx(0.5, rel=0.01)
    assert prices.seconds(CHAT, 0, 100) == pytest.approx(0.5, rel=0.2)
