"""gRPC ↔ domain: the calls that every kind of record which operators keep has, and waiting for JetStream in any."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

from google.protobuf.message import Message
from pydantic import BaseModel

from sage_client.management.operator_records import from_wire, to_wire
from sage_platform.jetstream_access import reaching_jetstream
from sage_platform.record_store import RecordStore

# JetStream's answers, and the wait for records that were not read yet.
STORE_SECONDS = 5.0

R = TypeVar("R", bound=BaseModel)
M = TypeVar("M", bound=Message)
T = TypeVar("T")


async def stored(work: Awaitable[T]) -> T:
    """Return what comes of work in JetStream. Raises UnavailableError where it does not answer in time."""
    with reaching_jetstream():
        return await asyncio.wait_for(work, STORE_SECONDS)


class StoredRecords(Generic[R, M]):
    """Sets, lists and removes the records of one kind, each in its message.

    Args:
        check: told what records there would be, by name, before one is set; raises where they do not go together.
    """

    def __init__(
        self,
        store: RecordStore[R],
        kind: type[R],
        message: type[M],
        check: Callable[[Mapping[str, R]], None] | None = None,
    ) -> None:
        self._store = store
        self._kind = kind
        self._message = message
        self._check = check

    async def set(self, message: Message) -> M:
        """Store a record and return it as it is kept."""
        record = from_wire(self._kind, message)
        if self._check is not None:
            await stored(self._store.all())
            self._check({**self._store.records, self._store.name_of(record): record})
        return to_wire(await stored(self._store.put(record)), self._message)

    async def get(self, name: str) -> R:
        """Return a record. Raises NotFoundError."""
        await stored(self._store.all())
        return self._store.get(name)

    async def all(self) -> list[M]:
        """Return the records, by name."""
        return [to_wire(record, self._message) for record in await stored(self._store.all())]

    async def remove(self, name: str) -> M:
        """Remove a record and return it. Raises NotFoundError."""
        return to_wire(await stored(self._store.remove(name)), self._message)
