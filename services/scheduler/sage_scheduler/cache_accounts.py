"""What the engines of a pool say of their prefix caches, from the ring to the manager."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from sage.inference.v1 import cache_pb2
from sage_common.errors import describe
from sage_common.logging import get_logger
from sage_control_plane.manager import ControlPlaneManager
from sage_mesh.directory import EngineDirectory
from sage_mesh.wire.caches import cached_blocks_from_wire
from sage_platform import subjects
from sage_platform.ring import Ring

log = get_logger(__name__)

# Every executor answers who asks, with all it knows.
ASK_SECONDS = 1.0


async def subscribe_to_caches(ring: Ring, manager: ControlPlaneManager, directory: EngineDirectory) -> Subscription:
    """Give the manager what is said of its pool's caches from now on; ask again for what is missed.

    An account begins with the first answer to a hello, such as a new leader sends.
    """
    asking: asyncio.Task[None] | None = None  # kept, so that it is not collected while it runs
    not_before = 0.0

    async def ask() -> None:
        try:
            await directory.ask()
        except NatsError as error:
            # The next message of the account is refused as well.
            log.warning("accounts of prefix caches not asked for", error=describe(error))

    def on_accounts(items: Sequence[cache_pb2.CachedBlocks]) -> None:
        nonlocal asking, not_before
        for item in items:
            # Of an engine that is not known yet it is asked for once it is.
            if item.engine_id not in manager.engines or manager.caches.report(cached_blocks_from_wire(item)):
                continue
            now = asyncio.get_running_loop().time()
            if now >= not_before:
                not_before = now + ASK_SECONDS
                log.info("account of a prefix cache is not whole; asking for it", engine=item.engine_id)
                asking = asyncio.create_task(ask(), name="ask-for-caches")

    return await ring.subscribe(subjects.cache(manager.pool), cache_pb2.CachedBlocksBatch, on_accounts)
