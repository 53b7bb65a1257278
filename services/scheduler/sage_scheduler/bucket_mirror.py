"""A KV bucket's entries in memory, kept up to date by a watch."""

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

log = get_logger(__name__)

AGAIN_SECONDS = 0.25
# For how long what is deleted or has expired can still be asked for. Ids of processes are keys, and each is new: kept
# for ever, those of all that ever ran would pile up.
FORGET_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class MirrorEntry:
    """The latest of one key.

    Attributes:
        value: None once it was deleted.
        heard_at: when it came, in seconds of the clock. Expiry by TTL is silent: judge it by this.
    """

    value: bytes | None
    revision: int
    heard_at: float


class BucketMirror:
    """Mirrors ``bucket``; ``on_change`` is called with each key that was written or deleted.

    Args:
        ttl_seconds: of the bucket; what is silent for longer has expired. None where nothing expires.
        forget_deleted: whether deleted keys are forgotten by themselves; otherwise ``forget`` has to be called.
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
        self._news = asyncio.Event()
        self.entries: dict[str, MirrorEntry] = {}

    async def start(self) -> None:
        """Watch; returns when everything that is in the bucket is here."""
        filled = asyncio.Event()
        self._task = asyncio.create_task(self._watch_forever(filled), name="bucket-mirror")
        await filled.wait()

    async def stop(self) -> None:
        """Stop watching."""
        if self._task is not None:
            await end_tasks(self._task)

    def restart(self) -> None:
        """Watch anew, because the connection was lost in between."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._task = asyncio.create_task(self._watch_forever(asyncio.Event()), name="bucket-mirror")

    def forget(self, key: str, revision: int) -> None:
        """Drop a key that is gone from the bucket, unless it was written after this revision."""
        entry = self.entries.get(key)
        if entry is not None and entry.revision <= revision:
            del self.entries[key]

    async def seen(self, key: str, revision: int) -> None:
        """Wait until the mirror has this revision of a key, or a later one."""
        await self.until(lambda: (entry := self.entries.get(key)) is not None and entry.revision >= revision)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; it is asked after each change."""
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def _watch_forever(self, filled: asyncio.Event) -> None:
        while True:
            try:
                await self._watch(filled)
            except (NatsError, asyncio.TimeoutError, OSError) as error:
                log.warning("watch interrupted; watching anew", error=str(error) or repr(error))
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
                self._news.set()
                if self._on_change is not None:
                    self._on_change(update.key)
                self._sweep()
        finally:
            with contextlib.suppress(NatsError, asyncio.TimeoutError):
                await watcher.stop()  # type: ignore[no-untyped-call]

    def _sweep(self) -> None:
        """Forget what has long been gone. Entries come with updates only, so this is often enough."""
        now = self._clock.now()
        if now - self._swept_at < FORGET_SECONDS:
            return
        self._swept_at = now
        self.entries = {key: entry for key, entry in self.entries.items() if not self._long_gone(entry, now)}

    def _long_gone(self, entry: MirrorEntry, now: float) -> bool:
        silent = now - entry.heard_at
        if entry.value is None:
            return self._forget_deleted and silent >= FORGET_SECONDS
        return self._ttl_seconds is not None and silent >= self._ttl_seconds + FORGET_SECONDS
