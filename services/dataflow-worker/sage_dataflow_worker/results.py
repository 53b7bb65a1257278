"""Publishing what a job produces while it runs: the records of its collections, exactly once over restarts.

Messages on ``sage.results.<job>`` are JSON: ``{"job_id", "task", "collection", "first", "records"}`` with the position
of the first record among those of its task; the last one is ``{"job_id", "end": true, "collections": {name: records},
…}``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence

import orjson
import polars as pl
from nats.js.api import Header
from nats.js.client import JetStreamContext
from nats.js.errors import BadRequestError
from nats.js.errors import NotFoundError as NoMessageError

from sage_common.errors import TooLargeError
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job_streams import JOB_ID_HEADER
from sage_dataflow_worker.job_task import JobTask
from sage_kernel.operator import State
from sage_kernel.runtime.fenced_sink import TakenOverError
from sage_kernel.stream_type import StreamType
from sage_platform import subjects

# A message is filled up to here; a single record may have twice as much, beyond that it belongs into a file.
MESSAGE_BYTES = 256 * 1024
MAX_RECORD_BYTES = 512 * 1024
# How long a record waits for others to share its message.
LINGER_SECONDS = 0.1
TASK_HEADER = "Sage-Task"
_FENCE = "Nats-Expected-Last-Subject-Sequence"
_FENCE_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
_WRONG_LAST_SEQUENCE = (10071, 10164)
_DIGEST_BYTES = 12
_RECORDS_AT_ONCE = 2000


class LeaseLostError(TakenOverError):
    """Another worker has taken this task over; nothing more of it may be written here."""

    default_code = "lease_lost"


class TaskResults:
    """Publishes the results of one task under one lease.

    The first thing that it writes is a mark on the task's fence subject. Every further message tells the server the
    sequence of that mark, so that the server refuses it once another holder has written a mark of its own.
    """

    def __init__(self, js: JetStreamContext, job_id: str, task: int) -> None:
        self._js = js
        self._job_id = job_id
        self._task = task
        self._subject = subjects.results(job_id)
        self._fence = 0
        self._is_first = False
        self._sinks: dict[str, ResultSink] = {}

    async def open(self, *, is_first: bool) -> None:
        """Shut earlier holders out.

        Args:
            is_first: nothing has been published by this task before.
        """
        self._is_first = is_first
        ack = await self._js.publish(
            subjects.result_fence(self._job_id, self._task), b"", stream=subjects.RESULTS_STREAM
        )
        self._fence = ack.seq

    def __call__(self, name: str, node_id: str, stream: StreamType) -> ResultSink:
        """Return the sink of a collection."""
        return self._sinks.setdefault(name, ResultSink(self, name))

    def published(self) -> dict[str, int]:
        """Return the records published by this task, by collection."""
        return {name: sink.published for name, sink in self._sinks.items()}

    async def publish(self, collection: str, first: int, records: Sequence[bytes]) -> int:
        """Publish one message and return its sequence. Raises LeaseLostError, nats.errors.Error."""
        body = {
            "job_id": self._job_id,
            "task": self._task,
            "collection": collection,
            "first": first,
            "records": [orjson.Fragment(record) for record in records],
        }
        headers = {
            JOB_ID_HEADER: self._job_id,
            TASK_HEADER: str(self._task),
            Header.MSG_ID.value: f"{self._job_id}:{self._task}:{collection}:{first}",
            _FENCE: str(self._fence),
            _FENCE_SUBJECT: subjects.result_fence(self._job_id, self._task),
        }
        try:
            ack = await self._js.publish(
                self._subject, orjson.dumps(body), stream=subjects.RESULTS_STREAM, headers=headers
            )
        except BadRequestError as error:
            if error.err_code in _WRONG_LAST_SEQUENCE:
                raise LeaseLostError(f"task {self._task} of job {self._job_id!r} is run by another worker") from None
            raise
        return ack.seq

    async def published_after(self, sequence: int, collection: str) -> Counter[bytes]:
        """Return what this task has published to a collection behind ``sequence``: how often which digest."""
        found: Counter[bytes] = Counter()
        if self._is_first:
            return found
        while True:
            try:
                message = await self._js.get_msg(
                    subjects.RESULTS_STREAM, seq=sequence + 1, subject=self._subject, next=True
                )
            except NoMessageError:
                return found
            sequence = int(message.seq or 0)
            if (message.headers or {}).get(TASK_HEADER) != str(self._task):
                continue
            body = orjson.loads(message.data or b"{}")
            if body.get("collection") == collection:
                found.update(_digest(orjson.dumps(record)) for record in body["records"])


class ResultSink:
    """Publishes the records of one collection.

    A checkpoint holds the sequence of the last message and how many records there were. On recovery the records that
    were published behind it are read back, and left out when they come again, in whatever order they come.
    """

    def __init__(self, results: TaskResults, collection: str) -> None:
        self._results = results
        self._collection = collection
        self._sequence = 0
        self.published = 0
        self._known: Counter[bytes] | None = None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._one_at_a_time = asyncio.Lock()
        self._lingering: asyncio.Task[None] | None = None

    async def write(self, frame: pl.DataFrame) -> None:
        """Take records. Raises TooLargeError for one over ``MAX_RECORD_BYTES``, before any of them is taken."""
        encoded: list[bytes] = []
        for piece in frame.iter_slices(_RECORDS_AT_ONCE):
            encoded += [_json(record) for record in piece.iter_rows(named=True)]
            # Leases and the message's life are kept up on this loop too.
            await asyncio.sleep(0)
        for position, record in enumerate(encoded):
            if len(record) > MAX_RECORD_BYTES:
                raise TooLargeError(
                    f"record {self.published + len(self._waiting) + position} of collection {self._collection!r} has "
                    f"{len(record)} bytes, over the limit of {MAX_RECORD_BYTES} for a message; keep fewer 'fields' in "
                    "the sink or use a jsonl sink"
                )
        for first in range(0, len(encoded), _RECORDS_AT_ONCE):
            await self._take(encoded[first : first + _RECORDS_AT_ONCE])
            await asyncio.sleep(0)

    async def _take(self, encoded: Sequence[bytes]) -> None:
        async with self._one_at_a_time:
            known = await self._known_records()
            for record in encoded:
                if known and known[digest := _digest(record)] > 0:
                    known[digest] -= 1
                    continue
                if self._waiting and self._waiting_bytes + len(record) > MESSAGE_BYTES:
                    await self._send()
                self._waiting.append(record)
                self._waiting_bytes += len(record)
        if self._waiting and (self._lingering is None or self._lingering.done()):
            self._raise_failure()
            self._lingering = asyncio.create_task(self._send_after_linger(), name="publish-results")

    async def flush(self) -> State:
        """Publish everything."""
        self._raise_failure()
        async with self._one_at_a_time:
            await self._known_records()
            await self._send()
            return State({"sequence": self._sequence, "records": self.published})

    async def restore(self, state: State) -> None:
        """Go on behind a checkpoint."""
        self._sequence = int(str(state.values["sequence"]))
        self.published = int(str(state.values["records"]))

    async def publish(self) -> None:
        """They are where they are wanted."""

    async def close(self) -> None:
        """Publish nothing more."""
        if self._lingering is not None:
            await end_tasks(self._lingering)

    def _raise_failure(self) -> None:
        if self._lingering is not None and self._lingering.done() and not self._lingering.cancelled():
            failure = self._lingering.exception()
            if failure is not None:
                raise failure

    async def _known_records(self) -> Counter[bytes]:
        if self._known is None:
            self._known = await self._results.published_after(self._sequence, self._collection)
            self.published += self._known.total()
        return self._known

    async def _send_after_linger(self) -> None:
        await asyncio.sleep(LINGER_SECONDS)
        async with self._one_at_a_time:
            await self._send()

    async def _send(self) -> None:
        if self._waiting:
            self._sequence = await self._results.publish(self._collection, self.published, self._waiting)
            self.published += len(self._waiting)
            self._waiting, self._waiting_bytes = [], 0


class JobEnd:
    """Publishes the last message of a job's results."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def publish(self, job_id: str, spec_hash: str, tasks: Sequence[JobTask]) -> None:
        """Say that everything is there. Raises nats.errors.Error."""
        collections: Counter[str] = Counter()
        for task in tasks:
            collections.update(task.collections)
        end = {
            "job_id": job_id,
            "end": True,
            "spec_hash": spec_hash,
            "collections": dict(collections),
            "failed_records": sum(c.records_failed for task in tasks for c in task.progress.values()),
            "skipped": [list(item) for task in tasks for item in task.skipped][:1000],
            "warnings": [list(item) for task in tasks for item in task.warnings][:1000],
        }
        headers = {JOB_ID_HEADER: job_id, Header.MSG_ID.value: f"{job_id}:end"}
        await self._js.publish(
            subjects.results(job_id), orjson.dumps(end), stream=subjects.RESULTS_STREAM, headers=headers
        )


def _digest(record: bytes) -> bytes:
    return hashlib.blake2b(record, digest_size=_DIGEST_BYTES).digest()


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=str)
