"""Sending classified requests to their pools, across the moment in which a pool has no leader.

When a scheduler dies, its pool has no leader until the lease has expired and a standby has taken it. NATS reports the
missing responder at once; what could not be delivered is kept here and sent again, which costs that moment and not the
time until an edge asks for its request (``sage_mesh.edge.edge``). The edge stays the safety net.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from sage.inference.v1 import request_pb2
from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.leases import TTL_SECONDS
from sage_platform.ring import Ring

log = get_logger(__name__)

RESEND_SECONDS = 0.1
# A standby needs the lease's time and a little more; after that the edges ask for what they miss.
KEEP_SECONDS = 2 * TTL_SECONDS
KEEP_REQUESTS = 10_000


class PoolSender:
    """Sends classified requests; keeps those of a leaderless pool for a few seconds."""

    def __init__(self, ring: Ring, clock: Clock) -> None:
        self._ring = ring
        self._clock = clock
        self._known: set[str] = set()
        self._kept: deque[tuple[float, str, bytes]] = deque()
        self._since: dict[bytes, float] = {}
        self._resender: asyncio.Task[None] | None = None

    @property
    def kept(self) -> int:
        """Requests that wait for a leader."""
        return len(self._kept)

    def send(self, request: request_pb2.ClassifiedRequest) -> None:
        """Send to the pool that the classification names. Raises TooLargeError."""
        subject = subjects.schedule(request.classification.pool)
        if subject not in self._known:
            self._known.add(subject)
            self._ring.on_no_responders(subject, self._keep)
        self._ring.send(subject, request)

    async def close(self) -> None:
        """Stop resending; the edges own what is left."""
        if self._resender is not None:
            await end_tasks(self._resender)

    def _keep(self, subject: str, items: Sequence[bytes]) -> None:
        now = self._clock.now()
        if not self._kept:
            log.warning("no scheduler leads the pool; keeping its requests", subject=subject, requests=len(items))
        for item in items:
            # A request that comes back again keeps the time at which it first did.
            since = self._since.setdefault(item, now)
            if now - since < KEEP_SECONDS and len(self._kept) < KEEP_REQUESTS:
                self._kept.append((since, subject, item))
            else:
                self._since.pop(item, None)
        if self._kept and (self._resender is None or self._resender.done()):
            self._resender = keep_running(self._resend, name="pool-resender")

    async def _resend(self) -> None:
        while self._kept:
            await asyncio.sleep(RESEND_SECONDS)
            kept, self._kept = self._kept, deque()
            for _, subject, item in kept:
                self._ring.send_item(subject, item)
        # What has not come back within a round trip was delivered; the longest one is far below the resend time.
        await asyncio.sleep(RESEND_SECONDS)
        if not self._kept:
            self._since.clear()
