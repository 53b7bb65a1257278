"""Messages of jobs that go on after a pause or a failure, also of those whose worker died before it had sent one.

A resumption is written first and its message sent then, since what is delivered is dropped where the job's state does
not let it run. Between the two a worker may die: the job would be pending for ever. Every worker looks for such jobs
and sends the message in its place, under the same id, so that the stream takes it once. What is sent twice beyond the
stream's window is dropped when it is delivered: one message carries a job.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from nats.errors import Error as NatsError

from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job import Job, JobState
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_streams import JobStreams, Submission
from sage_dataflow_worker.pipeline_texts import PipelineTexts
from sage_platform.background import keep_running

log = get_logger(__name__)

# Longer than a worker that lives takes to send a message, with a server that comes back meanwhile.
SILENT_SECONDS = 10.0
LOOK_SECONDS = 2.0
MOST_AT_ONCE = 100


class Resumptions:
    """Sends the messages of resumed jobs."""

    def __init__(self, streams: JobStreams, jobs: JobStore, texts: PipelineTexts, clock: Clock) -> None:
        self._streams = streams
        self._jobs = jobs
        self._texts = texts
        self._clock = clock
        self._seen_at: dict[tuple[str, int], float] = {}
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for jobs whose message is missing from now on."""
        self._looking = keep_running(self._look_forever, name="lost-resumptions")

    async def stop(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            await end_tasks(self._looking)

    async def send(self, job: Job, text: bytes) -> Submission:
        """Send the message of a job that is pending. Raises ContendedError, nats' Error, asyncio.TimeoutError."""
        message_id = f"{job.job_id}:resume:{job.resumes}"
        return await self._streams.submit(job.job_id, text.decode("utf-8", "replace"), job.tenant, message_id)

    async def note(self, job: Job, submission: Submission) -> None:
        """Write down which message carries a job, unless it has gone on meanwhile. Where that fails, others look."""
        try:
            stored = await self._jobs.get(job.job_id)
            if stored is not None and _lacks_message(stored.job) and stored.job.resumes == job.resumes:
                await self._jobs.write(replace(stored.job, message=submission.sequence), stored.revision)
        except (NatsError, asyncio.TimeoutError) as error:
            log.warning("the message of a job is not noted", job=job.job_id, error=str(error) or repr(error))

    async def send_lost(self, silent_seconds: float = SILENT_SECONDS) -> None:
        """Send the messages of jobs that have lacked one for ``silent_seconds``, as far as this worker has seen."""
        now = self._clock.now()
        lacking = {(job.job_id, job.resumes): job for job in self._jobs.newest(MOST_AT_ONCE, _lacks_message)}
        self._seen_at = {key: self._seen_at.get(key, now) for key in lacking}
        for key, job in lacking.items():
            if now - self._seen_at[key] < silent_seconds:
                continue
            try:
                await self.note(job, await self.send(job, await self._texts.text(job.job_id)))
            except SageError as error:
                # Too many jobs wait, or its pipeline is kept no more: it is tried again as long as it is pending.
                log.warning("a resumed job still has no message", job=job.job_id, error=error.message)
            else:
                log.info("the message of a resumed job was sent for a worker that did not", job=job.job_id)

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.send_lost()
            except (NatsError, asyncio.TimeoutError) as error:
                log.warning("lost resumptions are looked for again", error=str(error) or repr(error))


def _lacks_message(job: Job) -> bool:
    """Whether no message is known to carry a job that waits for one; a new job's state is written behind its own."""
    return job.state is JobState.PENDING and job.message == 0 and job.resumes > 0
