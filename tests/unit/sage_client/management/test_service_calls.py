"""Calls to instances of which some are dead, refuse, or are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpc.aio import Channel

from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_client.management.mesh_management import MeshManagement
from sage_client.management.service_calls import ServiceCalls
from sage_client.management.views import PolicySettingView
from sage_common.errors import InvalidRequestError, NotFoundError, UnavailableError, UnprocessableError
from sage_common.ports import free_port
from sage_control_plane.policies.registry import check_policy
from sage_control_plane.request.engine_state import EngineSpec, EngineState
from sage_mesh.wire.engines import state_to_wire
from sage_platform.grpc_server import GrpcServer
from sage_platform.registry import Instance


class FakeScheduler(scheduler_pb2_grpc.SchedulerServiceServicer):
    """Leads no pool or all of them, and knows two engines."""

    def __init__(self, *, leads: bool) -> None:
        self.leads = leads
        self.policy = "fifo"
        self.settings: dict[str, float] = {}

    async def GetPolicy(self, request, context):  # type: ignore[no-untyped-def]
        settings = [scheduler_pb2.PolicySetting(name=n, value=v, configured=0.5) for n, v in self.settings.items()]
        return scheduler_pb2.GetPolicyResponse(policy=self.policy, available=["fifo"], settings=settings)

    async def SetPolicy(self, request, context):  # type: ignore[no-untyped-def]
        previous, self.policy = self.policy, check_policy(request.policy)
        self.settings = dict(request.settings)
        return scheduler_pb2.SetPolicyResponse(previous=previous, policy=self.policy)

    async def GetStatus(self, request, context):  # type: ignore[no-untyped-def]
        pool = scheduler_pb2.PoolStatus(pool="main", policy="fifo", leader="leader", leading=self.leads)
        pool.queued, pool.interrupted = (3, 2) if self.leads else (0, 0)
        return scheduler_pb2.GetStatusResponse(pools=[pool])

    async def ListEngines(self, request, context):  # type: ignore[no-untyped-def]
        books = []
        for engine_id, owner in (("a", "embed-1"), ("b", "gone")):
            state = state_to_wire(EngineState(EngineSpec(engine_id, "test", ())))
            breaker = "closed" if self.leads else ""
            outstanding = 7 if self.leads else 0
            book = scheduler_pb2.EngineBook(state=state, executor_id=owner, breaker=breaker, outstanding=outstanding)
            book.request_cap = 9 if self.leads else 0
            books.append(book)
        return scheduler_pb2.ListEnginesResponse(engines=books)


@pytest.fixture
async def instances() -> AsyncIterator[list[Instance]]:
    """A scheduler that was killed, a standby, the leader; an embed-executor."""
    servers, found = [], [Instance("scheduler", "dead", "127.0.0.1", 1, free_port())]
    for name, leads in (("standby", False), ("leader", True)):
        server = GrpcServer()
        register = scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server
        server.add(register, FakeScheduler(leads=leads), "sage.scheduler.v1.SchedulerService")
        port = await server.start("127.0.0.1", 0, setting="port")
        servers.append(server)
        found.append(Instance("scheduler", name, "127.0.0.1", 1, port))
    found.append(Instance("embed-executor", "embed-1", "127.0.0.1", 1, free_port()))
    yield found
    for server in servers:
        await server.stop(0)


def management(instances: list[Instance]) -> MeshManagement:
    async def list_instances() -> list[Instance]:
        return instances

    return MeshManagement(list_instances)


async def test_an_instance_that_does_not_answer_is_passed_over(instances: list[Instance]) -> None:
    assert (await management(instances).policy()).policy == "fifo"


async def test_what_an_instance_refuses_is_refused(instances: list[Instance]) -> None:
    with pytest.raises(InvalidRequestError, match="known: fifo") as caught:
        await management(instances).set_policy("nope")
    assert caught.value.code == "unknown_policy"


async def test_settings_of_a_policy_go_to_a_scheduler_and_come_back(instances: list[Instance]) -> None:
    # To the one that answers first, as what is asked is.
    mesh = management(instances[1:2])
    await mesh.set_policy("fifo", settings={"margin": 0.1})
    assert (await mesh.policy()).settings == (PolicySettingView("margin", 0.1, 0.5, ""),)
    await mesh.set_policy("fifo")
    assert (await mesh.policy()).settings == ()


async def test_engines_come_with_the_books_of_the_leader(instances: list[Instance]) -> None:
    engines = await management(instances).engines()
    assert [(e.engine_id, e.breaker, e.outstanding) for e in engines] == [("a", "closed", 7), ("b", "closed", 7)]
    assert [e.request_cap for e in engines] == [9, 9]


async def test_a_pool_comes_with_the_counts_of_its_leader(instances: list[Instance]) -> None:
    (pool,) = await management(instances).pools()
    assert (pool.leader, pool.queued, pool.interrupted) == ("leader", 3, 2)
    (unknown,) = await management(instances[:2]).pools()
    assert (unknown.leader, unknown.queued, unknown.interrupted) == ("leader", None, None)


async def test_when_nobody_answers_the_message_says_what_to_look_at(instances: list[Instance]) -> None:
    dead = instances[:1]
    for call in (management(dead).policy, management(dead).engines):
        with pytest.raises(UnavailableError, match=r"no scheduler answers at .*sage status"):
            await call()
    with pytest.raises(UnavailableError, match="no scheduler is registered"):
        await management([]).policy()


async def test_an_engine_that_its_service_does_not_part_with_is_not_removed(instances: list[Instance]) -> None:
    with pytest.raises(UnprocessableError, match="sage engine drain a"):
        await management(instances).remove_engine("a")
    with pytest.raises(UnavailableError, match="gone, which owns"):
        await management(instances).remove_engine("b")
    with pytest.raises(NotFoundError, match="known: a, b"):
        await management(instances).remove_engine("c")


async def test_a_silent_registry_is_said_to_be_silent() -> None:
    async def silent() -> list[Instance]:
        raise asyncio.TimeoutError

    async def call(channel: Channel) -> None:
        raise AssertionError("nobody to call")

    with pytest.raises(UnavailableError, match="the registry does not answer") as caught:
        await ServiceCalls(silent).any("scheduler", call)
    assert caught.value.code == "nats_unreachable"
