"""Leadership by lease, on a real KV bucket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fixtures.eventually import eventually

from sage_common.clock import MonotonicClock
from sage_platform.kv import open_bucket
from sage_platform.leases import TTL_SECONDS, Leadership
from sage_platform.ring import Ring


class Candidate:
    """Records what a Leadership tells."""

    def __init__(self, bucket: object, name: str, key: str) -> None:
        self.epochs: list[int] = []
        self.lost = 0
        self.gained = asyncio.Event()
        self.leadership = Leadership(
            bucket,  # type: ignore[arg-type]
            key,
            name,
            clock=MonotonicClock(),
            on_gained=self._on_gained,
            on_lost=self._on_lost,
        )

    def _on_gained(self, epoch: int) -> None:
        self.epochs.append(epoch)
        self.gained.set()

    def _on_lost(self) -> None:
        self.lost += 1


async def test_one_candidate_leads_and_the_other_takes_over_with_a_higher_epoch_when_it_stops(ring: Ring) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), "leases-a", ttl_seconds=TTL_SECONDS)
    first, second = Candidate(bucket, "first", "pool.main"), Candidate(bucket, "second", "pool.main")
    first.leadership.start()
    await asyncio.wait_for(first.gained.wait(), 5)
    second.leadership.start()
    await first.leadership.stop()
    await asyncio.wait_for(second.gained.wait(), 5)
    assert first.lost == 1
    assert second.epochs[0] > first.epochs[0]
    await second.leadership.stop()


async def test_a_dead_leaders_lease_expires_and_passes_on_within_two_seconds(ring: Ring) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), "leases-b", ttl_seconds=TTL_SECONDS)
    first, second = Candidate(bucket, "first", "pool.main"), Candidate(bucket, "second", "pool.main")
    first.leadership.start()
    await asyncio.wait_for(first.gained.wait(), 5)
    second.leadership.start()
    task = first.leadership._task
    assert task is not None
    task.cancel()  # dies without giving the lease back
    began = asyncio.get_running_loop().time()
    await asyncio.wait_for(second.gained.wait(), 5)
    assert asyncio.get_running_loop().time() - began < 2.0
    await second.leadership.stop()


async def test_a_candidate_that_may_not_campaign_leaves_the_lease_alone(ring: Ring) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), "leases-c", ttl_seconds=TTL_SECONDS)
    asked = asyncio.Event()

    def refuse() -> bool:
        asked.set()
        return False

    leadership = Leadership(
        bucket,
        "pool.main",
        "first",
        clock=MonotonicClock(),
        on_gained=lambda _epoch: None,
        on_lost=lambda: None,
        may_campaign=refuse,
    )
    leadership.start()
    await asyncio.wait_for(asked.wait(), 5)
    assert not leadership.leading
    await leadership.stop()


@pytest.mark.parametrize("late", [1, 2], ids=["one answer", "two answers"])
async def test_a_renewal_whose_answer_is_late_is_no_loss_of_the_lease(
    ring: Ring, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), f"leases-late-{late}", ttl_seconds=TTL_SECONDS)
    holder = Candidate(bucket, "holder", "pool.main")
    update = bucket.update
    stored: list[int] = []
    renewed = asyncio.Event()

    async def stored_and_late(*arguments: Any, **options: Any) -> int:
        revision = await update(*arguments, **options)
        stored.append(revision)
        if len(stored) <= late:
            raise asyncio.TimeoutError
        renewed.set()
        return revision

    monkeypatch.setattr(bucket, "update", stored_and_late)
    holder.leadership.start()
    await asyncio.wait_for(renewed.wait(), 5)
    assert (holder.lost, len(holder.epochs)) == (0, 1)
    assert holder.leadership.may_act
    await holder.leadership.stop()
    assert len(stored) > late


async def test_a_lease_that_is_another_holders_is_lost(ring: Ring) -> None:
    bucket = await open_bucket(ring.connection.jetstream(), "leases-taken", ttl_seconds=TTL_SECONDS)
    holder = Candidate(bucket, "holder", "pool.main")
    holder.leadership.start()
    await asyncio.wait_for(holder.gained.wait(), 5)
    await bucket.put("pool.main", b"another")
    await eventually(lambda: holder.lost == 1)
    assert not holder.leadership.leading
    await holder.leadership.stop()
