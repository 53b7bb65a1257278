"""Limits shared by replicas: nothing is spent twice, and nothing is lost, whoever dies and whenever."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sage_common.quota.account import Account, Claim, Holder, exchange, forget, lapse, remaining, seconds_until
from sage_common.quota.holding import Holding
from sage_common.quota.meter import Meter, Period, Unit, period_end, period_start

# 2026-11-30 12:00 UTC, a month's last day.
NOON = 1_796_040_000.0
DAY = Meter(Unit.TOKENS, Period.DAY, 1_000)


@dataclass
class Replica:
    name: str
    holding: Holding = field(default_factory=Holding)
    open: list[int] = field(default_factory=list)
    alive: bool = True


class Replicas:
    """Replicas that share one account, whose writes may be lost on the way back, and who may die."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.account = Account()
        self.replicas = [Replica(name) for name in ("a", "b", "c")]
        self.spent = 0
        self.now = NOON

    def write(self, replica: Replica, need: int, *, spare: bool, heard: bool = True) -> None:
        written = exchange(self.account, self.meter, replica.name, replica.holding.claim(need, spare=spare), self.now)
        replica.holding.planned(written.holders[replica.name])
        self.account = written
        if heard:
            replica.holding.written(written.holders[replica.name])

    def reserve(self, replica: Replica, amount: int, *, heard: bool = True) -> bool:
        if not replica.holding.reserve(amount):
            self.write(replica, amount, spare=True, heard=heard)
            if not replica.holding.reserve(amount):
                return False
        replica.open.append(amount)
        return True

    def settle(self, replica: Replica, part: int) -> None:
        if replica.open:
            amount = replica.open.pop()
            spent = amount * part // 4
            replica.holding.settle(amount, spent)
            self.spent += spent

    def bury(self, replica: Replica) -> None:
        """Let the lease of a dead replica lapse; its last event names its total. A new one takes its place."""
        if replica.name in self.account.holders:
            self.account = lapse(self.account, self.meter, replica.name, replica.holding.settled, self.now)
        self.replicas[self.replicas.index(replica)] = Replica(f"{replica.name}'")

    def finish(self) -> None:
        """Settle what is open, bury the dead, and let everybody give back what it does not need."""
        for replica in list(self.replicas):
            if not replica.alive:
                self.bury(replica)
                continue
            while replica.open:
                self.settle(replica, 4)
            self.write(replica, 0, spare=False)


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reserve", "reserve", "reserve", "settle", "settle", "report", "give", "deaf", "kill", "bury"]
        ),
        st.integers(0, 2),
        st.integers(1, 300),
    ),
    max_size=60,
)


def run(replicas: Replicas, operations: list[tuple[str, int, int]]) -> None:
    for operation, index, amount in operations:
        replica = replicas.replicas[index]
        if not replica.alive:
            if operation == "bury":
                replicas.bury(replica)
            continue
        if operation == "reserve":
            replicas.reserve(replica, amount)
        elif operation == "deaf":
            replicas.reserve(replica, amount, heard=False)
        elif operation == "settle":
            replicas.settle(replica, amount % 5)
        elif operation in ("report", "give"):
            replicas.write(replica, 0, spare=operation == "report")
        elif operation == "kill":
            replica.alive = False


@given(OPERATIONS)
@settings(max_examples=300)
def test_no_order_of_events_spends_more_than_the_budget_and_the_rest_can_be_spent_by_anyone(
    operations: list[tuple[str, int, int]],
) -> None:
    replicas = Replicas(DAY)
    run(replicas, operations)
    assert replicas.spent <= DAY.limit
    replicas.finish()
    assert replicas.account.spent == replicas.spent
    left = DAY.limit - replicas.spent
    assert remaining(replicas.account, DAY, NOON) == left
    assert replicas.reserve(replicas.replicas[-1], left) or left == 0
    assert not replicas.reserve(replicas.replicas[0], 1)


@given(OPERATIONS, st.integers(0, 2_000))
@settings(max_examples=150)
def test_a_budget_that_changes_while_it_is_spent_is_kept_from_then_on(
    operations: list[tuple[str, int, int]], limit: int
) -> None:
    replicas = Replicas(DAY)
    run(replicas, operations)
    in_use = replicas.spent + sum(sum(replica.open) for replica in replicas.replicas)
    replicas.meter = replace(DAY, limit=limit)
    for replica in replicas.replicas:
        if replica.alive:
            replicas.write(replica, 0, spare=True)
    held_by_the_dead = sum(
        replicas.account.holders[replica.name].held
        for replica in replicas.replicas
        if not replica.alive and replica.name in replicas.account.holders
    )
    run(replicas, operations)
    assert replicas.spent <= max(limit, in_use) + held_by_the_dead
    replicas.finish()
    assert replicas.account.spent == replicas.spent
    assert remaining(replicas.account, replicas.meter, NOON) == max(0, limit - replicas.spent)


