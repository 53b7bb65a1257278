"""Retries are a share of requests, with a floor."""

from __future__ import annotations

from sage_control_plane.tracking.retry_budget import RetryBudget


def spend(budget: RetryBudget, now: float, wanted: int) -> int:
    return sum(budget.withdraw(now) for _ in range(wanted))


def test_retries_are_a_share_of_requests_beyond_the_floor() -> None:
    budget = RetryBudget(ratio=0.2, floor_per_second=0.0)
    for _ in range(100):
        budget.deposit()
    assert spend(budget, 0.0, 1000) == 20


def test_a_quiet_system_can_still_retry() -> None:
    budget = RetryBudget(ratio=0.2, floor_per_second=1.0)
    assert spend(budget, 0.0, 1000) == 10
    assert spend(budget, 3.0, 1000) == 3
    assert spend(budget, 1000.0, 1000) == 10


def test_savings_are_bounded() -> None:
    budget = RetryBudget(ratio=1.0, floor_per_second=0.0, burst=5.0)
    for _ in range(100):
        budget.deposit()
    assert spend(budget, 0.0, 100) == 5
