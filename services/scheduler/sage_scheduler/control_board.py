"""Operators' orders: policies and drains, stored in KV so that they reach every replica and outlive it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from nats.js.errors import BadRequestError, KeyNotFoundError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.errors import UnavailableError, describe
from sage_common.logging import get_logger
from sage_platform.kv import purge_until
from sage_platform.subjects import token
from sage_scheduler.bucket_mirror import BucketMirror
from sage_scheduler.policy_orders import PolicyChoice, read_order

log = get_logger(__name__)

# ``token`` escapes underscores, so no pool's key looks like this.
EVERY_POOL = "policy._every"
DRAIN = "drain."
WRITE_SECONDS = 2.0
# How long the marker of a delete stays in the bucket, for replicas that are disconnected from NATS.
MARKER_SECONDS = 600.0
# JetStream's error code for a write with an outdated revision.
WRONG_LAST_SEQUENCE = 10071


class ControlBoard:
    """Reads orders from a mirror of their bucket and writes them for all replicas.

    Args:
        default_policy: policy of pools for which none is set.
        on_change: called when an order has changed.
    """

    def __init__(self, bucket: KeyValue, clock: Clock, default_policy: str, on_change: Callable[[], None]) -> None:
        self._bucket = bucket
        self._default = default_policy
        self._clock = clock
        # Deleted keys are kept until their markers are cleared.
        self._mirror = BucketMirror(bucket, clock, lambda _key: on_change(), forget_deleted=False)

    async def start(self) -> None:
        """Read the orders and watch for changes."""
        await self._mirror.start()

    async def stop(self) -> None:
        """Stop watching."""
        await self._mirror.stop()

    def restart(self) -> None:
        """Watch again after a loss of the connection."""
        self._mirror.restart()

    def policy(self, pool: str) -> PolicyChoice:
        """Return the policy in force for a pool: the later of the one set for it and the one set for all pools."""
        set_for = (self._mirror.entries.get(key) for key in (_policy_key(pool), EVERY_POOL))
        latest = max((entry for entry in set_for if entry and entry.value), key=lambda e: e.revision, default=None)
        if latest is None or latest.value is None:
            return PolicyChoice(self._default)
        try:
            return read_order(latest.value.decode("utf-8", "replace"))
        except ValueError as error:
            log.error("policy is not known to this version; using the default", order=str(error), default=self._default)
            return PolicyChoice(self._default)

    def drained(self) -> set[str]:
        """Return the ids of the engines that operators drain."""
        return {engine_id for engine_id, _ in self.drain_orders().values() if engine_id}

    def drain_orders(self) -> dict[str, tuple[str | None, int]]:
        """Return the stored drain orders by key: the engine's id, None where the order was undone, and the revision."""
        return {
            key: (entry.value.decode("utf-8", "replace") or None, entry.revision)
            for key, entry in self._mirror.entries.items()
            if key.startswith(DRAIN) and entry.value is not None
        }

    @property
    def remembered(self) -> int:
        """Number of keys in memory, deleted ones included."""
        return len(self._mirror.entries)

    async def forget(self, key: str, revision: int) -> bool:
        """Delete an order if it still has this revision; return whether it did.

        Raises NatsError or asyncio.TimeoutError.
        """
        try:
            await asyncio.wait_for(self._bucket.delete(key, last=revision), WRITE_SECONDS)
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            await self._drop_if_gone(key, revision)
            return False
        return True

    async def clear_markers(self) -> None:
        """Purge markers of deletes that are older than ``MARKER_SECONDS``.

        Raises NatsError or asyncio.TimeoutError.
        """
        now = self._clock.now()
        for key, entry in list(self._mirror.entries.items()):
            if entry.value is None and now - entry.received_at >= MARKER_SECONDS:
                await asyncio.wait_for(purge_until(self._bucket, key, entry.revision), WRITE_SECONDS)
                self._mirror.forget(key, entry.revision)

    async def _drop_if_gone(self, key: str, revision: int) -> None:
        """Drop a key whose delete this replica missed: it was disconnected for longer than the marker stayed."""
        try:
            await asyncio.wait_for(self._bucket.get(key), WRITE_SECONDS)
        except KeyNotFoundError:
            self._mirror.forget(key, revision)

    async def set_policy(self, pool: str | None, order: PolicyChoice) -> None:
        """Set the policy of a pool, or of every pool when ``pool`` is None. Raises UnavailableError."""
        await self._write(EVERY_POOL if pool is None else _policy_key(pool), order.stored())

    async def set_drain(self, engine_id: str, draining: bool) -> None:
        """Drain an engine, or undo that. Raises UnavailableError."""
        await self._write(f"{DRAIN}{token(engine_id)}", engine_id if draining else "")

    async def _write(self, key: str, value: str) -> None:
        """Write an order and wait until this replica's mirror holds it. Raises UnavailableError."""
        try:
            revision = await asyncio.wait_for(self._bucket.put(key, value.encode()), WRITE_SECONDS)
            await asyncio.wait_for(self._mirror.seen(key, revision), WRITE_SECONDS)
        except (NatsError, asyncio.TimeoutError) as error:
            raise UnavailableError(
                f"the order could not be written to NATS ({describe(error)}); try again",
                code="nats_unreachable",
                retry_after_seconds=1,
            ) from None


def _policy_key(pool: str) -> str:
    return f"policy.{token(pool)}"
