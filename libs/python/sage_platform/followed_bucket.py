"""A key-value bucket whose records one watcher keeps in memory, and that is written by compare-and-set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nats.errors import Error as NatsError
from nats.js.errors import KeyDeletedError, KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common.clock import Clock, MonotonicClock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running
from sage_platform.kv import decoded_or_none

log = get_logger(__name__)

_WATCH_AGAIN_SECONDS = 1.0

T = TypeVar("T")


@dataclass(frozen=True)
class Stored(Generic[T]):
    """A record, the revision under which it is stored, and when it was read, by this process's clock."""

    value: T
    revision: int
    read_at: float = 0.0


class FollowedBucket(Generic[T]):
    """Reads and writes records, and follows all of them with one watcher, however many wait for changes.

    Args:
        name: of the bucket, for the log.
        decode: raises for what is no record; such entries are taken for absent, once in the log.
    """

    def __init__(self, bucket: KeyValue, name: str, decode: Callable[[bytes], T], clock: Clock | None = None) -> None:
        self._bucket = bucket
        self._name = name
        self._decode = decode
        self._clock = clock or MonotonicClock()
        self._latest: dict[str, Stored[T]] = {}
        self._changed = asyncio.Condition()
        self._follower: asyncio.Task[None] | None = None
        self._watch_again = asyncio.Event()
        self._read = asyncio.Event()
        self._on_change: list[Callable[[str], None]] = []

    @property
    def latest(self) -> dict[str, Stored[T]]:
        """The records by key, as the watcher has last read them."""
        return self._latest

    def on_change(self, call: Callable[[str], None]) -> Callable[[], None]:
        """Call ``call`` with the key of every record that changes; return what ends that."""
        self._on_change.append(call)
        return lambda: self._on_change.remove(call)

    async def start(self) -> None:
        """Follow the bucket."""
        self._follower = keep_running(self._follow, name=f"follow-{self._name}")

    async def stop(self) -> None:
        """Stop following."""
        if self._follower is not None:
            await end_tasks(self._follower)

    def reconnected(self) -> None:
        """Open a new watcher: the server may have lost the old one."""
        self._watch_again.set()

    async def has_read(self) -> None:
        """Wait until every record that was there has been read once."""
        await self._read.wait()

    async def get(self, key: str, unreadable: Callable[[], T] | None = None) -> Stored[T] | None:
        """Return a record from the server, or None.

        Args:
            unreadable: makes what stands for a record that cannot be read.
        """
        try:
            entry = await self._bucket.get(key)
        except (KeyNotFoundError, KeyDeletedError):
            return None
        value = decoded_or_none(self._name, entry.key, entry.value or b"", self._decode)
        if value is None:
            if unreadable is None:
                return None
            value = unreadable()
        return Stored(value, int(entry.revision or 0), self._clock.now())

    async def write(self, key: str, value: T, data: bytes, revision: int) -> Stored[T] | None:
        """Store ``data``, which encodes ``value``, where the stored revision still is ``revision`` (0: none is
        stored). None means that it is not."""
        try:
            new_revision = await self._bucket.update(key, data, last=revision)
        except KeyWrongLastSequenceError:
            return None
        return Stored(value, new_revision, self._clock.now())

    async def put(self, key: str, data: bytes) -> int:
        """Store ``data``, whatever is stored; return its revision."""
        return await self._bucket.put(key, data)

    async def remove(self, key: str) -> None:
        """Remove a record."""
        await self._bucket.delete(key)

    def forget(self, is_forgotten: Callable[[Stored[T]], bool]) -> None:
        """Drop from memory what the bucket has let expire silently."""
        self._latest = {key: stored for key, stored in self._latest.items() if not is_forgotten(stored)}

    async def after(self, key: str, revision: int) -> Stored[T]:
        """Wait until ``key`` has a later revision and return it."""

        def later() -> bool:
            return key in self._latest and self._latest[key].revision > revision

        async with self._changed:
            await self._changed.wait_for(later)
            return self._latest[key]

    async def _follow(self) -> None:
        while True:
            watcher: KeyValue.KeyWatcher | None = None
            try:
                self._watch_again.clear()
                watcher = await self._bucket.watchall()
                await self._take_until_asked_again(watcher)
            except (NatsError, asyncio.TimeoutError) as error:
                reason = str(error) or repr(error)
                log.warning("bucket cannot be followed; trying again", bucket=self._name, error=reason)
                await asyncio.sleep(_WATCH_AGAIN_SECONDS)
            finally:
                if watcher is not None:
                    await self._end(watcher)

    async def _take_until_asked_again(self, watcher: KeyValue.KeyWatcher) -> None:
        asked = asyncio.create_task(self._watch_again.wait())
        taking = asyncio.create_task(self._take_all(watcher))
        try:
            await asyncio.wait({asked, taking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(asked, taking)
        if not taking.cancelled():
            taking.result()

    async def _take_all(self, watcher: KeyValue.KeyWatcher) -> None:
        async for entry in watcher:
            if entry is None:  # every stored record has been read
                self._read.set()
            else:
                await self._take(entry)

    async def _take(self, entry: KeyValue.Entry) -> None:
        async with self._changed:
            value = None
            if entry.operation is None:
                value = decoded_or_none(self._name, entry.key, entry.value or b"", self._decode)
            if value is None:
                self._latest.pop(entry.key, None)
            else:
                self._latest[entry.key] = Stored(value, int(entry.revision or 0), self._clock.now())
            self._changed.notify_all()
        for call in tuple(self._on_change):
            call(entry.key)

    async def _end(self, watcher: KeyValue.KeyWatcher) -> None:
        try:
            await watcher.stop()  # type: ignore[no-untyped-call]
        except NatsError as error:
            log.debug("watcher was gone already", error=str(error))
