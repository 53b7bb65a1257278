"""The part of a service that does marked work, each piece in one instance at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.js.client import JetStreamContext

from sage_common.clock import Clock
from sage_common.tasks import end_tasks
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.followed_bucket import FollowedBucket
from sage_platform.kv import open_bucket
from sage_platform.open_marks import OpenMark, OpenMarks, decode_mark
from sage_platform.owned_work import LEASE_SECONDS, OwnedWork


class MarkedWork:
    """Takes marked work and does it, from when it is made on.

    Args:
        name: of the work, for logs and the service's health.
        do: does a piece, and removes its mark.
        holder: id of this instance.
        slots: how many pieces are done here at the same time.
    """

    def __init__(
        self,
        js: JetStreamContext,
        marks: OpenMarks,
        name: str,
        do: Callable[[OpenMark], Awaitable[None]],
        *,
        holder: str,
        slots: int,
        clock: Clock,
    ) -> None:
        self._js = js
        self._marks = marks
        self._name = name
        self._do = do
        self._holder = holder
        self._slots = slots
        self._clock = clock
        self._open: FollowedBucket[OpenMark] | None = None
        self._task = keep_running(self._work, name=name)

    def reconnected(self) -> None:
        """Look at the marks again: the server may have lost the watcher."""
        if self._open is not None:
            self._open.reconnected()

    async def stop(self) -> None:
        """Leave what is being done to other instances."""
        await end_tasks(self._task)

    async def _work(self) -> None:
        marks = await self._marks.bucket.get()
        leases = await open_bucket(self._js, subjects.BUCKET_WORK_LEASES, ttl_seconds=LEASE_SECONDS)
        self._open = FollowedBucket(marks, self._name, decode_mark, self._clock)
        work = OwnedWork(
            self._open,
            leases,
            self._holder,
            self._do,
            owner_of=lambda mark: mark.tenant,
            order_of=lambda mark: mark.record_id,
            slots=self._slots,
            clock=self._clock,
        )
        await self._open.start()
        try:
            await work.take_forever()
        finally:
            await self._open.stop()
