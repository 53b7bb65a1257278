"""Pods become engines of coordinators on a real NATS, in front of a real server, and leave again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from fixtures.cluster_api import pod
from fixtures.eventually import eventually
from fixtures.manual_clock import ManualClock
from fixtures.nats import NatsProcess

from sage.inference.v1 import frame_pb2, request_pb2
from sage_common.clock import MonotonicClock
from sage_common.service_settings import NatsSettings
from sage_control_plane.request.engine_state import EnginePhase
from sage_llm_coordinator.adapter_records import AdapterRecords
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engines.engine_kind import EngineParts
from sage_llm_coordinator.pods.engine_pod import EnginePod, read_pod
from sage_llm_coordinator.pods.pod_engines import CLAIM_SECONDS, PodEngines
from sage_llm_coordinator.servers.record import ServerRecords
from sage_llm_coordinator.servers.servers import Servers
from sage_mesh.directory import EngineDirectory
from sage_mesh.executor.executor import Executor
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring


class Member:
    """A coordinator that looks for pods."""

    def __init__(
        self, executor: Executor, coordinator: ExecutionCoordinator, directory: EngineDirectory, engines: PodEngines
    ) -> None:
        self.executor = executor
        self.coordinator = coordinator
        self.directory = directory
        self.engines = engines

    def names(self) -> list[str]:
        """Its engines' names, those that are stopping apart."""
        return sorted(state.spec.name for state in self.coordinator.states() if state.phase is not EnginePhase.DRAINING)


@asynccontextmanager
async def member(nats: NatsProcess, instance: str, bucket: str, clock: ManualClock) -> AsyncIterator[Member]:
    connection = await connect(NatsSettings(url=nats.url), name=instance)
    ring = Ring(connection)
    await ring.start()
    settings = LlmCoordinatorSettings(health_interval_seconds=0.05)
    directory = EngineDirectory(ring, instance, MonotonicClock())
    executor = Executor(ring, instance, "llm-coordinator", MonotonicClock())
    js = connection.jetstream()
    servers = Servers(settings.servers, ServerRecords(await open_bucket(js, f"servers-{bucket}")), instance, "here")

    def no_embedder(*_: object) -> Any:
        raise AssertionError("no engine of these tests embeds")

    parts = EngineParts(settings.of_kinds(), no_embedder, MonotonicClock(), servers)
    adapters = AdapterRecords(await open_bucket(js, f"adapters-{bucket}"), "here")
    coordinator = ExecutionCoordinator(executor, parts, adapters, instance)
    engines = PodEngines(coordinator, directory, instance, clock, drain_seconds=20.0)
    await directory.start()
    await executor.start()
    try:
        yield Member(executor, coordinator, directory, engines)
    finally:
        await engines.stop()
        await executor.stop(0)
        await directory.stop()
        await ring.close()
        await connection.close()


Join = Callable[[str], Awaitable[Member]]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def join(nats_server: NatsProcess, clock: ManualClock, request: pytest.FixtureRequest) -> AsyncIterator[Join]:
    """Makes members; each knows the others' engines by their heartbeats."""
    bucket = "pods-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[-50:]
    opened: list[Any] = []

    async def make(instance: str) -> Member:
        context = member(nats_server, instance, bucket, clock)
        opened.append(context)
        return await context.__aenter__()

    yield make
    for context in reversed(opened):
        await context.__aexit__(None, None, None)


@pytest.fixture
def ready_pod(upstream: Any) -> Callable[..., EnginePod]:
    def make(name: str = "vllm-0", **options: Any) -> EnginePod:
        return read_pod(pod(name, address="127.0.0.1", port=upstream.port, **options))

    return make


async def settle(members: list[Member], pods: list[EnginePod], clock: ManualClock) -> None:
    """Let rounds pass until no pod may be waited with any more."""
    for _ in range(8):
        for one in members:
            await one.engines.reconcile(pods)
        clock.advance(CLAIM_SECONDS / 6)
        # What one has taken, the others hear of before they look again.
        for one in members:
            mine = {state.spec.engine_id for state in one.coordinator.states()}
            for other in members:
                await eventually(lambda mine=mine, other=other: mine <= set(other.directory.engines))  # type: ignore[misc]


async def test_a_ready_pod_joins_and_serves(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod(), ready_pod("vllm-1", ready=False)], clock)
    assert one.names() == ["vllm-0"]
    (state,) = one.coordinator.states()
    await eventually(lambda: one.coordinator.states()[0].phase is EnginePhase.READY)
    assert {card.name for card in one.coordinator.states()[0].spec.models} == {"big", "small"}
    assert ("pod", "sage/vllm-0/uid-of-vllm-0") in state.spec.labels


async def test_a_pod_that_is_no_longer_ready_keeps_its_engine(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    """What its server can do is for the engine's own health checks to say."""
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod()], clock)
    await settle([one], [ready_pod(ready=False)], clock)
    assert one.names() == ["vllm-0"]


@pytest.mark.parametrize("end", ["gone", "ended"])
async def test_a_pod_that_is_gone_leaves_at_once(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock, end: str
) -> None:
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod()], clock)
    await one.engines.reconcile([] if end == "gone" else [ready_pod(phase="Failed")])
    await eventually(lambda: one.coordinator.states() == [])


async def test_engines_of_a_namespace_that_was_not_listed_stay_and_others_come_and_go(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod(), ready_pod("other-0", namespace="team-b")], clock)
    assert one.names() == ["other-0", "vllm-0"]
    await one.engines.reconcile([], unlisted=["team-b"])
    await eventually(lambda: one.names() == ["other-0"])
    await one.engines.reconcile([])
    await eventually(lambda: one.coordinator.states() == [])


