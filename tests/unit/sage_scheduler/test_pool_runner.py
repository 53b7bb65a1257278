"""Requests through a real scheduler: nats, edge, executor, fake engines."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from fixtures.engines import FakeEngine, answer
from fixtures.mesh import CHAT, Mesh, until

from sage_common.clock import MonotonicClock
from sage_common.errors import (
    CancelledError,
    ContendedError,
    DeadlineExceededError,
    EngineFailedError,
)
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.executor.executor import Executor


class Gate:
    """A behaviour that answers when the test opens it."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def __call__(self, job: EngineRequest, reply: ReplyWriter) -> None:
        await self.opened.wait()
        await answer(job, reply)


async def stall(job: EngineRequest, reply: ReplyWriter) -> None:
    await asyncio.Event().wait()


async def breaks(job: EngineRequest, reply: ReplyWriter) -> None:
    raise EngineFailedError("connection reset", retryable=True)


async def test_a_request_is_answered(mesh: Mesh) -> None:
    await mesh.scheduler("s1")
    await mesh.host(FakeEngine())
    reply = mesh.submit("r")
    head = await reply.head()
    assert (head.engine_id, head.tries) == ("fake-0", 1)
    assert head.queue_ms < 50
    assert await reply.read() == CHAT


async def test_a_burst_of_equal_requests_spreads_over_equal_engines(mesh: Mesh) -> None:
    await mesh.scheduler("s1")
    gate = Gate()
    engines = [FakeEngine(f"fake-{n}", gate) for n in range(3)]
    await mesh.host(*engines)
    replies = [mesh.submit(f"r{n}") for n in range(60)]
    await until(lambda: sum(len(engine.jobs) for engine in engines) == 60)
    gate.opened.set()
    await asyncio.gather(*(reply.read() for reply in replies))
    assert all(18 <= len(engine.jobs) <= 22 for engine in engines)


async def test_engines_hold_no_more_than_their_credit(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    gate = Gate()
    engine = FakeEngine("fake-0", gate, max_concurrency=3)
    await mesh.host(engine)
    replies = [mesh.submit(f"r{n}") for n in range(10)]
    await until(lambda: scheduler.leases.runners["main"].manager.queued == 7 and len(engine.jobs) >= 3)
    assert len(engine.jobs) == 3
    gate.opened.set()
    heads = [await reply.head() for reply in replies]
    assert heads[0].queue_ms < heads[-1].queue_ms
    await asyncio.gather(*(reply.read() for reply in replies))


async def test_a_request_that_an_engine_fails_is_answered_by_another(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    engines = [FakeEngine("broken", breaks), FakeEngine("whole")]
    await mesh.host(*engines)
    replies = [mesh.submit(f"r{n}") for n in range(8)]
    for reply in replies:
        assert (await reply.head()).engine_id == "whole"
        await reply.read()
    tries = Counter([(await reply.head()).tries for reply in replies])
    assert tries[2] >= 1
    assert scheduler.leases.runners["main"].manager.totals.retried >= 1


async def test_when_every_engine_fails_the_last_error_is_the_answer(mesh: Mesh) -> None:
    await mesh.scheduler("s1")
    engines = [FakeEngine(f"broken-{n}", breaks) for n in range(4)]
    await mesh.host(*engines)
    with pytest.raises(EngineFailedError, match="gave up after 3 tries"):
        await mesh.submit("r").read()
    assert sum(len(engine.jobs) for engine in engines) == 3


async def test_a_cancelled_request_stops_on_its_engine(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    engine = FakeEngine("fake-0", stall)
    await mesh.host(engine)
    reply = mesh.submit("r")
    await engine.job_arrived.wait()
    reply.cancel()
    with pytest.raises(CancelledError):
        await reply.read()
    await engine.job_cancelled.wait()
    await until(lambda: scheduler.leases.runners["main"].manager.outstanding == 0)


async def test_a_queued_request_that_is_cancelled_never_reaches_an_engine(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    gate = Gate()
    engine = FakeEngine("fake-0", gate, max_concurrency=1)
    await mesh.host(engine)
    first, second, third = (mesh.submit(f"r{n}") for n in range(3))
    await until(lambda: scheduler.leases.runners["main"].manager.queued == 2)
    second.cancel()
    await until(lambda: scheduler.leases.runners["main"].manager.queued == 1)
    gate.opened.set()
    await asyncio.gather(first.read(), third.read())
    assert [job.request_id for job in engine.jobs] == [first.request_id, third.request_id]


async def test_work_waits_for_an_engine_to_appear_and_is_refused_when_its_time_is_up(mesh: Mesh) -> None:
    await mesh.scheduler("s1")
    await mesh.host(FakeEngine("fake-0", stall, max_concurrency=1))
    mesh.submit("busy")
    with pytest.raises(DeadlineExceededError):
        await mesh.submit("late", timeout_seconds=0.4).read()


async def test_a_full_queue_is_refused_with_when_to_come_back(mesh: Mesh) -> None:
    await mesh.scheduler("s1", max_queued=2)
    await mesh.host(FakeEngine("fake-0", stall, max_concurrency=1))
    replies = [mesh.submit(f"r{n}") for n in range(5)]
    with pytest.raises(ContendedError) as caught:
        await replies[4].read()
    assert caught.value.retry_after_seconds


async def test_requests_on_a_lost_executor_are_answered_elsewhere(mesh: Mesh) -> None:
    await mesh.scheduler("s1")
    doomed = FakeEngine("doomed", stall)
    executor = await mesh.host(doomed)
    replies = [mesh.submit(f"r{n}") for n in range(5)]
    await until(lambda: len(doomed.jobs) == 5)
    await mesh.host(FakeEngine("other"))
    await executor.remove("doomed", drain=False, timeout_seconds=0)
    for reply in replies:
        head = await asyncio.wait_for(reply.head(), 5)
        assert head.engine_id == "other"
        await reply.read()


async def test_a_dead_executor_is_noticed_at_the_next_dispatch(mesh: Mesh) -> None:
    """Its connection is gone, so NATS says that nobody listens; no heartbeat has to be missed first."""
    scheduler = await mesh.scheduler("s1")
    ring = await mesh.new_ring()
    doomed = Executor(ring, "doomed-executor", "test", MonotonicClock())
    await doomed.start()
    await doomed.host(FakeEngine("a-doomed"))
    await mesh.host(FakeEngine("other"))
    manager = scheduler.leases.runners["main"].manager
    await until(lambda: len(manager.engines) == 2)
    await ring.connection.close()
    started = asyncio.get_running_loop().time()
    replies = [mesh.submit(f"r{n}") for n in range(10)]
    for reply in replies:
        assert (await reply.head()).engine_id == "other"
        await reply.read()
    assert asyncio.get_running_loop().time() - started < 0.5
