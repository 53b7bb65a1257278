"""Limits while NATS is away: nobody spends what may be another's by now, unless the operator wants it so."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from fixtures.manual_clock import ManualClock

from sage_common.errors import ContendedError, UnavailableError
from sage_common.quota.account import Account
from sage_common.quota.meter import Meter, Period, Unit
from sage_gateway.tenancy.tenant_quota import TenantQuota

METER = Meter(Unit.TOKENS, Period.DAY, 100)
AMOUNTS = {Unit.TOKENS: 10}


class Pulse:
    may_spend = True

    def server_now(self) -> float:
        return 1_796_040_000.0


class Records:
    """Records that can be reached or not."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.is_away = False

    def latest(self, key: str) -> dict[str, Account]:
        return self.accounts

    async def change(self, key: str, edit: Any) -> dict[str, Account]:
        if self.is_away:
            raise asyncio.TimeoutError("no answer")
        self.accounts = dict(edit(self.accounts))
        return self.accounts


def quota(records: Records, pulse: Pulse, *, fail_open: bool = False) -> TenantQuota:
    made = TenantQuota(
        "acme", "here", cast(Any, records), cast(Any, records), cast(Any, pulse), ManualClock(), fail_open=fail_open
    )
    made.set_meters([METER])
    return made


async def test_what_is_held_may_be_spent_and_nothing_beyond_it() -> None:
    records, pulse = Records(), Pulse()
    acme = quota(records, pulse)
    await acme.reserve(AMOUNTS)
    records.is_away = True
    # An eighth of the other ninety was taken beyond what was needed.
    await acme.reserve(AMOUNTS)
    with pytest.raises(UnavailableError, match="cannot be kept") as refused:
        await acme.reserve(AMOUNTS)
    assert (refused.value.code, refused.value.retry_after_seconds) == ("limits_unreachable", 1)


async def test_what_is_held_counts_no_more_once_the_gateway_may_be_taken_for_dead() -> None:
    records, pulse = Records(), Pulse()
    acme = quota(records, pulse)
    await acme.reserve(AMOUNTS)
    pulse.may_spend = False
    with pytest.raises(UnavailableError):
        await acme.reserve(AMOUNTS)


async def test_by_setting_requests_pass_and_are_counted_when_the_records_are_back() -> None:
    records, pulse = Records(), Pulse()
    acme = quota(records, pulse, fail_open=True)
    records.is_away = True
    for _ in range(10):
        (await acme.reserve(AMOUNTS)).settle(AMOUNTS)
    records.is_away = False
    await acme.exchange(cast(Any, records))
    assert records.accounts[METER.name].spent == 100
    with pytest.raises(ContendedError, match="used up"):
        await acme.reserve(AMOUNTS)


async def test_a_request_for_more_than_there_ever_is_is_told_so_at_once() -> None:
    acme = quota(Records(), Pulse())
    with pytest.raises(ContendedError, match="may have 100 tokens today at most") as refused:
        await acme.reserve({Unit.TOKENS: 101})
    assert refused.value.code == "insufficient_quota"