async def test_a_pod_that_is_being_deleted_finishes_what_it_has_and_takes_nothing_new(
    join: Join, ready_pod: Callable[..., EnginePod], upstream: Any, clock: ManualClock, ring: Ring
) -> None:
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await go_on.wait()
        return await upstream.answer(request)  # type: ignore[no-any-return]

    upstream.completions = slow
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod()], clock)
    await eventually(lambda: one.coordinator.states()[0].phase is EnginePhase.READY)
    await _dispatch(one.executor, ring, one.coordinator.states()[0].spec.engine_id)
    await upstream.arrived.wait()

    leaving = [ready_pod(deleted=True)]
    await settle([one], leaving, clock)
    await eventually(lambda: [state.phase for state in one.coordinator.states()] == [EnginePhase.DRAINING])
    assert one.executor.outstanding == 1
    go_on.set()
    await eventually(lambda: one.coordinator.states() == [])
    await settle([one], leaving, clock)
    assert one.coordinator.states() == []


async def test_each_pod_has_one_engine_however_many_look(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    members = [await join(f"llm-coordinator-{n}-{n}{n}{n}{n}") for n in range(3)]
    pods = [ready_pod(f"vllm-{n}") for n in range(12)]
    await settle(members, pods, clock)
    # Two that took one at the same moment have seen it by now, and one of them has given it up.
    wanted = sorted(f"vllm-{n}" for n in range(12))
    await eventually(lambda: sorted(name for one in members for name in one.names()) == wanted)
    assert all(one.names() for one in members), "each has a share"


async def test_two_that_took_the_same_pod_come_to_one(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    first, second = await join("llm-coordinator-1-aaaa"), await join("llm-coordinator-2-bbbb")
    for one in (first, second):
        # Neither has heard of the other.
        clock.advance(CLAIM_SECONDS)
        one.engines._unclaimed_since[ready_pod().origin] = -CLAIM_SECONDS
    await asyncio.gather(*(one.engines._claim(ready_pod()) for one in (first, second)))
    assert first.names() == second.names() == ["vllm-0"]
    await settle([first, second], [ready_pod()], clock)
    await eventually(lambda: second.coordinator.states() == [])
    assert first.names() == ["vllm-0"]


async def test_an_engine_that_an_operator_restarts_is_there_once(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    """While it is away its pod has none, and is taken; then it is back."""
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod()], clock)
    settings, origin = ready_pod().settings(), ready_pod().origin
    await one.coordinator.add(settings, origin=origin)
    assert one.names() == ["vllm-0", "vllm-0"]
    await settle([one], [ready_pod()], clock)
    await eventually(lambda: one.names() == ["vllm-0"])
    await settle([one], [ready_pod()], clock)
    assert one.names() == ["vllm-0"]


async def test_another_takes_the_pods_of_one_that_leaves(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock
) -> None:
    first, second = await join("llm-coordinator-1-aaaa"), await join("llm-coordinator-2-bbbb")
    pods = [ready_pod(f"vllm-{n}") for n in range(6)]
    await settle([first, second], pods, clock)
    await first.engines.stop()
    await first.executor.stop(0)
    await eventually(lambda: all(s.executor_id.endswith("bbbb") for s in second.directory.engines.values()))
    await settle([second], pods, clock)
    assert second.names() == [f"vllm-{n}" for n in range(6)]


async def test_a_pod_whose_address_changed_is_another_server(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock, upstream: Any
) -> None:
    one = await join("llm-coordinator-1-aaaa")
    await settle([one], [ready_pod()], clock)
    moved = read_pod(pod("vllm-0", address="127.0.0.2", port=upstream.port))
    await one.engines.reconcile([moved])
    # It is not taken again before its engine has left altogether.
    await eventually(lambda: not one.coordinator.states() and not one.engines._removals)
    await settle([one], [moved], clock)
    assert [state.spec.url for state in one.coordinator.states()] == [moved.url]


async def test_a_pod_with_a_mistake_keeps_none_of_the_others_away(
    join: Join, ready_pod: Callable[..., EnginePod], clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    one = await join("llm-coordinator-1-aaaa")
    wrong = ready_pod("a-mistake", annotations={"sage.internal/poll": "x"})
    await settle([one], [wrong, ready_pod()], clock)
    assert one.names() == ["vllm-0"]
    logged = capsys.readouterr()
    assert (logged.out + logged.err).count("there is no sage.internal/poll") == 1


async def _dispatch(executor: Executor, ring: Ring, engine_id: str) -> None:
    """Give a request to an engine, as a scheduler does."""
    request = request_pb2.InferenceRequest(
        request_id="r-1",
        endpoint=request_pb2.ENDPOINT_CHAT_COMPLETIONS,
        body=b'{"model":"big","messages":[{"role":"user","content":"hi"}]}',
        reply_subject="sage.v1.reply.nobody",
        submission=1,
        timeout_ms=60_000,
    )
    classification = request_pb2.Classification(
        pool="main",
        model="big",
        kind=request_pb2.REQUEST_KIND_LLM_CHAT,
        service_class=request_pb2.SERVICE_CLASS_INTERACTIVE,
        priority=request_pb2.PRIORITY_NORMAL,
    )
    dispatch = frame_pb2.Dispatch(
        request=request,
        classification=classification,
        engine_id=engine_id,
        attempt=frame_pb2.Attempt(submission=1, dispatch=1),
        tries=1,
    )
    ring.send(subjects.dispatch(engine_id), dispatch)
    await eventually(lambda: executor.outstanding == 1)
