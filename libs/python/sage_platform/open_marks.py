"""Marks of tenants' work that has not ended, in a bucket that whoever may do it follows."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue

from sage_platform import subjects
from sage_platform.kv import purge_until
from sage_platform.opened_late import OpenedLate


@dataclass(frozen=True, slots=True)
class OpenMark:
    """The mark of a piece of work: whose it is, and the id of its record, which sorts by when it was made."""

    tenant: str
    record_id: str


class OpenMarks:
    """Sets and removes marks. A mark is set before its record is written and removed after the record's end, so that
    whatever dies in between leaves a mark too many rather than work that nobody does.

    Every method raises nats.errors.Error or asyncio.TimeoutError where JetStream does not answer.
    """

    def __init__(self, bucket: OpenedLate[KeyValue]) -> None:
        self.bucket = bucket

    async def set(self, tenant: str, record_id: str) -> None:
        """Mark work as open."""
        bucket = await self.bucket.get()
        mark = orjson.dumps({"tenant": tenant, "record_id": record_id})
        await bucket.put(subjects.tenant_key(tenant, record_id), mark)

    async def remove(self, tenant: str, record_id: str) -> None:
        """Take the mark off work that has ended; without effect where another has."""
        bucket = await self.bucket.get()
        key = subjects.tenant_key(tenant, record_id)
        await bucket.delete(key)
        # The mark of the delete is what watchers hear of; it need not stay.
        try:
            last = await bucket._js.get_last_msg(bucket._stream, f"{bucket._pre}{key}", direct=bucket._direct)
        except NotFoundError:
            return
        await purge_until(bucket, key, last.seq or 0)


def decode_mark(data: bytes) -> OpenMark:
    """Return a mark from what is stored of it. Raises ValueError, KeyError, TypeError."""
    mark = orjson.loads(data)
    return OpenMark(str(mark["tenant"]), str(mark["record_id"]))
