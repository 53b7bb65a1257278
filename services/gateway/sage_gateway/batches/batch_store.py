"""The batches of all tenants, and which of them are open."""

from __future__ import annotations

import time
from collections.abc import Callable

from nats.js.client import JetStreamContext

from sage_common.errors import NotFoundError
from sage_gateway.batches.batch_record import (
    BatchRecord,
    decode_batch,
    encode_batch,
    is_batch_id,
)
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.open_marks import OpenMarks
from sage_platform.opened_late import OpenedLate
from sage_platform.tenant_bucket import StoredRecord, TenantBucket

_DAY_SECONDS = 86_400.0


class BatchStore:
    """Keeps batches. Every method raises nats.errors.Error or asyncio.TimeoutError where JetStream does not answer.

    Args:
        retention_days: after which a batch is forgotten, from its last change on.
    """

    def __init__(self, js: JetStreamContext, retention_days: float, now: Callable[[], float] = time.time) -> None:
        retention = retention_days * _DAY_SECONDS
        bucket = OpenedLate(lambda: open_bucket(js, subjects.BUCKET_BATCHES, ttl_seconds=retention))
        self._records = TenantBucket(bucket, subjects.BUCKET_BATCHES, encode_batch, decode_batch)
        self.marks = OpenMarks(OpenedLate(lambda: open_bucket(js, subjects.BUCKET_OPEN_BATCHES, ttl_seconds=retention)))
        self._now = now

    async def create(self, record: BatchRecord) -> None:
        """Store a new batch, to be run by whichever gateway takes it."""
        await self.marks.set(record.tenant, record.id)
        await self._records.create(record.tenant, record.id, record)

    async def find(self, tenant: str, batch_id: str) -> StoredRecord[BatchRecord] | None:
        """Return a batch, or None."""
        return await self._records.get(tenant, batch_id) if is_batch_id(batch_id) else None

    async def get(self, tenant: str, batch_id: str) -> BatchRecord:
        """Return a batch. Raises NotFoundError where the tenant has none of this id."""
        stored = await self.find(tenant, batch_id)
        if stored is None:
            raise _no_such_batch(batch_id)
        return stored.value

    async def change(self, tenant: str, batch_id: str, change: Callable[[BatchRecord], BatchRecord]) -> BatchRecord:
        """Store what ``change`` makes of a batch, as it is now, and return it. ``change`` may be called again where
        another has changed the batch at the same time, and may raise.

        Raises:
            NotFoundError: the tenant has none of this id.
        """
        changed = await self._records.change(tenant, batch_id, change) if is_batch_id(batch_id) else None
        if changed is None:
            raise _no_such_batch(batch_id)
        return changed

    async def close(self, tenant: str, batch_id: str) -> None:
        """Take the mark off a batch that has ended."""
        await self.marks.remove(tenant, batch_id)

    async def ids(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's batches, the oldest first."""
        return await self._records.ids(tenant)

    async def get_all(self, tenant: str, ids: list[str]) -> list[BatchRecord]:
        """Return the batches of ``ids`` that are there."""
        return await self._records.get_all(tenant, ids)


def _no_such_batch(batch_id: str) -> NotFoundError:
    return NotFoundError(f"no batch has the id {batch_id[:80]!r}", code="batch_not_found", param="batch_id")
