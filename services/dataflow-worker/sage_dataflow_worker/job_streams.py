"""The JetStream streams of jobs: their set-up, submission, and the queue that workers pull from."""

from __future__ import annotations

from dataclasses import dataclass

from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, Header, RetentionPolicy, StorageType, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from sage_common.errors import ContendedError
from sage_common.trace_context import current_traceparent
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_kernel.pipeline_text import MAX_TEXT_BYTES
from sage_mesh.inference_request import DEFAULT_TENANT
from sage_platform import subjects
from sage_platform.streams import ensure_stream

JOB_ID_HEADER = "Sage-Job-Id"
TENANT_HEADER = "Sage-Tenant"
TRACEPARENT_HEADER = "traceparent"
CONSUMER = "dataflow-workers"
# Submitting an id again within this time is answered by the stream itself; later on the job's state answers it.
DUPLICATE_WINDOW_SECONDS = 120.0
_HEADER_BYTES = 64 * 1024
_DAY_SECONDS = 86_400.0
_DLQ_DAYS = 30.0
# A job without end tells of its progress twice a second: the latest of each kind, and of each task, are kept.
_EVENTS_A_SUBJECT = 1000
_MOST_EVENTS = 1_000_000


@dataclass(frozen=True)
class Submission:
    """What the stream said: the message's sequence, and whether the id was submitted before."""

    sequence: int
    duplicate: bool


class JobStreams:
    """Creates the streams and the workers' consumer, and publishes jobs."""

    def __init__(self, js: JetStreamContext, settings: DataflowWorkerSettings) -> None:
        self._js = js
        self._settings = settings

    async def ensure(self) -> None:
        """Create what is not there. Streams that exist keep the settings that their operator gave them."""
        settings = self._settings
        retention = settings.job_retention_days * _DAY_SECONDS
        await self._ensure_stream(
            StreamConfig(
                name=subjects.JOBS_STREAM,
                subjects=[subjects.JOBS_SUBMIT],
                retention=RetentionPolicy.WORK_QUEUE,
                discard=DiscardPolicy.NEW,
                storage=StorageType.FILE,
                max_msgs=settings.max_queued_jobs,
                max_msg_size=MAX_TEXT_BYTES + _HEADER_BYTES,
                duplicate_window=DUPLICATE_WINDOW_SECONDS,
            )
        )
        results = [subjects.RESULTS_ALL, subjects.RESULT_FENCES_ALL]
        for name, stream_subjects, age in (
            (subjects.RESULTS_STREAM, results, retention),
            (subjects.DLQ_STREAM, [subjects.DLQ_ALL], _DLQ_DAYS * _DAY_SECONDS),
        ):
            await self._ensure_stream(
                StreamConfig(
                    name=name,
                    subjects=stream_subjects,
                    retention=RetentionPolicy.LIMITS,
                    storage=StorageType.FILE,
                    max_age=age,
                    duplicate_window=DUPLICATE_WINDOW_SECONDS,
                )
            )
        await self._ensure_stream(
            StreamConfig(
                name=subjects.EVENTS_STREAM,
                subjects=[subjects.EVENTS_ALL],
                retention=RetentionPolicy.LIMITS,
                discard=DiscardPolicy.OLD,
                storage=StorageType.FILE,
                max_age=retention,
                max_msgs=_MOST_EVENTS,
                max_msgs_per_subject=_EVENTS_A_SUBJECT,
                duplicate_window=DUPLICATE_WINDOW_SECONDS,
            )
        )
        # Deliveries are counted by the job's attempts, not by max_deliver: an exhausted message would reach no worker.
        await self._js.add_consumer(
            subjects.JOBS_STREAM,
            ConsumerConfig(
                durable_name=CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=settings.ack_wait_seconds,
                max_deliver=-1,
                max_ack_pending=10_000,
            ),
        )

    async def pull(self) -> JetStreamContext.PullSubscription:
        """Return the subscription that workers fetch from."""
        return await self._js.pull_subscribe_bind(consumer=CONSUMER, stream=subjects.JOBS_STREAM)

    async def submit(
        self, job_id: str, pipeline: str, tenant: str = DEFAULT_TENANT, message_id: str = ""
    ) -> Submission:
        """Publish a job. Raises ContendedError when too many wait.

        Args:
            message_id: another than the job's id for one that goes on after a pause.
        """
        headers = {JOB_ID_HEADER: job_id, TENANT_HEADER: tenant, Header.MSG_ID.value: message_id or job_id}
        if traceparent := current_traceparent():
            headers[TRACEPARENT_HEADER] = traceparent
        try:
            ack = await self._js.publish(
                subjects.JOBS_SUBMIT,
                pipeline.encode(),
                stream=subjects.JOBS_STREAM,
                headers=headers,
            )
        except APIError as error:
            raise ContendedError(f"the job was not taken: {error.description}; submit it again later") from None
        return Submission(ack.seq, bool(ack.duplicate))

    async def _ensure_stream(self, config: StreamConfig) -> None:
        existing = await ensure_stream(self._js, config)
        missing = set(config.subjects or ()) - set(existing.subjects or ()) if existing is not None else set()
        if existing is not None and missing:
            # An earlier version made it. Everything else stays as its operator wants it.
            await self._js.update_stream(existing.evolve(subjects=[*(existing.subjects or ()), *sorted(missing)]))
