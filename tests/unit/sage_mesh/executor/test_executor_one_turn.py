"""What comes to an executor in one turn of its loop, before a task of it has taken its first step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from fixtures.engines import FakeEngine
from fixtures.eventually import eventually
from fixtures.nats import NatsProcess
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2, frame_pb2, request_pb2
from sage_common.clock import MonotonicClock
from sage_common.service_settings import NatsSettings
from sage_control_plane.request.request import Attempt
from sage_mesh.executor.executor import Executor
from sage_mesh.wire.requests import attempt_to_wire
from sage_platform import subjects
from sage_platform.nats_connection import connect
from sage_platform.ring import Message, Ring

CANCELLED, FINISHED = engine_pb2.REPORT_EVENT_CANCELLED, engine_pb2.REPORT_EVENT_FINISHED


class OpenRing(Ring):
    """A ring whose handlers a test calls itself, as many in one turn as it likes, and that keeps what is reported."""

    def __init__(self, connection: Client) -> None:
        super().__init__(connection)
        self.handlers: dict[str, Callable[[Sequence[Any]], None]] = {}
        self.reports: list[engine_pb2.Report] = []

    async def subscribe(
        self, subject: str, batch_type: type[Any], handler: Callable[[Sequence[Any]], None], *, queue: str = ""
    ) -> Subscription:
        self.handlers[subject] = handler
        return await super().subscribe(subject, batch_type, handler, queue=queue)

    def send(self, subject: str, message: Message) -> None:
        if isinstance(message, engine_pb2.Report):
            self.reports.append(message)
        super().send(subject, message)

    def told(self) -> list[tuple[int, int]]:
        """Dispatch number and event of each report."""
        return [(report.attempt.dispatch, report.event) for report in self.reports]


@pytest.fixture
async def ring(nats_server: NatsProcess) -> AsyncIterator[OpenRing]:
    connection = await connect(NatsSettings(url=nats_server.url), name="test")
    ring = OpenRing(connection)
    await ring.start()
    yield ring
    await ring.close()
    await connection.close()


@pytest.fixture
async def executor(ring: OpenRing) -> AsyncIterator[Executor]:
    executor = Executor(ring, "executor", "test-executor", MonotonicClock())
    await executor.start()
    yield executor
    await executor.stop(0)


def dispatch(number: int) -> frame_pb2.Dispatch:
    return frame_pb2.Dispatch(
        request=request_pb2.InferenceRequest(
            request_id="r", endpoint=request_pb2.ENDPOINT_CHAT_COMPLETIONS, body=b"{}", reply_subject="nobody.reads"
        ),
        classification=request_pb2.Classification(
            kind=request_pb2.REQUEST_KIND_LLM_CHAT,
            pool="default",
            model="fake",
            service_class=request_pb2.SERVICE_CLASS_INTERACTIVE,
            priority=request_pb2.PRIORITY_NORMAL,
        ),
        engine_id="fake-0",
        attempt=attempt_to_wire(Attempt(1, number)),
        tries=number,
    )


async def test_a_request_cancelled_in_the_turn_of_its_dispatch_is_told_once_and_leaves_nothing(
    ring: OpenRing, executor: Executor
) -> None:
    engine = FakeEngine()
    await executor.host(engine)
    ring.handlers[subjects.dispatch("fake-0")]([dispatch(1)])
    ring.handlers[subjects.CANCEL]([engine_pb2.Cancellation(request_id="r")] * 2)
    await eventually(lambda: executor.outstanding == 0, seconds=5)
    assert ring.told() == [(1, CANCELLED)]
    assert not engine.jobs
    assert await asyncio.wait_for(executor.remove("fake-0", drain=True, timeout_seconds=60), 5) == 0
    assert ring.told() == [(1, CANCELLED)]


async def test_of_two_attempts_in_one_batch_the_newer_answers_and_the_older_is_told_as_cancelled(
    ring: OpenRing, executor: Executor
) -> None:
    engine = FakeEngine()
    await executor.host(engine)
    ring.handlers[subjects.dispatch("fake-0")]([dispatch(1), dispatch(2)])
    await eventually(lambda: executor.outstanding == 0, seconds=5)
    assert ring.told() == [(1, CANCELLED), (2, FINISHED)]
    assert [job.attempt.dispatch for job in engine.jobs] == [2]
