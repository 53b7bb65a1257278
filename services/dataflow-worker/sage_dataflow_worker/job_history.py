"""Reading what has happened to a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from nats.js.client import JetStreamContext

from sage_common.logging import get_logger
from sage_dataflow_worker.job_event import EventKind, JobEvent
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.stream_messages import messages_behind
from sage_platform import subjects
from sage_platform.kv import decoded_or_none

log = get_logger(__name__)

_LOOK_SECONDS = 0.25
# The state is written before the event of it is published, perhaps by another worker.
_LAST_EVENTS_SECONDS = 1.0


class JobHistory:
    """Reads the stream of events."""

    def __init__(self, js: JetStreamContext, jobs: JobStore) -> None:
        self._js = js
        self._jobs = jobs

    async def events(
        self, job_id: str, after: int = 0, *, follow: bool = False, progress: bool = False
    ) -> AsyncIterator[tuple[int, JobEvent]]:
        """Yield the sequence and the event of what happened behind the sequence ``after``, oldest first.

        Args:
            follow: go on until the job has ended.
            progress: yield events of that kind too.

        Raises:
            NotFoundError: there is no such job.
        """
        loop = asyncio.get_running_loop()
        ended_at: float | None = None
        has_told_the_end = False
        while True:
            job = (await self._jobs.require(job_id)).job
            if not job.state.ended:
                ended_at = None
            elif ended_at is None:
                ended_at = loop.time()
            subject = subjects.all_job_events(job_id)
            async for sequence, data in messages_behind(self._js, subjects.EVENTS_STREAM, subject, after):
                after = sequence
                # Anyone who may publish to NATS may have written something else there.
                event = decoded_or_none(subjects.EVENTS_STREAM, str(sequence), data, JobEvent.from_json)
                if event is None:
                    continue
                if event.kind is EventKind.STATE:
                    has_told_the_end = event.state == job.state.name.lower()
                if progress or event.kind is not EventKind.PROGRESS:
                    yield sequence, event
            waited_enough = ended_at is not None and loop.time() - ended_at >= _LAST_EVENTS_SECONDS
            if not follow or (job.state.ended and (has_told_the_end or waited_enough)):
                return
            await asyncio.sleep(_LOOK_SECONDS)
