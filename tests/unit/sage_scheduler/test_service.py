"""The gRPC API, over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from fixtures.engines import FakeEngine
from fixtures.mesh import CHAT, Mesh, until

from sage.inference.v1 import request_pb2
from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.reply import EngineTime, Media, TokenUsage
from sage_mesh.wire.frames import usage_to_wire
from sage_platform.grpc_server import GrpcServer, channel
from sage_scheduler.main import Scheduler


@asynccontextmanager
async def served(scheduler: Scheduler) -> AsyncIterator[scheduler_pb2_grpc.SchedulerServiceStub]:
    server = GrpcServer()
    server.add(
        scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server,
        scheduler.servicer,
        "sage.scheduler.v1.SchedulerService",
    )
    port = await server.start("127.0.0.1", 0, setting="port")
    async with channel(f"127.0.0.1:{port}") as opened:
        yield scheduler_pb2_grpc.SchedulerServiceStub(opened)
    await server.stop(0)


def leads(scheduler: Scheduler, pool: str = "main") -> bool:
    return pool in scheduler.leases.runners


async def stall(job: EngineRequest, reply: ReplyWriter) -> None:
    await asyncio.Event().wait()


def submission(body: bytes = CHAT, endpoint: int = 1, request_id: str = "") -> scheduler_pb2.SubmitRequest:
    request = request_pb2.InferenceRequest(
        endpoint=endpoint,  # type: ignore[arg-type]
        body=body,
        request_id=request_id,
    )
    return scheduler_pb2.SubmitRequest(request=request)


async def test_a_submitted_request_goes_the_rings_way_and_its_frames_come_back(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine())
    async with served(scheduler) as stub:
        frames = [response.frame async for response in stub.Submit(submission())]
    assert [frame.seq for frame in frames] == [0, 1, 2]
    assert frames[0].head.engine_id == "fake-0"
    assert frames[1].data == CHAT
    assert frames[2].end.usage.prompt_tokens == 3


async def test_submissions_of_one_id_at_once_are_each_answered(mesh: Mesh) -> None:
    async def frames(body: bytes) -> list[tuple[str, bytes]]:
        call = stub.Submit(submission(body, request_id="same"))
        return [(response.frame.request_id, response.frame.data) async for response in call]

    scheduler = await mesh.scheduler("s1")
    await mesh.host(engine := FakeEngine())
    async with served(scheduler) as stub:
        answers = await asyncio.gather(frames(CHAT), frames(CHAT + b" "))
    assert answers == [[("same", b""), ("same", body), ("same", b"")] for body in (CHAT, CHAT + b" ")]
    assert len({job.request_id for job in engine.jobs} - {"same"}) == 2


async def test_a_submission_without_an_id_is_known_by_the_meshs(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(engine := FakeEngine())
    async with served(scheduler) as stub:
        frames = [response.frame async for response in stub.Submit(submission())]
    assert {frame.request_id for frame in frames} == {engine.jobs[0].request_id}


async def test_the_end_of_a_submitted_request_says_what_its_engine_said(mesh: Mesh) -> None:
    used = TokenUsage(3, 2, 1, truncated_inputs=4, engine_time=EngineTime(5, 6, 7))

    async def answer(job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.JSON)
        reply.data(job.body)
        reply.usage(used)

    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine(behaviour=answer))
    async with served(scheduler) as stub:
        frames = [response.frame async for response in stub.Submit(submission())]
    assert frames[-1].end.usage == usage_to_wire(used)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (submission(b"{"), grpc.StatusCode.INVALID_ARGUMENT),
        (submission(CHAT.replace(b"fake", b"nope")), grpc.StatusCode.NOT_FOUND),
        (submission(endpoint=99), grpc.StatusCode.INVALID_ARGUMENT),
        (submission(request_id="x" * 129), grpc.StatusCode.INVALID_ARGUMENT),
        (submission(request_id="two\nlines"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_bad_submission_is_the_right_status(
    mesh: Mesh, request_: scheduler_pb2.SubmitRequest, status: grpc.StatusCode
) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine())
    async with served(scheduler) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(stub.Submit(request_)))
    assert caught.value.code() is status


async def test_a_caller_that_goes_away_stops_its_request(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    engine = FakeEngine("fake-0", stall)
    await mesh.host(engine)
    async with served(scheduler) as stub:
        call = stub.Submit(submission())
        waiting = asyncio.ensure_future(call.read())
        await engine.job_arrived.wait()
        call.cancel()
        await asyncio.wait_for(engine.job_cancelled.wait(), 5)
        await asyncio.gather(waiting, return_exceptions=True)


async def test_status_says_who_leads_on_every_replica(mesh: Mesh) -> None:
    first = await mesh.scheduler("first")
    await until(lambda: leads(first))
    second = await mesh.scheduler("second")
    await mesh.host(FakeEngine())
    await mesh.submit("r").read()
    async with served(first) as one, served(second) as two:
        mine = (await one.GetStatus(scheduler_pb2.GetStatusRequest())).pools[0]
        theirs = (await two.GetStatus(scheduler_pb2.GetStatusRequest())).pools[0]
    assert (mine.pool, mine.leading, mine.leader, mine.dispatched) == ("main", True, "first", 1)
    assert (theirs.pool, theirs.leading, theirs.leader) == ("main", False, "first")


async def test_a_policy_set_on_any_replica_reaches_the_leader_and_the_next_one(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: leads(leader))
    standby = await mesh.scheduler("standby")
    async with served(standby) as stub:
        changed = await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy="fifo"))
        assert (changed.previous, changed.policy) == ("hybrid", "fifo")
        await until(lambda: leader.leases.runners["main"].manager.policy == "fifo")
        await mesh.stop_scheduler("leader")
        await until(lambda: leads(standby))
        assert standby.leases.runners["main"].manager.policy == "fifo"
        shown = await stub.GetPolicy(scheduler_pb2.GetPolicyRequest(pool="main"))
    assert (shown.policy, list(shown.available)) == ("fifo", sorted(shown.available))
    assert {"fifo", "priority"} <= set(shown.available)


async def test_the_later_of_a_policy_for_one_pool_and_for_all_is_in_force(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: leads(leader))
    manager = leader.leases.runners["main"].manager
    async with served(leader) as stub:
        await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(pool="main", policy="fifo"))
        assert manager.policy == "fifo"
        await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy="priority"))
        assert manager.policy == "priority"


async def test_what_does_not_exist_is_refused_with_what_does(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await until(lambda: leads(scheduler))
    async with served(scheduler) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as unknown_policy:
            await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy="best"))
        with pytest.raises(grpc.aio.AioRpcError) as unknown_pool:
            await stub.GetPolicy(scheduler_pb2.GetPolicyRequest(pool="other"))
        with pytest.raises(grpc.aio.AioRpcError) as unknown_engine:
            await stub.DrainEngine(scheduler_pb2.DrainEngineRequest(engine_id="gone"))
    assert unknown_policy.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "known: fifo" in (unknown_policy.value.details() or "")
    assert unknown_pool.value.code() is grpc.StatusCode.NOT_FOUND
    assert unknown_engine.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_drained_engine_gets_no_new_work_until_that_is_undone(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    await until(lambda: leads(leader))
    standby = await mesh.scheduler("standby")
    await mesh.host(FakeEngine("a"), FakeEngine("b"))
    manager = leader.leases.runners["main"].manager
    async with served(standby) as stub:
        drained = await stub.DrainEngine(scheduler_pb2.DrainEngineRequest(engine_id="a"))
        assert drained.engine.draining
        await until(lambda: manager.engines["a"].draining)
        heads = [await mesh.submit(f"r{n}").head() for n in range(6)]
        assert {head.engine_id for head in heads} == {"b"}
        await stub.DrainEngine(scheduler_pb2.DrainEngineRequest(engine_id="a", undo=True))
        await until(lambda: not manager.engines["a"].draining)
        entries = (await stub.ListEngines(scheduler_pb2.ListEnginesRequest())).engines
    assert [(entry.state.spec.engine_id, entry.draining) for entry in entries] == [("a", False), ("b", False)]


async def test_the_leader_lists_engines_with_its_books(mesh: Mesh) -> None:
    leader = await mesh.scheduler("leader")
    engine = FakeEngine("a", stall)
    await mesh.host(engine)
    mesh.submit("r")
    await engine.job_arrived.wait()
    async with served(leader) as stub:
        (entry,) = (await stub.ListEngines(scheduler_pb2.ListEnginesRequest())).engines
    assert (entry.outstanding, entry.breaker, entry.executor_id) == (1, "closed", "executor-0")
    assert entry.outstanding_tokens > 0
    assert 0 < entry.request_cap <= entry.state.spec.max_concurrency


async def test_settings_of_a_policy_are_shown_and_changed_while_it_runs(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine())
    async with served(scheduler) as stub:
        await until(lambda: leads(scheduler))
        before = await stub.GetPolicy(scheduler_pb2.GetPolicyRequest())
        usual = {one.name: one for one in before.settings}
        assert usual["margin"].value == usual["margin"].configured == 0.05
        await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy="hybrid", settings={"margin": 0.3}))
        shown = {one.name: one for one in (await stub.GetPolicy(scheduler_pb2.GetPolicyRequest())).settings}
        assert (shown["margin"].value, shown["margin"].configured) == (0.3, 0.05)
        (runner,) = scheduler.leases.runners.values()
        policy: Any = runner.manager._queue.policy
        assert (policy.name, policy._settings.margin) == ("hybrid", 0.3)
        for settings, said in (({"margn": 1.0}, "did you mean 'margin'"), ({"margin": 7.0}, "less than 1")):
            with pytest.raises(grpc.aio.AioRpcError, match=said) as caught:
                await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy="hybrid", settings=settings))
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        # An order without settings is the policy as it was configured.
        await stub.SetPolicy(scheduler_pb2.SetPolicyRequest(policy="hybrid"))
        after = await stub.GetPolicy(scheduler_pb2.GetPolicyRequest())
        assert after == before