@given(OPERATIONS)
def test_as_many_requests_run_at_once_as_may_and_every_seat_comes_back(operations: list[tuple[str, int, int]]) -> None:
    meter = Meter(Unit.CONCURRENCY, Period.HELD, 5)
    replicas = Replicas(meter)
    run(replicas, [(operation, index, 1) for operation, index, _ in operations])
    assert sum(len(replica.open) for replica in replicas.replicas if replica.alive) <= 5
    replicas.finish()
    assert remaining(replicas.account, meter, NOON) == 5


def test_a_replica_that_was_taken_for_dead_goes_on_without_counting_twice() -> None:
    replicas = Replicas(DAY)
    first, second, _ = replicas.replicas
    assert replicas.reserve(first, 100)
    assert replicas.reserve(first, 50)
    replicas.settle(first, 4)
    # Its event was read: 50 of what it held is spent, the rest comes back.
    replicas.account = lapse(replicas.account, DAY, first.name, first.holding.settled, NOON)
    assert replicas.reserve(second, 900)
    first.holding.lost()
    replicas.settle(first, 4)
    replicas.write(first, 0, spare=False)
    assert replicas.account.spent == replicas.spent == 150
    assert replicas.account.holders["a"].held == 0


def test_where_another_holds_idle_what_is_needed_the_record_says_so_and_nobody_takes_spare() -> None:
    account = exchange(Account(), DAY, "a", Claim(0, 0, 0, 800), NOON)
    account = exchange(account, DAY, "b", Claim(0, 0, 0, 900), NOON)
    assert account.holders["b"].wanted == 900
    assert exchange(account, DAY, "a", Claim(10, 0, 0), NOON).holders["a"].held == 10


def test_a_replica_that_is_gone_for_good_is_forgotten_once_it_holds_nothing() -> None:
    account = Account(500, NOON, {"a": Holder(100, 0, 500), "b": Holder(0, 0, 7)})
    assert forget(account, "a") is account
    assert forget(account, "b").holders == {"a": Holder(100, 0, 500)}
    assert forget(account, "c") is account


def test_what_does_not_fit_the_budget_at_all_is_not_waited_for() -> None:
    account = exchange(Account(), DAY, "a", Claim(0, 0, 0, 1_001), NOON)
    assert account.holders["a"].wanted == 0


def test_a_minutes_limit_drains_and_does_not_reset() -> None:
    meter = Meter(Unit.REQUESTS, Period.MINUTE, 60)
    account = exchange(Account(at=NOON), meter, "a", Claim(0, 60, 0, spare=False), NOON)
    assert remaining(account, meter, NOON) == 0
    assert remaining(account, meter, NOON + 10) == 10
    assert seconds_until(account, meter, 5, NOON) == pytest.approx(5.0)


def test_a_day_begins_empty_and_what_is_reserved_goes_along() -> None:
    account = Account(500.0, NOON, {"a": Holder(100, 100, 500)})
    tomorrow = period_end(Period.DAY, NOON)
    assert remaining(account, DAY, tomorrow) == 900
    settled = exchange(account, DAY, "a", Claim(0, 600, 0, spare=False), tomorrow + 1)
    assert (settled.spent, remaining(settled, DAY, tomorrow + 2)) == (100, 900)


def test_a_clock_that_jumps_back_takes_nothing_back() -> None:
    account = Account(500.0, NOON)
    assert remaining(account, DAY, NOON - 86_400) == 500
    assert exchange(account, DAY, "a", Claim(0, 10, 0, spare=False), NOON - 86_400).spent == 510


@pytest.mark.parametrize(
    ("period", "start", "end"),
    [(Period.DAY, "2026-11-30", "2026-12-01"), (Period.MONTH, "2026-11-01", "2026-12-01")],
)
def test_periods_are_those_of_utc(period: Period, start: str, end: str) -> None:
    from datetime import datetime, timezone

    def named(seconds: float) -> str:
        return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%d}"

    assert (named(period_start(period, NOON)), named(period_end(period, NOON))) == (start, end)
    assert named(period_end(Period.MONTH, period_end(Period.MONTH, NOON))) == "2027-01-01"
