"""Usage events on a real nats-server: published once, summed once."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from fixtures.eventually import eventually

from sage.gateway.v1 import tenants_pb2 as pb
from sage_common.usage import UsageEvent, UsageGroup, UsageSum
from sage_gateway.tenancy.tenant_service import usage_rows
from sage_gateway.tenancy.usage_journal import UsageJournal
from sage_gateway.tenancy.usage_sums import POSITION, UsageSums
from sage_platform import subjects
from sage_platform.background import SERVICE_HEALTH, ServiceHealth
from sage_platform.kv import open_bucket
from sage_platform.ring import Ring

HOUR = 1_796_040_000


def event(tenant: str, **changes: object) -> UsageEvent:
    return replace(UsageEvent(HOUR + 5.0, "r", tenant, "key", "m", 10, 4, 3, 700, "ok"), **changes)  # type: ignore[arg-type]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> str:
    """A stream and a bucket of the test's own; return a tenant's name."""
    own = os.urandom(3).hex()
    monkeypatch.setattr(subjects, "USAGE_STREAM", f"USAGE-{own}")
    monkeypatch.setattr(subjects, "USAGE_ALL", f"usage-{own}.*.*")
    monkeypatch.setattr(subjects, "usage", lambda replica, tenant: f"usage-{own}.{replica}.{subjects.token(tenant)}")
    monkeypatch.setattr(subjects, "BUCKET_USAGE", f"usage-{own}")
    return f"acme-{own}"


async def test_events_are_summed_once_however_often_the_stream_is_read(ring: Ring, names: str) -> None:
    js = ring.connection.jetstream()
    journal = UsageJournal(ring.connection, "gateway-1")
    await journal.start()
    for model in ("m", "m", "other"):
        journal.add(event(names, model=model), None)
    journal.add(event(names, route="best"), None)
    journal.add(event(names, at=HOUR + 3_700.0, status="cancelled"), {"tokens_day": 52})
    await journal.stop()
    expected = {
        UsageGroup(HOUR, names, "key", "m"): UsageSum(2, 0, 20, 8, 6, 1_400),
        UsageGroup(HOUR, names, "key", "m", "best"): UsageSum(1, 0, 10, 4, 3, 700),
        UsageGroup(HOUR, names, "key", "other"): UsageSum(1, 0, 10, 4, 3, 700),
        UsageGroup(HOUR + 3_600, names, "key", "m"): UsageSum(1, 1, 10, 4, 3, 700),
    }
    for _ in range(2):
        sums = UsageSums(js, lambda: True)
        await sums.start()
        bucket = await open_bucket(js, subjects.BUCKET_USAGE)

        async def has_all(reading: UsageSums = sums) -> bool:
            return await reading.read(names) == expected

        await eventually(has_all, seconds=10)
        await sums.stop()
        # The next one begins at the first message again.
        await bucket.put(POSITION, b"0")
    assert await sums.read(names, since_unix_seconds=HOUR + 4_000.0) == dict([list(expected.items())[-1]])
    assert await journal.last_totals("gateway-1", names) == {"tokens_day": 52}
    assert await journal.last_totals("gateway-2", names) == {}


async def test_summing_goes_on_after_nothing_has_come_for_a_while(
    ring: Ring, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sage_gateway.tenancy.usage_sums.FETCH_SECONDS", 0.02)
    looks = 0

    def may_sum() -> bool:
        nonlocal looks
        looks += 1
        return True

    health = ServiceHealth(lambda: None)
    SERVICE_HEALTH.set(health)
    journal = UsageJournal(ring.connection, "gateway-1")
    await journal.start()
    sums = UsageSums(ring.connection.jetstream(), may_sum)
    await sums.start()
    await eventually(lambda: looks > 5, seconds=10)
    journal.add(event(names), None)

    async def is_summed() -> bool:
        return len(await sums.read(names)) == 1

    await eventually(is_summed, seconds=10)
    assert health.summary is None
    await sums.stop()
    await journal.stop()


async def test_events_that_the_server_does_not_take_are_published_again_with_the_latest_totals(
    ring: Ring, names: str
) -> None:
    journal = UsageJournal(ring.connection, "gateway-1")
    # Its stream is not there yet.
    written = journal.add(event(names), {"tokens_day": 13})
    assert written is not None
    await written
    await eventually(lambda: bool(journal._unsent))
    journal.add(event(names), {"tokens_day": 26})
    await journal.start()

    async def is_taken() -> bool:
        state = (await ring.connection.jetstream().stream_info(subjects.USAGE_STREAM)).state
        return state.messages == 2

    await eventually(is_taken, seconds=10)
    assert await journal.last_totals("gateway-1", names) == {"tokens_day": 26}
    await journal.stop()


def test_sums_are_grouped_by_day_and_filtered_by_key_and_model() -> None:
    group = UsageGroup(HOUR, "acme", "k1", "m")
    sums = {
        group: UsageSum(1, 0, 10, 0, 5, 1_500_000_000),
        replace(group, hour=HOUR + 3_600): UsageSum(2, 1, 20, 0, 5, 0),
        replace(group, key_id="k2"): UsageSum(7),
        replace(group, key_id="k3"): UsageSum(4),
        replace(group, key_id="k3", route="best"): UsageSum(5),
    }
    (row,) = usage_rows(sums, pb.QueryUsageRequest(key_id="k1", period=pb.USAGE_PERIOD_DAY))
    assert (row.start_unix_ms, row.requests, row.failed, row.money) == (1_795_996_800_000, 3, 1, "1.5")
    assert [row.requests for row in usage_rows(sums, pb.QueryUsageRequest(model="m"))] == [3, 7, 4, 5]
    named = usage_rows(sums, pb.QueryUsageRequest(key_id="k3"))
    assert [(row.route, row.requests) for row in named] == [("", 4), ("best", 5)]
    assert not usage_rows(sums, pb.QueryUsageRequest(model="other"))
