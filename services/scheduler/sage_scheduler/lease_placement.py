"""Keeps the leases' bucket with a server that the leading scheduler does not die with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_platform.background import keep_running
from sage_platform.bucket_leader import lead_elsewhere

log = get_logger(__name__)

LOOK_SECONDS = 2.0
# A server that does not do it, or does not let this identity ask for it, is asked less and less.
MOST_SECONDS = 60.0


class LeasePlacement:
    """Moves the bucket's leader away from this replica, while the replica leads the first of the pools.

    One replica decides for all pools, so that several do not send the bucket to and fro.

    Args:
        leads_first: whether this replica leads the first pool.
        own_server: name of the NATS server on this machine; empty where that is not known.
    """

    def __init__(self, bucket: KeyValue, leads_first: Callable[[], bool], own_server: str) -> None:
        self._bucket = bucket
        self._leads_first = leads_first
        self._own_server = own_server
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look after it from now on."""
        self._looking = keep_running(self._look_forever, name="lease-placement")

    async def stop(self) -> None:
        """Leave it where it is."""
        if self._looking is not None:
            await end_tasks(self._looking)

    async def look(self) -> bool:
        """Move it where that is due; return whether that went well."""
        if not self._leads_first():
            return True
        try:
            server = await lead_elsewhere(self._bucket, own_server=self._own_server)
        except (NatsError, asyncio.TimeoutError) as error:
            # The servers choose, for one.
            log.warning("the leases' bucket was not moved", error=str(error) or repr(error))
            return False
        if server is not None:
            log.info("the leases' bucket is led by another server than this scheduler's", server=server)
        return True

    async def _look_forever(self) -> None:
        delay = LOOK_SECONDS
        while True:
            went_well = await self.look()
            delay = LOOK_SECONDS if went_well else min(2 * delay, MOST_SECONDS)
            await asyncio.sleep(delay)
