"""What happens to jobs, as the stream of events tells it, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
from fixtures.eventually import eventually
from fixtures.nats import NatsProcess
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.client import JetStreamContext
from prometheus_client import CollectorRegistry, Counter

from sage_common.errors import NotFoundError
from sage_common.service_settings import NatsSettings
from sage_dataflow_worker import job_event_publisher
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_dataflow_worker.job import Job, JobState, NodeProgress
from sage_dataflow_worker.job_event import EventKind, JobEvent, job_events, task_events
from sage_dataflow_worker.job_event_publisher import JobEventPublisher, LastSeen
from sage_dataflow_worker.job_history import JobHistory
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_streams import JobStreams
from sage_dataflow_worker.job_task import JobTask, TaskState
from sage_kernel.builder import Pipeline
from sage_kernel.placement.node_selection import TaskPlacement
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect

JOB = Job("j", "p", JobState.RUNNING, 1, 2, worker_id="a")
TASK = JobTask("j", 3, state=TaskState.RUNNING, worker_id="a", attempts=1)


def shouting(*texts: str) -> str:
    pipeline = Pipeline("shouting")
    pipeline.source(records=[{"text": text} for text in texts]).llm("{text}", ordered=True).sink("collection:out")
    return pipeline.to_yaml()


def told(events: Any) -> list[tuple[str, str, str]]:
    return [(event.kind.value, event.state, event.reason) for event in events]


def test_only_what_differs_from_the_earlier_form_of_a_job_is_told() -> None:
    assert told(job_events(JOB, replace(JOB, updated_unix_ms=9))) == []
    further = replace(JOB, progress={"n": NodeProgress(1, 2)})
    assert told(job_events(JOB, further)) == [("progress", "running", "")]
    assert told(job_events(further, replace(further, waiting="no room"))) == [("state", "running", "no room")]
    assert told(job_events(further, replace(further, tasks=2, plan="two files"))) == [("state", "running", "two files")]
    failed = further.ended_as(JobState.FAILED, 3, ("one", "two"))
    assert told(job_events(further, failed)) == [("state", "failed", "one; two")]
    assert told(job_events(None, further)) == [("progress", "running", ""), ("state", "running", "")]


def test_only_what_differs_from_the_earlier_form_of_a_task_is_told() -> None:
    assert told(task_events(TASK, replace(TASK, progress={"n": NodeProgress(1, 2)}), 5)) == []
    assert told(task_events(TASK, replace(TASK, checkpoint=4), 5)) == [("checkpoint", "running", "")]
    back = replace(TASK, state=TaskState.WAITING, worker_id="", left="it holds its lease no more")
    assert told(task_events(TASK, back, 5)) == [("task", "waiting", "it holds its lease no more")]
    placed = replace(back, state=TaskState.PLACED, worker_id="b", left="", placement=TaskPlacement("b", "room", ()))
    assert told(task_events(back, placed, 5)) == [("task", "placed", "room")]
    nowhere = replace(back, placement=TaskPlacement(None, "no GPU", ()))
    assert told(task_events(replace(back, left=""), replace(nowhere, left=""), 5)) == [("task", "waiting", "no GPU")]
    (event,) = task_events(TASK, replace(TASK, state=TaskState.FAILED, errors=("x" * 10_000,)), 5)
    assert (len(event.reason), event.task, event.unix_ms) == (2000, 3, 5)


def test_an_event_reads_back_as_it_was_and_those_of_a_newer_version_too() -> None:
    event = JobEvent("j", EventKind.PROGRESS, 5, "running", progress={"n": NodeProgress(1, 2, 3, 4, 5)})
    assert JobEvent.from_json(event.to_json()) == event
    assert JobEvent.from_json(event.to_json().replace(b'{"job_id"', b'{"colour":"red","job_id"')) == event


def test_what_a_write_replaces_is_known_where_it_was_read_or_written_here() -> None:
    seen = LastSeen[str]()
    assert seen.replace("k", "a", 7, 6) is None
    assert seen.replace("k", "b", 8, 7) == "a"
    seen.note("k", "a", 7)  # by a watcher that lags behind
    assert seen.replace("k", "c", 9, 8) == "b"
    assert seen.replace("k", "d", 12, 11) is None  # another worker wrote meanwhile
    assert seen.replace("k", "e", 2, 1) is None  # a bucket that was made again counts from one
    assert seen.replace("k", "f", 3, 2) == "e"


async def test_a_job_tells_what_happens_to_it_from_its_submission_to_its_end(workplace: Any) -> None:
    worker = await workplace.worker("one")
    await worker.api.submit(shouting("hi", "there"), "mine")
    history = worker.assembly.history
    found: list[tuple[int, JobEvent]] = []

    async def follow() -> None:
        async for item in history.events("mine", follow=True, progress=True):
            found.append(item)

    following = asyncio.create_task(follow())
    await worker.models.asked.wait()
    worker.models.gate.set()
    await asyncio.wait_for(following, 20)
    states = [event for _, event in found if event.kind is EventKind.STATE]
    assert [event.state for event in states] == ["pending", "running", "running", "succeeded"]
    assert states[2].reason == (await worker.api.get("mine")).plan
    tasks = [event for _, event in found if event.kind is EventKind.TASK]
    assert [(event.task, event.state) for event in tasks] == [
        (0, "waiting"), (0, "placed"), (0, "running"), (0, "succeeded"),
    ]  # fmt: skip
    assert (tasks[1].worker_id, tasks[1].reason[:9]) == ("one", "balanced:")
    (*_, last) = (event for _, event in found if event.kind is EventKind.PROGRESS)
    assert last.progress["sink"] == NodeProgress(2, 0)
    sequences = [sequence for sequence, _ in found]
    assert sequences == sorted(sequences)
    # Who comes back says what was seen, and who comes late reads it all.
    assert [item async for item in history.events("mine", sequences[2], progress=True)] == found[3:]
    without_progress = [item for item in found if item[1].kind is not EventKind.PROGRESS]
    # Whoever may publish may write anything there.
    await worker.ring.connection.jetstream().publish(subjects.job_events("mine", "state"), b"nonsense")
    assert [item async for item in history.events("mine", follow=True)] == without_progress
    with pytest.raises(NotFoundError, match="no job 'other'"):
        await anext(history.events("other"))


async def test_a_task_that_is_taken_back_from_a_dead_worker_says_so(workplace: Any) -> None:
    # The coordinator stays; the worker of the task dies.
    one, two = await asyncio.gather(workplace.worker("one", max_tasks=1), workplace.worker("two", max_tasks=1))
    await eventually(lambda: one.assembly.nodes.total_slots() == two.assembly.nodes.total_slots() == 2)
    await one.api.submit(shouting("hi"), "mine")
    await asyncio.wait({asyncio.create_task(w.models.asked.wait()) for w in (one, two)}, return_when="FIRST_COMPLETED")
    (task,) = one.assembly.task_store.of_job("mine")
    dying, other = (one, two) if task.worker_id == "one" else (two, one)
    await dying.die()
    other.models.gate.set()
    await other.until("mine", "SUCCEEDED")
    events = [event async for _, event in other.assembly.history.events("mine", follow=True)]
    reasons = [event.reason for event in events if event.kind is EventKind.TASK and event.state == "waiting"]
    assert f"worker {dying.assembly.worker._worker_id} holds its lease no more" in reasons
    assert [(e.state, e.worker_id) for e in events if e.kind is EventKind.TASK][-1][0] == "succeeded"


class FlakyStream:
    """Publishes to the real one, unless it is to fail."""

    def __init__(self, js: Any) -> None:
        self.js = js
        self.failure: Exception | None = None
        self.loses_answers = False

    async def publish(self, *arguments: Any, **options: Any) -> None:
        if self.failure is not None:
            raise self.failure
        await self.js.publish(*arguments, **options)
        if self.loses_answers:
            raise NatsTimeoutError


@dataclass
class Publishing:
    """A publisher on a real server, and what was stored there."""

    publisher: JobEventPublisher
    stream: FlakyStream
    dropped: Counter
    history: JobHistory

    def write(self, checkpoints: range) -> None:
        for number in checkpoints:
            self.publisher.task_written(replace(TASK, checkpoint=number), number, number - 1)

    async def stored_checkpoints(self) -> list[int]:
        await self.publisher.stop()
        return [event.checkpoint async for _, event in self.history.events("j") if event.kind is EventKind.CHECKPOINT]


@pytest.fixture
async def publishing(own_nats: NatsProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Publishing]:
    monkeypatch.setattr(job_event_publisher, "_AGAIN_SECONDS", 0.01)
    connection = await connect(NatsSettings(url=own_nats.url), name="events")
    js = connection.jetstream(timeout=2)
    await JobStreams(js, DataflowWorkerSettings()).ensure()
    stream = FlakyStream(js)
    dropped = Counter("dropped", "Dropped.", registry=CollectorRegistry())
    publisher = JobEventPublisher(cast(JetStreamContext, stream), dropped, lambda: 5)
    jobs = JobStore(await open_bucket(js, subjects.BUCKET_JOBS), publisher)
    await jobs.write(JOB, 0)
    await publisher.start()
    yield Publishing(publisher, stream, dropped, JobHistory(js, jobs))
    await publisher.stop()
    await connection.close()


async def test_the_latest_events_of_each_kind_and_task_are_kept(publishing: Publishing) -> None:
    config = (await publishing.stream.js.stream_info(subjects.EVENTS_STREAM)).config
    assert (config.max_msgs_per_subject, config.max_msgs) == (1000, 1_000_000)
    assert config.max_age == 7 * 86_400


async def test_events_wait_while_nats_is_away_and_come_in_order_and_once(publishing: Publishing) -> None:
    publisher, stream = publishing.publisher, publishing.stream
    stream.failure = NatsError("away")
    publishing.write(range(1, 200))
    await eventually(lambda: publisher._is_failing)
    stream.failure, stream.loses_answers = None, True
    await eventually(lambda: bool(publisher._waiting) and publisher._waiting[0].tries > 2)
    stream.loses_answers = False
    await eventually(lambda: not publisher._waiting)
    assert await publishing.stored_checkpoints() == list(range(1, 200))
    assert publishing.dropped._value.get() == 0


async def test_the_oldest_go_and_are_counted_where_too_many_wait(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_event_publisher, "MOST_WAITING", 10)
    await eventually(lambda: not publishing.publisher._waiting)
    publishing.stream.failure = NatsError("away")
    publishing.write(range(1, 31))
    await eventually(lambda: publishing.publisher._is_failing)
    publishing.stream.failure = None
    # The first one tells of the task's state too.
    assert await publishing.stored_checkpoints() == list(range(21, 31))
    assert publishing.dropped._value.get() == 31 - 10


async def test_what_the_server_never_takes_is_given_up_and_the_rest_goes_out(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_event_publisher, "_MOST_TRIES", 3)
    publishing.stream.failure = NatsError("no room on the disk")
    publishing.write(range(1, 2))
    await eventually(lambda: publishing.dropped._value.get() == 2)
    publishing.stream.failure = None
    publishing.write(range(2, 3))
    assert await publishing.stored_checkpoints() == [2]
