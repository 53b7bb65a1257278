"""The part of a gateway that runs batches."""

from __future__ import annotations

from sage_common.clock import Clock
from sage_common.tasks import end_tasks
from sage_gateway.batches.batch_run import BatchRun, BatchTools
from sage_gateway.batches.batch_store import OpenBatch, decode_mark
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.kv import open_bucket
from sage_platform.owned_work import LEASE_SECONDS, OwnedWork


class BatchWorker:
    """Takes open batches and runs them, each in one gateway at a time.

    Args:
        holder: id of this gateway.
        slots: how many batches it runs at the same time.
    """

    def __init__(self, tools: BatchTools, holder: str, slots: int, clock: Clock) -> None:
        self._tools = tools
        self._holder = holder
        self._slots = slots
        self._clock = clock
        self._open: FollowedBucket[OpenBatch] | None = None
        self._task = keep_running(self._work, name="batches")

    def reconnected(self) -> None:
        """Look at the open batches again: the server may have lost the watcher."""
        if self._open is not None:
            self._open.reconnected()

    async def stop(self) -> None:
        """Leave what runs to other gateways."""
        await end_tasks(self._task)

    async def _work(self) -> None:
        marks = await self._tools.store.open_batches.get()
        leases = await open_bucket(self._tools.js, subjects.BUCKET_WORK_LEASES, ttl_seconds=LEASE_SECONDS)
        self._open = FollowedBucket(marks, subjects.BUCKET_OPEN_BATCHES, decode_mark, self._clock)
        work = OwnedWork(
            self._open,
            leases,
            self._holder,
            self._run,
            owner_of=lambda batch: batch.tenant,
            order_of=lambda batch: batch.batch_id,
            slots=self._slots,
            clock=self._clock,
        )
        await self._open.start()
        try:
            await work.take_forever()
        finally:
            await self._open.stop()

    async def _run(self, batch: OpenBatch) -> None:
        await BatchRun(self._tools, batch.tenant, batch.batch_id).run()
