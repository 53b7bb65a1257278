"""Leadership by lease, on a real KV bucket."""

from __future__ import annotations

import asyncio

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
