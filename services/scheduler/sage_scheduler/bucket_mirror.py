"""A KV bucket's entries in memory, kept current by a watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running

log = get_logger(__name__)

AGAIN_SECONDS = 0.25
# For how long deleted and expired keys are kept. Keys are ids of processes, which are new with each start, so without
# a bound they would accumulate.
FORGET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class MirrorEntry:
    """The latest update of one key.

    Attributes:
        value: None when the key was deleted.
        received_at: when the update arrived, in seconds of the clock. The watch does not report expiry by TTL: readers
            compare this with the TTL.
    """

    value: bytes | None
    revision: int
    received_at: float


class BucketMirror:
    """Mirrors ``bucket``.

    Args:
        on_change: called with each key that was written or deleted.
        ttl_seconds: TTL of the bucket; None where entries do not expire.
        forget_deleted: whether deleted keys are dropped after ``FORGET_SECONDS``; otherwise ``forget`` drops them.
    """

    def __init__(
        self,
        bucket: KeyValue,
        clock: Clock,
        on_change: Callable[[str], None] | None = None,
        *,
        ttl_seconds: float | None = None,
        forget_deleted: bool = True,
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._on_change = on_change
        self._ttl_seconds = ttl_seconds
        self._forget_deleted = forget_deleted
        self._swept_at = clock.now()
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.entries: dict[str, MirrorEntry] = {}

    async def start(self) -> None:
        """Start to watch; return when the mirror holds the whole bucket."""
        filled = asyncio.Event()
        self._task = self._watching(filled)
        await filled.wait()

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            await end_tasks(self._task)

    def restart(self) -> None:
        """Replace the watch after a loss of the connection."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._task = self._watching(asyncio.Event())

    def forget(self, key: str, revision: int) -> None:
        """Drop a key that was deleted from the bucket, unless it was written after this revision."""
        entry = self.entries.get(key)
        if entry is not None and entry.revision <= revision:
            del self.entries[key]

    async def seen(self, key: str, revision: int) -> None:
        """Wait until the mirror holds this revision of a key or a later one."""
        await self.until(lambda: (entry := self.entries.get(key)) is not None and entry.revision >= revision)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is checked after each change."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def _watching(self, filled: asyncio.Event) -> asyncio.Task[None]:
        return keep_running(lambda: self._watch_forever(filled), name=f"mirror-{self._bucket._name}")

    async def _watch_forever(self, filled: asyncio.Event) -> None:
        while True:
            try:
                await self._watch(filled)
            except (NatsError, asyncio.TimeoutError, OSError) as error:
                log.warning("watch interrupted; starting it again", error=str(error) or repr(error))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _watch(self, filled: asyncio.Event) -> None:
        watcher = await self._bucket.watchall()
        try:
            async for update in watcher:
                if update is None:
                    filled.set()
                    continue
                value = update.value or b"" if update.operation is None else None
                self.entries[update.key] = MirrorEntry(value, update.revision or 0, self._clock.now())
                self._changed.set()
                self._notify(update.key)
                self._sweep()
        finally:
            with contextlib.suppress(NatsError, asyncio.TimeoutError):
                await watcher.stop()  # type: ignore[no-untyped-call]

    def _notify(self, key: str) -> None:
        """Call ``on_change``. What it cannot read in one record must not end the watch over the others."""
        if self._on_change is None:
            return
        try:
            self._on_change(key)
        except Exception:
            log.exception("change of a record not followed", bucket=self._bucket._name, key=key)

    def _sweep(self) -> None:
        """Drop long deleted and expired keys. It runs with updates, since only those add entries."""
        now = self._clock.now()
        if now - self._swept_at < FORGET_SECONDS:
            return
        self._swept_at = now
        self.entries = {key: entry for key, entry in self.entries.items() if not self._long_gone(entry, now)}

    def _long_gone(self, entry: MirrorEntry, now: float) -> bool:
        age = now - entry.received_at
        if entry.value is None:
            return self._forget_deleted and age >= FORGET_SECONDS
        return self._ttl_seconds is not None and age >= self._ttl_seconds + FORGET_SECONDS
