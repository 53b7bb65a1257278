from __future__ import annotations

import orjson
import pytest

from sage_benchmark.http_client import CONNECTION_LOST, HttpResponse
from sage_benchmark.resilience.shared_budget import SPENT, SharedBudgetPlan, Spending, _result

PLAN = SharedBudgetPlan(requests=100)


def response(status: int, code: str = "", error: str = "") -> HttpResponse:
    made = HttpResponse(0.0)
    made.status, made.error = status, error
    made.pieces = [orjson.dumps({"error": {"code": code}} if code else {"usage": {}})]
    return made


def test_answers_refusals_and_broken_connections_are_counted_apart() -> None:
    spending = Spending()
    assert spending.note(response(200))
    assert not spending.note(response(429, "rate_limit_exceeded"))
    assert not spending.note(response(0, error=CONNECTION_LOST))
    assert (spending.received, spending.broken, spending.refused) == (SPENT, 1, {"rate_limit_exceeded": 1})
    with pytest.raises(RuntimeError, match="answered 500"):
        spending.note(response(500, "internal_error"))


@pytest.mark.parametrize(
    ("answered", "phantom", "missed"),
    [
        (100, 0, set()),
        (102, 0, {"tokens beyond the budget"}),
        (100, 1, {"refused after settling though there was enough left"}),
        (95, 0, {"left at the end, less what broken answers may have cost"}),
    ],
)
def test_overspending_phantom_refusals_and_lost_budget_each_miss_their_bar(
    answered: int, phantom: int, missed: set[str]
) -> None:
    result = _result(PLAN, Spending(80), Spending(answered), phantom, 1.0)
    assert {bar.name for bar in result.bars if not bar.reached} == missed
    assert result.to_json()["figures"]["received"] == answered * SPENT
