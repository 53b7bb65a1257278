"""Who of those that hold parts of limits is alive, and the server's time, without comparing the clocks of two hosts.

Each holder writes a key every second, and spends nothing more once it could not for ``HOLD_SECONDS`` of its own clock.
Who has seen no new revision of it for ``LAPSE_SECONDS`` of its own clock, and is told by the server that there is none,
takes it for dead: clocks need only run at about the same pace.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.kv import open_bucket

log = get_logger(__name__)

BEAT_SECONDS = 1.0
HOLD_SECONDS = 4.0
LAPSE_SECONDS = 8.0
CALL_SECONDS = 2.0


class QuotaPulse:
    """Keeps this replica's key written, and watches those of the others.

    Args:
        replica: id of this process, which no other has had.
    """

    def __init__(self, js: JetStreamContext, replica: str, clock: Clock) -> None:
        self._js = js
        self._key = subjects.token(replica)
        self._clock = clock
        self._bucket: FollowedBucket[bytes] | None = None
        self._beating: asyncio.Task[None] | None = None
        self._held_until = float("-inf")
        self._server_offset: float | None = None
        # Since when a holder without a key was known, and since when the keys have been followed without a break.
        self._noticed_at: dict[str, float] = {}
        self._following_since = 0.0

    @property
    def may_spend(self) -> bool:
        """Whether what this replica holds is still its own."""
        return self._clock.now() < self._held_until

    def server_now(self) -> float:
        """Return the server's time, in seconds since 1970-01-01 UTC; only where ``may_spend`` has been true."""
        return self._clock.now() + (self._server_offset or 0.0)

    async def start(self) -> None:
        """Begin to beat. Raises NatsError or TimeoutError, and may be called again then."""
        if self._bucket is None:
            bucket = await open_bucket(self._js, subjects.BUCKET_QUOTA_HOLDERS)
            self._bucket = FollowedBucket(bucket, subjects.BUCKET_QUOTA_HOLDERS, bytes, self._clock)
            await self._bucket.start()
        await self._beat()
        self._following_since = self._clock.now()
        self._beating = keep_running(self._beat_forever, name="quota-pulse")

    async def stop(self) -> None:
        """Stop beating, once everything has been given back."""
        if self._beating is not None:
            await end_tasks(self._beating)
        if self._bucket is not None:
            try:
                await asyncio.wait_for(self._bucket.remove(self._key), CALL_SECONDS)
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("quota holder not removed; it lapses by itself", error=str(error))
            await self._bucket.stop()

    def reconnected(self) -> None:
        """Follow the keys again, and wait for as long as at the start before anybody counts as dead."""
        self._following_since = self._clock.now()
        if self._bucket is not None:
            self._bucket.reconnected()

    def seems_dead(self, replica: str) -> bool:
        """Whether nothing was heard of a holder for so long that it may be dead."""
        return self.silence_seconds(replica) > LAPSE_SECONDS

    def silence_seconds(self, replica: str) -> float:
        """Return for how long nothing was heard of a holder, though the keys were followed."""
        assert self._bucket is not None
        now = self._clock.now()
        stored = self._bucket.latest.get(subjects.token(replica))
        noticed_at = self._noticed_at.setdefault(replica, now)
        heard_at = stored.read_at if stored is not None else noticed_at
        return now - max(heard_at, self._following_since)

    def forget(self, replica: str) -> None:
        """Forget a holder that no record names any more."""
        self._noticed_at.pop(replica, None)

    async def is_dead(self, replica: str) -> bool:
        """Ask the server whether a holder that seems dead is. Raises NatsError or TimeoutError."""
        assert self._bucket is not None
        key = subjects.token(replica)
        seen = self._bucket.latest.get(key)
        stored = await asyncio.wait_for(self._bucket.get(key), CALL_SECONDS)
        return self.seems_dead(replica) and (stored is None or (seen is not None and stored.revision == seen.revision))

    async def _beat_forever(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self._beat()
            except (NatsError, asyncio.TimeoutError, OSError) as error:
                log.warning("quota holder could not beat", error=str(error) or repr(error))

    async def _beat(self) -> None:
        assert self._bucket is not None
        began = self._clock.now()
        await asyncio.wait_for(self._bucket.put(self._key, b"1"), CALL_SECONDS)
        written = self._clock.now()
        self._held_until = began + HOLD_SECONDS
        stream, subject = f"KV_{subjects.BUCKET_QUOTA_HOLDERS}", f"$KV.{subjects.BUCKET_QUOTA_HOLDERS}.{self._key}"
        message = await asyncio.wait_for(self._js.get_last_msg(stream, subject), CALL_SECONDS)
        self._server_offset = _unix_seconds(message.time) - (began + written) / 2


def _unix_seconds(time: Any) -> float:
    """Return the time of a message, which is a date or, by the version of the client, text."""
    if isinstance(time, str):
        # Nanoseconds are more than the parser takes.
        whole, _, fraction = time.rstrip("Z").partition(".")
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
    return float(time.timestamp())
