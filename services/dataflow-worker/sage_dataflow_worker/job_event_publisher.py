"""Publishes what happens to jobs to the stream of events, behind whoever made it happen."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nats.errors import Error as NatsError
from nats.js.api import Header
from nats.js.client import JetStreamContext
from prometheus_client import Counter

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_dataflow_worker.job import Job
from sage_dataflow_worker.job_event import JobEvent, job_events, task_events
from sage_dataflow_worker.job_task import JobTask
from sage_platform import subjects
from sage_platform.background import keep_running

log = get_logger(__name__)

MOST_WAITING = 10_000
# Published together: each is acknowledged, and a round trip for each would let a burst wait.
_AT_ONCE = 64
_AGAIN_SECONDS = 1.0
# One that the server does not take so often is given up, so that those behind it go out.
_MOST_TRIES = 30
_LAST_FLUSH_SECONDS = 1.0
_MOST_KNOWN = 4096

T = TypeVar("T")


class LastSeen(Generic[T]):
    """What this process has last read or written, by key: a write by compare-and-set follows one or the other."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def note(self, key: str, value: T, revision: int) -> None:
        """Take what was read, or written."""
        if key in self._seen and self._seen[key][1] > revision:
            return  # a watcher is behind what this process has written
        self._seen[key] = value, revision
        self._seen.move_to_end(key)
        if len(self._seen) > _MOST_KNOWN:
            self._seen.popitem(last=False)

    def replace(self, key: str, value: T, revision: int, previous_revision: int) -> T | None:
        """Take what was written, and return what it has replaced; None where that is not known."""
        before, seen = self._seen.pop(key, (None, -1))
        self.note(key, value, revision)
        return before if seen == previous_revision else None


@dataclass(slots=True)
class _Waiting:
    event: JobEvent
    message_id: str
    tries: int = 0


class JobEventPublisher:
    """Takes what is written of jobs and tasks, and tells what has happened.

    Nothing waits for it: events queue up to ``MOST_WAITING`` while NATS is away or its disk is full, then the oldest
    go, and are counted. The stored state is what holds; events say how it came about.

    Args:
        dropped: counts events that nobody will see.
        now_ms: milliseconds since 1970-01-01 UTC.
    """

    def __init__(self, js: JetStreamContext, dropped: Counter, now_ms: Callable[[], int]) -> None:
        self._js = js
        self._dropped = dropped
        self._now_ms = now_ms
        self._jobs = LastSeen[Job]()
        self._tasks = LastSeen[JobTask]()
        self._waiting: deque[_Waiting] = deque()
        self._due = asyncio.Event()
        self._is_failing = False
        self._publisher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Publish what comes."""
        self._publisher = keep_running(self._publish_forever, name="publish-job-events")

    async def stop(self) -> None:
        """Publish what waits, if that is done at once, and nothing more."""
        if self._publisher is not None:
            await end_tasks(self._publisher)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._publish_waiting(), _LAST_FLUSH_SECONDS)

    def job_read(self, job: Job, revision: int) -> None:
        """Note what a write of this worker may change."""
        self._jobs.note(job.job_id, job, revision)

    def job_written(self, job: Job, revision: int, previous_revision: int) -> None:
        """Tell what a write of this worker has changed of a job."""
        before = self._jobs.replace(job.job_id, job, revision, previous_revision)
        self._queue(job_events(before, job), f"{job.job_id}:{revision}")

    def task_read(self, task: JobTask, revision: int) -> None:
        """Note what a write of this worker may change."""
        self._tasks.note(subjects.task_key(task.job_id, task.number), task, revision)

    def task_written(self, task: JobTask, revision: int, previous_revision: int) -> None:
        """Tell what a write of this worker has changed of a task."""
        before = self._tasks.replace(subjects.task_key(task.job_id, task.number), task, revision, previous_revision)
        self._queue(task_events(before, task, self._now_ms()), f"{task.job_id}:{task.number}:{revision}")

    def _queue(self, events: Iterable[JobEvent], message_id: str) -> None:
        for event in events:
            # Told again, since no answer came, it is stored once.
            self._waiting.append(_Waiting(event, f"{event.kind.value}:{message_id}"))
        while len(self._waiting) > MOST_WAITING:
            self._waiting.popleft()
            self._dropped.inc()
        if self._waiting:
            self._due.set()

    async def _publish_forever(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            while self._waiting:
                if not await self._publish_some():
                    await asyncio.sleep(_AGAIN_SECONDS)

    async def _publish_waiting(self) -> None:
        while self._waiting and await self._publish_some():
            pass

    async def _publish_some(self) -> bool:
        """Publish the oldest, in order. False: the server did not take all of them, and those wait again."""
        sent = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        try:
            outcomes = await asyncio.gather(*(map(self._publish, sent)), return_exceptions=True)
        except asyncio.CancelledError:
            self._waiting.extendleft(reversed(sent))
            raise
        failed = [(one, outcome) for one, outcome in zip(sent, outcomes, strict=True) if outcome is not None]
        for one, outcome in failed:
            if not isinstance(outcome, NatsError | asyncio.TimeoutError):
                raise outcome
            one.tries += 1
        if bool(failed) != self._is_failing:
            self._is_failing = bool(failed)
            if failed:
                error = failed[0][1]
                log.warning("events of jobs not published; trying again", error=str(error) or repr(error))
        again = [one for one, _ in failed if one.tries < _MOST_TRIES]
        self._dropped.inc(len(failed) - len(again))
        self._waiting.extendleft(reversed(again))
        return not failed

    async def _publish(self, waiting: _Waiting) -> None:
        event = waiting.event
        headers = {Header.MSG_ID.value: waiting.message_id}
        await self._js.publish(event.subject, event.to_json(), stream=subjects.EVENTS_STREAM, headers=headers)
