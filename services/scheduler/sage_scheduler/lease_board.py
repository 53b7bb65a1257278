"""The leaders of the pools, and the replicas that could lead them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_platform import leases, registry
from sage_platform.kv import decoded_or_none
from sage_platform.subjects import token
from sage_scheduler.bucket_mirror import BucketMirror
from sage_scheduler.fair_share import Shares

# A leader renews every leases.ATTEMPT_SECONDS. Without a renewal for this long it is suspected, and candidates begin to
# campaign; the server decides when the lease is free.
SUSPECT_SECONDS = leases.TTL_SECONDS - 0.5


class LeaseBoard:
    """Reads leases and registered replicas from mirrors of their buckets."""

    def __init__(self, lease_bucket: KeyValue, service_bucket: KeyValue, replica: str, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._leases = BucketMirror(lease_bucket, clock, self._on_lease, ttl_seconds=leases.TTL_SECONDS)
        self._services = BucketMirror(service_bucket, clock, ttl_seconds=registry.TTL_SECONDS)
        self._started_at = clock.now()
        self._last_holder: dict[str, str] = {}
        self._suspected: dict[str, float] = {}

    async def start(self) -> None:
        """Read both buckets and watch for changes."""
        await self._leases.start()
        await self._services.start()
        self._started_at = self._clock.now()

    async def stop(self) -> None:
        """Stop watching."""
        await self._leases.stop()
        await self._services.stop()

    def restart(self) -> None:
        """Watch again after a loss of the connection."""
        self._leases.restart()
        self._services.restart()

    def holder(self, pool: str) -> str | None:
        """Return the instance id of the pool's leader; None while there is none."""
        entry = self._leases.entries.get(key(pool))
        if entry is None or entry.value is None or self._clock.now() - entry.received_at > leases.TTL_SECONDS:
            return None
        return entry.value.decode("utf-8", "replace")

    def free_seconds(self, pool: str) -> float:
        """Return how long the pool has been without a leader that renews; negative while it has one."""
        now = self._clock.now()
        entry = self._leases.entries.get(key(pool))
        if entry is None:
            return now - self._started_at
        if entry.value is None:
            return now - entry.received_at
        return now - entry.received_at - SUSPECT_SECONDS

    def shares(self, pools: Iterable[str]) -> Shares:
        """Return the leaders of ``pools``, as far as they have one."""
        holders = {pool: holder for pool in pools if (holder := self.holder(pool))}
        return Shares(self._replica, self._replicas(), holders)

    async def until_another_leads(self, pool: str, timeout_seconds: float) -> bool:
        """Wait until another replica leads the pool; return False when none does in time."""
        try:
            until = self._leases.until(lambda: self.holder(pool) not in (None, self._replica))
            await asyncio.wait_for(until, timeout_seconds)
        except asyncio.TimeoutError:
            return False
        return True

    def others_live(self) -> bool:
        """Return whether another replica is registered."""
        return self.others > 0

    @property
    def others(self) -> int:
        """Number of other registered replicas."""
        return sum(replica != self._replica for replica in self._replicas())

    def _on_lease(self, lease: str) -> None:
        """Suspect a replica whose lease went to another without a release, until it registers again."""
        value = self._leases.entries[lease].value
        if value is None:
            self._last_holder.pop(lease, None)
            return
        holder = value.decode("utf-8", "replace")
        before = self._last_holder.get(lease, holder)
        if before != holder:
            now = self._clock.now()
            # Registrations from before an older suspicion have expired.
            recent = {name: at for name, at in self._suspected.items() if now - at <= registry.TTL_SECONDS}
            self._suspected = {**recent, before: now}
        self._last_holder[lease] = holder

    def _replicas(self) -> list[str]:
        prefix = token("scheduler") + "."
        now = self._clock.now()
        replicas = []
        for name, entry in self._services.entries.items():
            if name.startswith(prefix) and entry.value and now - entry.received_at <= registry.TTL_SECONDS:
                instance = decoded_or_none("services", name, entry.value, registry.instance_from_record)
                if instance is not None and entry.received_at > self._suspected.get(instance.instance_id, -1.0):
                    replicas.append(instance.instance_id)
        return replicas


def key(pool: str) -> str:
    """Return the key of a pool's lease."""
    return f"pool.{token(pool)}"
