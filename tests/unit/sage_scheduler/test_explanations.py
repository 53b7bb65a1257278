"""Explanations through real schedulers: whoever is asked, whoever decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.engines import FakeEngine, answer
from fixtures.mesh import Mesh, until

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_common.api_keys import ApiKeys
from sage_common.errors import ContendedError, EngineFailedError, UnavailableError
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_platform.grpc_server import NO_KEYS, GrpcServer, channel
from sage_scheduler.explanations import MOST_EXPLAINED, explanation_to_wire
from sage_scheduler.main import Scheduler


@asynccontextmanager
async def served(
    scheduler: Scheduler, keys: ApiKeys = NO_KEYS
) -> AsyncIterator[scheduler_pb2_grpc.SchedulerServiceStub]:
    server = GrpcServer(keys)
    register = scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server
    server.add(register, scheduler.servicer, "sage.scheduler.v1.SchedulerService")
    port = await server.start("127.0.0.1", 0, setting="port")
    async with channel(f"127.0.0.1:{port}") as opened:
        yield scheduler_pb2_grpc.SchedulerServiceStub(opened)
    await server.stop(0)


async def explain(scheduler: Scheduler, request_id: str, tenant: str = "") -> list[scheduler_pb2.Explanation]:
    async with served(scheduler) as stub:
        response = await stub.Explain(scheduler_pb2.ExplainRequest(request_id=request_id, tenant=tenant))
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
    await ended(scheduler, reply.request_id)
    (explanation,) = await explain(scheduler, "r")
    assert (explanation.request_id, explanation.correlation_id) == (reply.request_id, "r")
    assert await explain(scheduler, reply.request_id)
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
    await ended(scheduler, reply.request_id)
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
    await ended(scheduler, waiting.request_id)
    assert (await explain(scheduler, "waits"))[0].state == "cancelled"


async def test_any_replica_explains_what_another_decided_even_after_its_leadership(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: "main" in leader.leases.runners)
    standby = await mesh.scheduler("standby")
    await mesh.host(FakeEngine("a", answer))
    reply = mesh.submit("r")
    await reply.read()
    await ended(leader, reply.request_id)
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
    await until(lambda: "main" in standby.leases.runners and standby.leases.runners["main"].holds(reply.request_id))
    gate.set()
    await reply.read()
    await ended(standby, reply.request_id)
    latest, earlier = await explain(leader, "r")
    # The engine's heartbeats say whose it is, though its submission never came to the new leader.
    assert (latest.request_id, latest.correlation_id, latest.tenant) == (reply.request_id, "r", "default")
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


async def test_a_callers_id_explains_every_request_that_has_it(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: "main" in leader.leases.runners)
    standby = await mesh.scheduler("standby")
    await mesh.host(FakeEngine("a"))
    replies = [mesh.submit("same") for _ in range(3)]
    await asyncio.gather(*(reply.read() for reply in replies), mesh.submit("other").read())
    await until(lambda: leader.leases.runners["main"].manager.outstanding == 0)
    for scheduler in (leader, standby):
        found = await explain(scheduler, "same")
        assert {one.request_id for one in found} == {reply.request_id for reply in replies}
        assert {one.correlation_id for one in found} == {"same"}
    ages = [one.decided_ms_ago for one in found]
    assert ages == sorted(ages)


async def test_a_callers_id_belongs_to_its_tenant_however_often_another_uses_it(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine("a"))
    mine = mesh.submit("same", tenant="ann")
    await mine.read()
    others = [mesh.submit("same", tenant="bob") for _ in range(MOST_EXPLAINED + 1)]
    await asyncio.gather(*(reply.read() for reply in others))
    await until(lambda: scheduler.leases.runners["main"].manager.outstanding == 0)
    assert [(one.request_id, one.tenant) for one in await explain(scheduler, "same", "ann")] == [
        (mine.request_id, "ann")
    ]
    found = await explain(scheduler, "same")
    assert (len(found), {one.tenant for one in found}) == (MOST_EXPLAINED, {"bob"})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explain(scheduler, mine.request_id, "bob")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_key_explains_the_requests_of_its_own_tenant(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine("a"))
    mine, others = mesh.submit("same", tenant="ann"), mesh.submit("same", tenant="bob")
    await asyncio.gather(mine.read(), others.read())
    await until(lambda: scheduler.leases.runners["main"].manager.outstanding == 0)
    query = scheduler_pb2.ExplainRequest(request_id="same")
    access = ApiKeys({"k-ann": "ann", "k-ops": "ops"}, ("ops",))
    async with served(scheduler, access) as stub:
        response = await stub.Explain(query, metadata=(("authorization", "Bearer k-ann"),))
        assert [one.request_id for one in response.explanations] == [mine.request_id]
        response = await stub.Explain(query, metadata=(("authorization", "Bearer k-ops"),))
        assert {one.tenant for one in response.explanations} == {"ann", "bob"}
        query.tenant = "bob"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Explain(query, metadata=(("authorization", "Bearer k-ann"),))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("unfit", ["x" * 129, "caf\u00e9"])
async def test_an_id_that_no_request_can_have_is_refused(mesh: Mesh, unfit: str) -> None:
    scheduler = await mesh.scheduler("s1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await explain(scheduler, unfit)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_engine_that_cools_down_after_a_try_is_named_with_its_seconds() -> None:
    pool = Pool(engine("a", concurrency=64), engine("b", concurrency=64))
    pool.submit(request("r", pool.now))
    error = ContendedError("full", retry_after_seconds=7, retryable=True, upstream_status=429)
    pool.manager.failed("r", pool.running["r"].attempt, error, pool.now, started_replying=False)
    record = pool.manager.decision_log.get("r")
    assert record is not None
    [dispatch] = explanation_to_wire(record, "here", pool.now).dispatches
    assert dispatch.error_message == "full; it gets no new work for 7 s, as it asked"
