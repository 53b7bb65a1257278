"""Lists of requests through real schedulers: the latest first, of their tenant, in the parts that changed."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from fixtures.control_plane import Pool, engine, request
from fixtures.engines import FakeEngine
from fixtures.mesh import Mesh, until

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_common.api_keys import ApiKeys
from sage_control_plane.request.request import TokensUsed
from sage_platform.grpc_server import NO_KEYS, GrpcServer, channel
from sage_scheduler.explanations import LISTED_AT_ONCE, summary_to_wire
from sage_scheduler.main import Scheduler


async def listed(
    scheduler: Scheduler, query: scheduler_pb2.ListRequestsRequest, keys: ApiKeys = NO_KEYS, key: str = ""
) -> list[list[scheduler_pb2.RequestSummary]]:
    server = GrpcServer(keys)
    register = scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server
    server.add(register, scheduler.servicer, "sage.scheduler.v1.SchedulerService")
    port = await server.start("127.0.0.1", 0, setting="port")
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    try:
        async with channel(f"127.0.0.1:{port}") as opened:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(opened)
            return [list(answer.requests) async for answer in stub.ListRequests(query, metadata=metadata)]
    finally:
        await server.stop(0)


async def answered(mesh: Mesh, scheduler: Scheduler, count: int, tenant: str = "ann") -> list[str]:
    replies = [mesh.submit(f"r{number}", tenant=tenant) for number in range(count)]
    await asyncio.gather(*(reply.read() for reply in replies))
    await until(lambda: scheduler.leases.runners["main"].manager.outstanding == 0)
    return [reply.request_id for reply in replies]


async def test_requests_come_the_latest_first_in_parts_and_as_many_as_asked_for(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine("a"))
    first = await answered(mesh, scheduler, LISTED_AT_ONCE)
    last = await answered(mesh, scheduler, 1)
    parts = await listed(scheduler, scheduler_pb2.ListRequestsRequest())
    assert [len(part) for part in parts] == [LISTED_AT_ONCE, 1]
    assert parts[0][0].request_id == last[0]
    assert {one.request_id for part in parts for one in part} == {*first, *last}
    [[one]] = await listed(scheduler, scheduler_pb2.ListRequestsRequest(limit=1))
    assert (one.request_id, one.state, one.tenant, one.engine_id, one.tries) == (last[0], "finished", "ann", "a", 1)
    assert 0 <= one.queue_ms <= one.ttft_ms <= one.ended_after_ms
    assert not one.classification.reasons


async def test_a_tenants_key_lists_its_own_requests_only(mesh: Mesh) -> None:
    scheduler = await mesh.scheduler("s1")
    await mesh.host(FakeEngine("a"))
    [mine], [theirs] = await answered(mesh, scheduler, 1), await answered(mesh, scheduler, 1, "bob")
    keys = ApiKeys({"k-ann": "ann", "k-ops": "ops"}, ("ops",))
    everything = scheduler_pb2.ListRequestsRequest()
    [[one]] = await listed(scheduler, everything, keys, "k-ann")
    assert one.request_id == mine
    [both] = await listed(scheduler, everything, keys, "k-ops")
    assert [one.request_id for one in both] == [theirs, mine]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await listed(scheduler, scheduler_pb2.ListRequestsRequest(tenant="bob"), keys, "k-ann")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_only_what_changed_lately_is_listed_and_an_answer_has_its_length() -> None:
    pool = Pool(engine("a", concurrency=64))
    pool.submit(request("old", pool.now), request("r", pool.now))
    log = pool.manager.decision_log
    pool.now += 5.0
    used = TokensUsed(output=7)
    pool.manager.first_token("r", pool.running["r"].attempt, pool.now, 5.0, used=used)
    pool.now += 1.0
    pool.manager.finished("r", pool.running["r"].attempt, pool.now, used, 5.0)
    [record] = log.latest(None, pool.now - 2.0, 10)
    assert record.request_id == "r"
    shown = summary_to_wire(record, pool.now)
    assert (shown.output_tokens, shown.ttft_ms, shown.ended_after_ms, shown.decided_ms_ago) == (7, 5000.0, 6000.0, 0)
    assert [one.request_id for one in log.latest(None, float("-inf"), 1)] == ["r"]
