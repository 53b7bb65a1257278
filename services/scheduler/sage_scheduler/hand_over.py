"""Hands waiting requests over to the next leader of their pool, so that their edges need not submit them again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sage.inference.v1 import request_pb2
from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_platform import subjects
from sage_platform.ring import Ring

log = get_logger(__name__)

CHECK_SECONDS = 0.02
GIVE_UP_SECONDS = 3.0


async def hand_over(
    ring: Ring,
    clock: Clock,
    pool: str,
    waiting: Sequence[request_pb2.ClassifiedRequest],
    has_leader: Callable[[], bool],
) -> bool:
    """Send ``waiting`` to the pool's next leader once there is one; return whether it took all of them in time.

    Requests that it does not take are submitted again by their edges; the hand-over only saves time.
    """
    subject = subjects.schedule(pool)
    deadline = clock.now() + GIVE_UP_SECONDS
    for one in waiting:
        one.request.admitted = True
    left = [item.SerializeToString() for item in waiting]
    returned: list[bytes] = []
    ring.on_no_responders(subject, lambda _subject, items: returned.extend(items))
    try:
        while left and clock.now() < deadline:
            if has_leader():
                for item in left:
                    ring.send(subject, request_pb2.ClassifiedRequest.FromString(item))
                # The server returns messages without a subscriber within a round trip.
                await ring.flush()
                await asyncio.sleep(CHECK_SECONDS)
                left, returned = returned, []
            else:
                await asyncio.sleep(CHECK_SECONDS)
    finally:
        ring.on_no_responders(subject, None)
    log.info("handed over", pool=pool, requests=len(waiting) - len(left), left_to_edges=len(left))
    return not left
