"""Records of tenants in a key-value bucket: found by tenant and id, listed in the order of their ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from sage_platform import subjects
from sage_platform.kv import decoded_or_none, purge_until
from sage_platform.opened_late import OpenedLate

T = TypeVar("T")

_READ_TOGETHER = 32


@dataclass(frozen=True, slots=True)
class StoredRecord(Generic[T]):
    """A record, and the revision under which it is stored."""

    value: T
    revision: int


class TenantBucket(Generic[T]):
    """Reads and writes records. Every method raises nats.errors.Error or asyncio.TimeoutError where JetStream does not
    answer, or refuses.

    Args:
        name: of the bucket, for the log.
        decode: raises for what is no record; such entries are taken for absent, with a line in the log.
    """

    def __init__(
        self,
        bucket: OpenedLate[KeyValue],
        name: str,
        encode: Callable[[T], bytes],
        decode: Callable[[bytes], T],
    ) -> None:
        self._bucket = bucket
        self._name = name
        self._encode = encode
        self._decode = decode

    async def get(self, tenant: str, record_id: str) -> StoredRecord[T] | None:
        """Return a record, or None. ``record_id`` must be one subject token."""
        bucket = await self._bucket.get()
        try:
            entry = await bucket.get(subjects.tenant_key(tenant, record_id))
        except (KeyNotFoundError, KeyDeletedError):
            return None
        value = decoded_or_none(self._name, entry.key, entry.value or b"", self._decode)
        return None if value is None else StoredRecord(value, int(entry.revision or 0))

    async def has_key(self, key: str) -> bool:
        """Whether something is stored under a key of ``subjects.tenant_key``."""
        bucket = await self._bucket.get()
        try:
            await bucket.get(key)
        except (KeyNotFoundError, KeyDeletedError):
            return False
        return True

    async def create(self, tenant: str, record_id: str, value: T, ttl_seconds: float | None = None) -> bool:
        """Store a new record; return False where the id is taken.

        Args:
            ttl_seconds: after which it is gone; None for the bucket's own time.
        """
        bucket = await self._bucket.get()
        try:
            await bucket.create(subjects.tenant_key(tenant, record_id), self._encode(value), msg_ttl=ttl_seconds)
        except KeyWrongLastSequenceError:
            return False
        return True

    async def update(self, tenant: str, record_id: str, value: T, revision: int) -> StoredRecord[T] | None:
        """Store a record over a revision of it; return None where that is not the stored one any more."""
        bucket = await self._bucket.get()
        try:
            stored = await bucket.update(subjects.tenant_key(tenant, record_id), self._encode(value), last=revision)
        except KeyWrongLastSequenceError:
            return None
        return StoredRecord(value, stored)

    async def change(self, tenant: str, record_id: str, change: Callable[[T], T]) -> T | None:
        """Store what ``change`` makes of a record, as it is now, and return it; None where there is none.

        Args:
            change: may be called again where another has changed the record at the same time, and may raise.
        """
        while (stored := await self.get(tenant, record_id)) is not None:
            changed = change(stored.value)
            if changed == stored.value or await self.update(tenant, record_id, changed, stored.revision) is not None:
                return changed
        return None

    async def remove(self, tenant: str, record_id: str) -> bool:
        """Remove a record without a trace; return whether there was one."""
        stored = await self.get(tenant, record_id)
        if stored is None:
            return False
        bucket = await self._bucket.get()
        await purge_until(bucket, subjects.tenant_key(tenant, record_id), stored.revision)
        return True

    async def ids(self, tenant: str) -> list[str]:
        """Return the ids of a tenant's records in ascending order."""
        bucket = await self._bucket.get()
        prefix = f"{bucket._pre}{subjects.tenant_key(tenant, '')}"
        try:
            info = await bucket._js.stream_info(bucket._stream, subjects_filter=f"{prefix}*")
        except NotFoundError:
            return []
        return sorted(subject.removeprefix(prefix) for subject in info.state.subjects or {})

    async def get_all(self, tenant: str, ids: list[str]) -> list[T]:
        """Return the records of ``ids`` in their order, without those that are gone."""
        found: list[T] = []
        for start in range(0, len(ids), _READ_TOGETHER):
            stored = await asyncio.gather(*(self.get(tenant, one) for one in ids[start : start + _READ_TOGETHER]))
            found += [one.value for one in stored if one is not None]
        return found
