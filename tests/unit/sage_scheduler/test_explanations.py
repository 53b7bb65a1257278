"""Explanations through real schedulers: whoever is asked, whoever decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from fixtures.engines import FakeEngine, answer
from fixtures.mesh import Mesh, until

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_common.errors import EngineFailedError, UnavailableError
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_platform.grpc_server import GrpcServer, channel
from sage_scheduler.main import Scheduler


@asynccontextmanager
async def served(scheduler: Scheduler) -> AsyncIterator[scheduler_pb2_grpc.SchedulerServiceStub]:
    server = GrpcServer()
    register = scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server
    server.add(register, scheduler.servicer, "sage.scheduler.v1.SchedulerService")
    port = await server.start("127.0.0.1", 0, setting="port")
    async with channel(f"127.0.0.1:{port}") as opened:
        yield scheduler_pb2_grpc.SchedulerServiceStub(opened)
    await server.stop(0)


async def explain(scheduler: Scheduler, request_id: str) -> list[scheduler_pb2.Explanation]:
    async with served(scheduler) as stub:
        response = await stub.Explain(scheduler_pb2.ExplainRequest(request_id=request_id))
    return list(response.explanations)


async def ended(scheduler: Scheduler, request_id: str) -> None:
    runner = scheduler.leases.runners["main"]
    await until(lambda: not runner.holds(request_id))


async def breaks(job: EngineRequest, reply: ReplyWriter) -> None:
    raise EngineFailedError("connection reset", retryable=True)


async def stall(job: EngineRequest, reply: ReplyWriter) -> None:
    await asyncio.Event().wait()


async def test_a_finished_request_is_explained(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine("a"), FakeEngine("b"))
    head = await (reply := mesh.submit("r", tenant="ann")).head()
    await reply.read()
    await ended(scheduler, "r")
    (explanation,) = await explain(scheduler, "r")
    assert (explanation.scheduler_id, explanation.state, explanation.tenant, explanation.policy) == (
        "s1",
        "finished",
        "ann",
        "hybrid",
    )
    assert explanation.engine_id == head.engine_id
    assert explanation.classification.model == "fake"
    assert explanation.classification.reasons
    assert explanation.queue_ms == pytest.approx(head.queue_ms, abs=0.01)
    assert 0 < explanation.actual_ttft_ms <= explanation.ended_after_ms <= explanation.age_ms + 1
    (dispatch,) = explanation.dispatches
    assert dispatch.candidates[0].engine_id == head.engine_id
    assert {candidate.engine_id for candidate in dispatch.candidates} == {"a", "b"}


async def test_a_retried_request_shows_what_went_wrong_at_first(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    first = FakeEngine("a", breaks)
    await mesh.host(first)
    reply = mesh.submit("r")
    await first.job_arrived.wait()
    await mesh.host(FakeEngine("b"))
    await reply.read()
    await ended(scheduler, "r")
    (explanation,) = await explain(scheduler, "r")
    assert [(d.engine_id, d.tries) for d in explanation.dispatches] == [("a", 1), ("b", 2)]
    assert explanation.dispatches[0].error_code == "engine_failed"
    assert explanation.dispatches[0].error_message == "connection reset"
    assert (explanation.state, explanation.engine_id, explanation.error_code) == ("finished", "b", "")


async def test_a_refused_request_shows_why(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1", absence_seconds=0.0)
    executor = await mesh.host(FakeEngine("a"))
    await mesh.submit("first").read()
    async with served(scheduler) as stub:
        await stub.DrainEngine(scheduler_pb2.DrainEngineRequest(engine_id="a"))
    with pytest.raises(UnavailableError):
        await mesh.submit("r").read()
    (explanation,) = await explain(scheduler, "r")
    assert (explanation.state, explanation.error_code, list(explanation.dispatches)) == ("refused", "no_engine", [])
    assert "'fake'" in explanation.error_message
    assert executor.outstanding == 0


async def test_what_waits_and_what_runs_is_explained_too(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1", headroom=0.0)
    engine = FakeEngine("a", stall, max_concurrency=1)
    await mesh.host(engine)
    mesh.submit("runs")
    await engine.job_arrived.wait()
    waiting = mesh.submit("waits")
    await until(lambda: scheduler.leases.runners["main"].manager.queued == 1)
    (runs,) = await explain(scheduler, "runs")
    (waits,) = await explain(scheduler, "waits")
    assert (runs.state, runs.HasField("actual_ttft_ms"), runs.HasField("ended_after_ms")) == ("running", False, False)
    assert (waits.state, waits.engine_id, waits.HasField("ended_after_ms")) == ("queued", "", False)
    assert waits.queue_ms > 0
    waiting.cancel("had enough")
    await ended(scheduler, "waits")
    assert (await explain(scheduler, "waits"))[0].state == "cancelled"


async def test_any_replica_explains_what_another_decided_even_after_its_leadership(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: "main" in leader.leases.runners)
    standby = await mesh.scheduler("standby")
    await mesh.host(FakeEngine("a", answer))
    await mesh.submit("r").read()
    await ended(leader, "r")
    (explanation,) = await explain(standby, "r")
    assert (explanation.scheduler_id, explanation.state) == ("leader", "finished")
    await leader.leases.stop()
    await until(lambda: "main" in standby.leases.runners)
    assert [e.scheduler_id for e in await explain(standby, "r")] == ["leader"]
    assert [e.scheduler_id for e in await explain(leader, "r")] == ["leader"]


async def test_a_request_that_moved_to_another_leader_is_explained_by_both(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: "main" in leader.leases.runners)
    standby = await mesh.scheduler("standby")
    gate = asyncio.Event()

    async def wait(job: EngineRequest, reply: ReplyWriter) -> None:
        await gate.wait()
        await answer(job, reply)

    engine = FakeEngine("a", wait)
    await mesh.host(engine)
    reply = mesh.submit("r")
    await engine.job_arrived.wait()
    await leader.leases.stop()
    await until(lambda: "main" in standby.leases.runners and standby.leases.runners["main"].holds("r"))
    gate.set()
    await reply.read()
    await ended(standby, "r")
    latest, earlier = await explain(leader, "r")
    assert (latest.scheduler_id, latest.state, latest.engine_id) == ("standby", "finished", "a")
    assert (earlier.scheduler_id, earlier.state, len(earlier.dispatches)) == ("leader", "running", 1)


async def test_nobody_remembers_an_unknown_request(mesh: Mesh) -> None:
    first = await mesh.scheduler("first")
    await mesh.scheduler("second")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explain(first, "nope")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "'nope'" in (caught.value.details() or "")


async def test_with_nothing_kept_nothing_is_remembered(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1", explained=0)
    await mesh.host(FakeEngine())
    await mesh.submit("r").read()
    with pytest.raises(grpc.aio.AioRpcError):
        await explain(scheduler, "r")
