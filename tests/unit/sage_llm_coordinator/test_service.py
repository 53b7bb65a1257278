"""The coordinator on a real NATS server, with its gRPC API called over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import grpc
import orjson
import pytest
from aiohttp import web
from fixtures.nats import NatsProcess

from sage.inference.v1 import engine_pb2, generation_pb2
from sage.llm.v1 import llm_pb2, llm_pb2_grpc
from sage_cli.exit_codes import EXIT_CODES
from sage_client.error_body import status_of
from sage_common.clock import MonotonicClock
from sage_common.errors import InvalidRequestError, NotFoundError, UnavailableError
from sage_common.service_settings import NatsSettings
from sage_control_plane.request.classification import RequestClassifier
from sage_control_plane.request.engine_state import CapacitySource, EnginePhase
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.adapter_records import AdapterRecords
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engines.engine_kind import EngineParts
from sage_llm_coordinator.engines.openai_engine import OpenAiEngineSettings
from sage_llm_coordinator.engines.sentence_embedder import MeshEmbedder
from sage_llm_coordinator.engines.vllm_engine import VllmEngineSettings
from sage_llm_coordinator.engines.wanted_adapters import Adapter
from sage_llm_coordinator.registrations import ROUNDS_UNTIL_GIVEN_UP, Registration, Registrations
from sage_llm_coordinator.servers.record import ServerRecords
from sage_llm_coordinator.servers.servers import Servers
from sage_llm_coordinator.service import LlmServicer
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge.edge import Edge
from sage_mesh.executor.executor import Executor
from sage_platform.grpc_server import GrpcServer, channel
from sage_platform.grpc_status import error_from_status
from sage_platform.kv import open_bucket
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring

Eventually = Callable[..., Awaitable[None]]
READY = engine_pb2.ENGINE_PHASE_READY


@dataclass
class Running:
    """A coordinator with its API."""

    coordinator: ExecutionCoordinator
    registrations: Registrations
    directory: EngineDirectory
    api: llm_pb2_grpc.LlmServiceStub

    async def wait_ready(self, engine_id: str) -> None:
        ready = await self.directory.wait_until(
            lambda d: engine_id in d.engines and d.engines[engine_id].phase == READY, 10
        )
        assert ready, self.coordinator.states()


@asynccontextmanager
async def running(nats: NatsProcess, bucket: str, instance: str, *, successor_of: str = "") -> AsyncIterator[Running]:
    connection = await connect(NatsSettings(url=nats.url), name=instance)
    ring = Ring(connection)
    await ring.start()
    clock = MonotonicClock()
    settings = LlmCoordinatorSettings(health_interval_seconds=0.05)
    directory = EngineDirectory(ring, instance, clock)
    edge = Edge(ring, instance, directory, RequestClassifier(request_features), clock)
    executor = Executor(ring, instance, "llm-coordinator", clock)
    records = ServerRecords(await open_bucket(connection.jetstream(), f"servers-{bucket}"))
    servers = Servers(settings.servers, records, instance, "this-host")
    parts = EngineParts(settings.of_kinds(), lambda *_: MeshEmbedder(edge, directory), clock, servers)
    adapters = AdapterRecords(await open_bucket(connection.jetstream(), f"adapters-{bucket}"), "this-host")
    coordinator = ExecutionCoordinator(executor, parts, adapters, instance)
    kept = await open_bucket(connection.jetstream(), bucket)
    registrations = Registrations(kept, coordinator, directory, instance, successor_of=successor_of)
    server = GrpcServer()
    name = llm_pb2.DESCRIPTOR.services_by_name["LlmService"].full_name
    server.add(llm_pb2_grpc.add_LlmServiceServicer_to_server, LlmServicer(coordinator, registrations, 5.0), name)
    port = await server.start("127.0.0.1", 0, setting="")
    await directory.start()
    await executor.start()
    try:
        async with channel(f"127.0.0.1:{port}") as open_channel:
            yield Running(coordinator, registrations, directory, llm_pb2_grpc.LlmServiceStub(open_channel))
    finally:
        await server.stop(0)
        await executor.stop(0)
        await directory.stop()
        await ring.close()
        await connection.close()


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    return "engines-" + "".join(c if c.isalnum() else "-" for c in request.node.name)[-60:]


@pytest.fixture
async def service(nats_server: NatsProcess, bucket: str) -> AsyncIterator[Running]:
    async with running(nats_server, bucket, "llm-coordinator-1-aaaa") as service:
        yield service


async def collect(call: Any) -> list[Any]:
    return [response async for response in call]


async def stream_words(upstream: Any) -> None:
    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for text in ("hel", "lo"):
            await response.write(b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % text.encode())
        await response.write(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n')
        await response.write(b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}\n\n')
        await response.write(b"data: [DONE]\n\n")
        return response

    upstream.completions = stream


async def test_a_registered_engine_answers_a_chat_and_a_completion(service: Running, upstream: Any) -> None:
    await stream_words(upstream)
    registered = await service.api.RegisterEngine(
        llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url, max_concurrency=9)
    )
    spec = registered.engine.spec
    assert (spec.engine_id, spec.pool, spec.max_concurrency, spec.url) == ("mine-aaaa", "main", 9, upstream.url)
    await service.wait_ready("mine-aaaa")
    message = generation_pb2.ChatMessage(role="user", content="hi")
    pieces = await collect(service.api.Chat(llm_pb2.ChatRequest(model="big", messages=[message])))
    assert [piece.text for piece in pieces] == ["hel", "lo", ""]
    assert pieces[-1].finish_reason == "stop"
    assert (pieces[-1].usage.prompt_tokens, pieces[-1].usage.completion_tokens) == (4, 2)
    assert {piece.engine_id for piece in pieces} == {"mine-aaaa"}
    pieces = await collect(service.api.Generate(llm_pb2.GenerateRequest(model="big", prompt="hi")))
    assert upstream.paths == ["/v1/chat/completions", "/v1/completions"]


async def test_a_server_without_a_list_and_with_a_health_path_of_its_own_is_registered(
    service: Running, upstream: Any
) -> None:
    await stream_words(upstream)
    request = llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url)
    request.models.extend(["named", "second"])
    request.aliases.append("best")
    request.health_path = "/ping"
    asked: list[str] = []

    async def health(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response()

    async def no_list(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=404)

    upstream.health, upstream.models = health, no_list
    await service.api.RegisterEngine(request)
    await service.wait_ready("mine-aaaa")
    assert set(asked) == {"/ping"}
    for model in ("named", "second", "best"):
        pieces = await collect(service.api.Generate(llm_pb2.GenerateRequest(model=model, prompt="hi")))
        assert {piece.engine_id for piece in pieces} == {"mine-aaaa"}


async def test_a_call_that_is_given_up_reaches_the_engine(service: Running, upstream: Any) -> None:
    async def silent(_request: Any) -> Any:
        await asyncio.Event().wait()

    upstream.completions = silent
    await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
    await service.wait_ready("mine-aaaa")
    call = service.api.Generate(llm_pb2.GenerateRequest(model="big", prompt="hi"))
    reading = asyncio.ensure_future(collect(call))
    await upstream.arrived.wait()
    call.cancel()
    await asyncio.wait_for(upstream.disconnected.wait(), 5)
    await asyncio.gather(reading, return_exceptions=True)


@pytest.mark.parametrize(
    ("method", "request_", "status"),
    [
        ("Chat", llm_pb2.ChatRequest(model="big"), grpc.StatusCode.INVALID_ARGUMENT),
        ("Generate", llm_pb2.GenerateRequest(model="big", prompt="x"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_what_cannot_be_answered_has_its_own_status(
    service: Running, method: str, request_: Any, status: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(getattr(service.api, method)(request_))
    assert caught.value.code() is status


@pytest.mark.parametrize("method", ["LoadLora", "UnloadLora"])
async def test_an_order_about_adapters_to_an_engine_that_is_not_ready_may_be_given_again_soon(
    service: Running, upstream: Any, method: str
) -> None:
    await upstream.stop()
    registered = await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
    request = {
        "LoadLora": llm_pb2.LoadLoraRequest(engine_id=registered.engine.spec.engine_id, name="polite", path="/p"),
        "UnloadLora": llm_pb2.UnloadLoraRequest(engine_id=registered.engine.spec.engine_id, name="polite"),
    }[method]
    with pytest.raises(grpc.aio.AioRpcError, match="is starting: ") as caught:
        await getattr(service.api, method)(request)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    # As the gateway and the command line hear it.
    error = error_from_status(caught.value, "llm-coordinator", "host:1")
    assert (status_of(error), error.code, EXIT_CODES[error.kind]) == (503, "engine_not_ready", 69)


@pytest.mark.parametrize("url", ["", "nonsense", "http://user:pw@127.0.0.1/v1"])
async def test_a_url_that_makes_no_engine_is_refused(service: Running, url: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(url=url))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_name_is_given_once(service: Running, upstream: Any) -> None:
    request = llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url)
    await service.api.RegisterEngine(request)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.api.RegisterEngine(request)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


async def test_a_removed_engines_name_is_free_at_once(service: Running, upstream: Any) -> None:
    request = llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url)
    await service.api.RegisterEngine(request)
    await service.wait_ready("mine-aaaa")
    # The heartbeat that says so is late.
    heartbeats = service.directory._subscription
    assert heartbeats is not None
    await heartbeats.unsubscribe()
    service.directory._subscription = None
    await service.api.RemoveEngine(llm_pb2.RemoveEngineRequest(engine_id="mine-aaaa", drain=True))
    assert (await service.api.RegisterEngine(request)).engine.spec.engine_id == "mine-2-aaaa"


async def test_a_removed_engine_is_gone_for_good(service: Running, upstream: Any) -> None:
    await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
    await service.wait_ready("mine-aaaa")
    removed = await service.api.RemoveEngine(llm_pb2.RemoveEngineRequest(engine_id="mine-aaaa", drain=True))
    assert removed.aborted == 0
    assert (await service.api.ListEngines(llm_pb2.ListEnginesRequest())).engines == []
    for _ in range(4):
        await service.registrations.reconcile()
    assert service.coordinator.states() == []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.api.RemoveEngine(llm_pb2.RemoveEngineRequest(engine_id="mine-aaaa"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_id_is_never_given_twice(service: Running, upstream: Any) -> None:
    """What was ordered for a removed engine, a drain for one, must not reach the next of its name."""
    request = llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url)
    ids = []
    for _ in range(2):
        ids.append((await service.api.RegisterEngine(request)).engine.spec.engine_id)
        await service.api.RemoveEngine(llm_pb2.RemoveEngineRequest(engine_id=ids[-1]))
    assert ids == ["mine-aaaa", "mine-2-aaaa"]


async def test_a_restarted_coordinator_gets_its_engines_back(
    nats_server: NatsProcess, bucket: str, upstream: Any
) -> None:
    async with running(nats_server, bucket, "llm-coordinator-1-aaaa") as first:
        await first.api.RegisterEngine(
            llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url, pool="side", max_concurrency=5)
        )
    async with running(nats_server, bucket, "llm-coordinator-2-bbbb") as second:
        await second.registrations.reconcile()
        assert second.coordinator.states() == []
        await second.registrations.reconcile()
        (state,) = second.coordinator.states()
        spec = state.spec
        assert (spec.engine_id, spec.pool, spec.max_concurrency) == ("mine-bbbb", "side", 5)
        await second.wait_ready("mine-bbbb")


async def test_an_api_key_is_not_written_and_its_engine_waits_to_be_registered_again(
    nats_server: NatsProcess, bucket: str, upstream: Any, ring: Ring
) -> None:
    request = llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url, api_key="sk-secret")
    async with running(nats_server, bucket, "llm-coordinator-1-aaaa") as first:
        await first.api.RegisterEngine(request)
    store = await open_bucket(ring.connection.jetstream(), bucket)
    entry = await store.get("mine")
    assert entry.value is not None
    assert b"sk-secret" not in entry.value
    async with running(nats_server, bucket, "llm-coordinator-2-bbbb") as second:
        for _ in range(3):
            await second.registrations.reconcile()
        assert second.coordinator.states() == []
        await second.api.RegisterEngine(request)
        await second.wait_ready("mine-bbbb")


async def test_of_two_coordinators_with_one_engine_the_first_keeps_it(
    nats_server: NatsProcess, bucket: str, upstream: Any
) -> None:
    async with (
        running(nats_server, bucket, "llm-coordinator-1-aaaa") as first,
        running(nats_server, bucket, "llm-coordinator-2-bbbb") as second,
    ):
        await first.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        registered = OpenAiEngineSettings(name="mine", url=upstream.url)
        await second.coordinator.add(registered, origin="registered/mine")
        for service in (first, second):
            await service.wait_ready("mine-aaaa")
            await service.wait_ready("mine-bbbb")
        for service in (first, second):
            await service.registrations.reconcile()
        assert len(second.coordinator.states()) == 1
        for service in (first, second):
            await service.registrations.reconcile()
        assert [state.spec.engine_id for state in first.coordinator.states()] == ["mine-aaaa"]
        assert second.coordinator.states() == []


async def test_a_successor_has_its_predecessors_engines_before_that_leaves_and_keeps_them(
    nats_server: NatsProcess, bucket: str, upstream: Any
) -> None:
    async with running(nats_server, bucket, "llm-coordinator-1-aaaa") as old:
        await old.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        async with running(nats_server, bucket, "llm-coordinator-2-bbbb", successor_of="llm-coordinator-1-aaaa") as new:
            assert await new.directory.wait_until(lambda d: "mine-aaaa" in d.engines, 5)
            await new.registrations.reconcile()
            await new.wait_ready("mine-bbbb")
            for _ in range(2 * ROUNDS_UNTIL_GIVEN_UP):
                await new.registrations.reconcile()
            assert [state.spec.engine_id for state in new.coordinator.states()] == ["mine-bbbb"]


async def test_an_engine_is_not_given_up_for_one_that_another_coordinator_is_letting_go(
    nats_server: NatsProcess, bucket: str, upstream: Any
) -> None:
    """A coordinator that slept wakes up, announces what was taken over meanwhile, and only then lets go of it."""
    async with (
        running(nats_server, bucket, "llm-coordinator-1-aaaa") as sleeper,
        running(nats_server, bucket, "llm-coordinator-2-bbbb") as adopter,
    ):
        await adopter.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        registered = OpenAiEngineSettings(name="mine", url=upstream.url)
        await sleeper.coordinator.add(registered, origin="registered/mine")
        for service in (sleeper, adopter):
            await service.wait_ready("mine-aaaa")
            await service.wait_ready("mine-bbbb")
        await adopter.registrations.reconcile()
        await sleeper.coordinator.engines["mine-aaaa"].stop()
        stopped = await adopter.directory.wait_until(lambda d: d.engines["mine-aaaa"].phase is EnginePhase.STOPPED, 5)
        assert stopped
        for _ in range(3):
            await adopter.registrations.reconcile()
        assert [state.spec.engine_id for state in adopter.coordinator.states()] == ["mine-bbbb"]


async def test_the_only_model_needs_no_name_and_one_of_several_does(service: Running, upstream: Any) -> None:
    await service.coordinator.add(OpenAiEngineSettings(url=upstream.url, model="big"))
    engine_id = f"127.0.0.1-{upstream.port}-aaaa"
    await service.wait_ready(engine_id)
    engine, model = service.coordinator.choose("", RequestKind.LLM_CHAT)
    assert (engine.spec.engine_id, model) == (engine_id, "big")
    await service.coordinator.add(OpenAiEngineSettings(url=upstream.url, model="small"))
    await service.wait_ready(f"127.0.0.1-{upstream.port}-2-aaaa")
    with pytest.raises(InvalidRequestError, match="big, small"):
        service.coordinator.choose("", RequestKind.LLM_CHAT)
    with pytest.raises(NotFoundError, match="huge"):
        service.coordinator.choose("huge", RequestKind.LLM_CHAT)


async def test_a_server_that_chats_and_embeds_is_one_engine_for_both(service: Running, upstream: Any) -> None:
    from aiohttp import web

    from sage_control_plane.request.request import Endpoint
    from sage_mesh.engine import EngineRequest
    from sage_mesh.executor.direct_call import run_here

    async def embed(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"embedding": [1.0]}], "usage": {"prompt_tokens": 1}})

    registered = await service.api.RegisterEngine(
        llm_pb2.RegisterEngineRequest(
            engine_id="both", url=upstream.url, kinds=["chat", "generate", "embedding"], max_concurrency=3
        )
    )
    engine_id = registered.engine.spec.engine_id
    await service.wait_ready(engine_id)
    (state,) = [s for s in service.coordinator.states() if s.spec.engine_id == engine_id]
    everything = frozenset({RequestKind.LLM_CHAT, RequestKind.LLM_GENERATE, RequestKind.EMBEDDING})
    assert [card.kinds for card in state.spec.models] == [everything, everything]
    assert state.spec.max_concurrency == 3
    for kind in everything:
        engine, _ = service.coordinator.choose("big", kind)
        assert engine.spec.engine_id == engine_id
    upstream.completions = embed
    async with run_here(
        engine, EngineRequest("r", Endpoint.EMBEDDINGS, b'{"model":"big","input":"x"}', "big")
    ) as reply:
        assert b"embedding" in await reply.read()


async def test_an_unknown_kind_of_work_is_refused_with_the_nearest(service: Running, upstream: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="did you mean 'embedding'"):
        await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(url=upstream.url, kinds=["embeding"]))


async def test_a_start_that_the_machine_has_no_room_for_is_refused_and_not_kept(service: Running) -> None:
    request = llm_pb2.StartEngineRequest(model="acme/tiny", environment={"VLLM_CPU_KVCACHE_SPACE": "100000"})
    with pytest.raises(grpc.aio.AioRpcError, match="not enough memory: it needs about 100002") as caught:
        await service.api.StartEngine(request)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    await service.registrations.reconcile()
    assert service.coordinator.states() == []


async def test_an_engine_that_sage_did_not_start_has_no_log(service: Running, upstream: Any) -> None:
    registered = await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="far", url=upstream.url))
    request = llm_pb2.EngineLogsRequest(engine_id=registered.engine.spec.engine_id)
    with pytest.raises(grpc.aio.AioRpcError, match="was not started by SAGE"):
        await collect(service.api.EngineLogs(request))


@pytest.mark.parametrize(
    ("ceiling", "expected"),
    [(0, (7, CapacitySource.TOLD)), (5, (5, CapacitySource.CONFIGURED)), (9, (7, CapacitySource.TOLD))],
)
async def test_a_configured_concurrency_is_a_ceiling_on_what_an_engines_arguments_say(
    service: Running, ceiling: int, expected: tuple[int, CapacitySource]
) -> None:
    # Its server is never reached: no machine has this many GPUs.
    arguments = ("--max-num-seqs=7", "--tensor-parallel-size=4096")
    settings = VllmEngineSettings(model="acme/tiny", arguments=arguments, max_concurrency=ceiling)
    state = await service.coordinator.add(settings)
    assert (state.spec.max_concurrency, state.spec.capacity_source) == expected


async def test_a_restarted_engine_has_a_new_id_and_the_same_name(service: Running, upstream: Any) -> None:
    first = await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="again", url=upstream.url))
    answer = await service.api.RestartEngine(llm_pb2.RestartEngineRequest(engine_id=first.engine.spec.engine_id))
    assert answer.engine.spec.engine_id != first.engine.spec.engine_id
    assert dict(answer.engine.spec.labels) == {"registered": "again", "name": "again"}
    await service.wait_ready(answer.engine.spec.engine_id)


async def test_a_name_that_is_given_apart_from_the_settings_outlives_a_restart(service: Running, upstream: Any) -> None:
    added = await service.coordinator.add(OpenAiEngineSettings(url=upstream.url), name="given")
    restarted, _ = await service.coordinator.restart(added.spec.engine_id, drain=False, timeout_seconds=0)
    assert restarted.spec.engine_id.startswith("given-")


@pytest.mark.parametrize(
    "engine", ['{"kind":"openai","from_a_later_version":1}', '{"kind":"opnai"}', '{"kind":"vllm"}']
)
async def test_a_registration_that_makes_no_engine_is_left_alone_and_the_others_are_taken_up(
    nats_server: NatsProcess, bucket: str, upstream: Any, ring: Ring, engine: str
) -> None:
    async with running(nats_server, bucket, "llm-coordinator-1-aaaa") as service:
        store = await open_bucket(ring.connection.jetstream(), bucket)
        await store.put("a", f'{{"name":"a","engine":{engine}}}'.encode())
        kept = Registration.of("b", OpenAiEngineSettings(url=upstream.url))
        await store.put("b", orjson.dumps(asdict(kept)))
        for _ in range(3):
            await service.registrations.reconcile()
        assert [state.spec.engine_id for state in service.coordinator.states()] == ["b-aaaa"]


async def test_a_restart_reaches_its_end_though_its_caller_hangs_up(service: Running, upstream: Any) -> None:
    async def silent(_request: Any) -> Any:
        await asyncio.Event().wait()

    upstream.completions = silent
    await service.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
    await service.wait_ready("mine-aaaa")
    generating = asyncio.ensure_future(collect(service.api.Generate(llm_pb2.GenerateRequest(model="big", prompt="hi"))))
    await upstream.arrived.wait()
    engine = service.coordinator.engines["mine-aaaa"]
    may_stop, stopping = asyncio.Event(), asyncio.Event()
    stop = engine.stop

    async def slow_stop() -> None:
        stopping.set()
        await may_stop.wait()
        await stop()

    engine.stop = slow_stop  # type: ignore[method-assign]
    call = service.api.RestartEngine(llm_pb2.RestartEngineRequest(engine_id="mine-aaaa"))
    waiting = asyncio.ensure_future(call.wait_for_connection())
    await asyncio.wait_for(stopping.wait(), 5)
    call.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    may_stop.set()
    assert await service.directory.wait_until(lambda d: "mine-2-aaaa" in d.engines, 5)
    generating.cancel()
    await asyncio.gather(generating, return_exceptions=True)


async def lists_adapters(upstream: Any, adapters: list[str]) -> None:
    """Have the server load adapters as vLLM does."""
    from aiohttp import web

    async def load(_request: web.Request) -> web.StreamResponse:
        adapters.append(orjson.loads(upstream.bodies[-1])["lora_name"])
        return web.Response(text="Success")

    async def models(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"data": [{"id": "big"}, *({"id": name, "parent": "big"} for name in adapters)]})

    upstream.completions, upstream.models = load, models


async def test_a_restarted_coordinator_has_its_engines_load_their_adapters_again(
    nats_server: NatsProcess, bucket: str, upstream: Any
) -> None:
    adapters: list[str] = []
    await lists_adapters(upstream, adapters)
    async with running(nats_server, bucket, "llm-coordinator-1-aaaa") as first:
        await first.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        await first.wait_ready("mine-aaaa")
        for name in ("terse", "polite", "odd"):
            await first.api.LoadLora(llm_pb2.LoadLoraRequest(engine_id="mine-aaaa", name=name, path=f"/{name}"))
    adapters.clear()  # the server was restarted, too
    async with running(nats_server, bucket, "llm-coordinator-2-bbbb") as second:
        for _ in range(2):
            await second.registrations.reconcile()
        await second.wait_ready("mine-bbbb")
        assert adapters == ["terse", "polite", "odd"]
        adapters.clear()
        await second.api.RestartEngine(llm_pb2.RestartEngineRequest(engine_id="mine-bbbb"))
        await second.wait_ready("mine-2-bbbb")
        assert adapters == ["terse", "polite", "odd"]
        # An engine that is gone for good takes its adapters along.
        await second.api.RemoveEngine(llm_pb2.RemoveEngineRequest(engine_id="mine-2-bbbb"))
        adapters.clear()
        await second.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        await second.wait_ready("mine-3-bbbb")
        assert adapters == []


async def test_an_engine_that_is_not_ready_leaves_the_list_of_adapters_to_the_coordinator_that_has_taken_it_over(
    service: Running, bucket: str, ring: Ring, upstream: Any
) -> None:
    await upstream.stop()
    settings = OpenAiEngineSettings(name="mine", url=upstream.url)
    state = await service.coordinator.add(settings, origin="registered/mine")
    kept = AdapterRecords(await open_bucket(ring.connection.jetstream(), f"adapters-{bucket}"), "this-host")
    adopters = (Adapter("terse", "/terse"),)
    await kept.write("registered/mine", "", adopters)
    for order in (
        service.coordinator.load_lora(state.spec.engine_id, "polite", "/polite"),
        service.coordinator.unload_lora(state.spec.engine_id, "polite"),
    ):
        with pytest.raises(UnavailableError):
            await order
    assert await kept.read("registered/mine", "") == adopters


async def test_an_engine_that_could_not_be_stopped_is_not_started_a_second_time_by_another_coordinator(
    nats_server: NatsProcess, bucket: str, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        running(nats_server, bucket, "llm-coordinator-1-aaaa") as first,
        running(nats_server, bucket, "llm-coordinator-2-bbbb") as second,
    ):
        await first.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        await first.wait_ready("mine-aaaa")

        async def refuse() -> None:
            raise OSError("it does not end")

        with monkeypatch.context() as patch:
            patch.setattr(first.coordinator.engines["mine-aaaa"], "stop", refuse)
            with pytest.raises(grpc.aio.AioRpcError):
                await first.api.RestartEngine(llm_pb2.RestartEngineRequest(engine_id="mine-aaaa"))
        assert await second.directory.wait_until(lambda d: d.engines["mine-aaaa"].phase is EnginePhase.STOPPED, 5)
        for _ in range(3):
            await second.registrations.reconcile()
        assert second.coordinator.states() == []
        with pytest.raises(grpc.aio.AioRpcError, match="remove it first"):
            await second.api.RegisterEngine(llm_pb2.RegisterEngineRequest(engine_id="mine", url=upstream.url))
        await first.api.RestartEngine(llm_pb2.RestartEngineRequest(engine_id="mine-aaaa"))
        await first.wait_ready("mine-2-aaaa")
