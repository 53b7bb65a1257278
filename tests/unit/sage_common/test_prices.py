"""Prices, and what tenants may have: read strictly, counted exactly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sage_common.errors import InvalidRequestError
from sage_common.prices import Price, price_of
from sage_common.quota.meter import Meter, Period, Unit
from sage_common.tenants import Tenant, checked


def test_tokens_cost_billionths_and_cached_ones_their_own_price() -> None:
    price = checked(Price, {"model": "m", "prompt": "0.15", "cached_prompt": "0.075", "completion": "0.6"})
    assert price.nanos(1_000, 400, 100) == 600 * 150 + 400 * 75 + 100 * 600
    assert checked(Price, {"model": "m", "prompt": "2"}).nanos(10, 4, 99) == 20_000


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_paid_is_never_less_than_the_price_and_less_than_a_billionth_more(a: int, b: int, c: int) -> None:
    price = checked(Price, {"model": "m", "prompt": "0.000123", "completion": "0.033333"})
    exact = (a * 123 + c * 33_333) / 1_000
    assert exact <= price.nanos(a, b, c) < exact + 1


def test_a_model_without_a_price_of_its_own_has_that_of_all() -> None:
    prices = {name: Price(model=name, prompt=1) for name in ("m", "*")}  # type: ignore[arg-type]
    assert [price_of(prices, model) for model in ("m", "other")] == [prices["m"], prices["*"]]
    assert price_of({}, "m") is None


def test_a_tenants_limits_are_meters_and_what_is_not_set_is_none() -> None:
    tenant = checked(Tenant, {"name": "acme", "requests_per_minute": 60, "monthly_money": "12.5", "models": ["a-*"]})
    assert tenant.meters == (
        Meter(Unit.REQUESTS, Period.MINUTE, 60),
        Meter(Unit.MONEY, Period.MONTH, 12_500_000_000),
    )
    assert [tenant.may_use(model) for model in ("a-1", "b-1")] == [True, False]
    assert checked(Tenant, {"name": "free"}).meters == ()


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"daily_tokens": -1}, "daily_tokens"),
        ({"daily_tokens": "many"}, "daily_tokens"),
        ({"weight": 0}, "weight"),
        ({"weight": "nan"}, "weight"),
        ({"class_ceiling": "royal"}, "class_ceiling"),
        ({"daily_money": "0.0000000001"}, "daily_money"),
        ({"rpm": 3}, "rpm"),
        ({"name": ""}, "name"),
        ({"name": "zwölf"}, "name"),
    ],
)
def test_a_tenant_that_makes_no_sense_is_refused_by_its_field(values: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        checked(Tenant, {"name": "acme", **values})
    assert refused.value.param == param
