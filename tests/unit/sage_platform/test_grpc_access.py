"""Who may call what, over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sage.llm.v1 import llm_pb2, llm_pb2_grpc
from sage_common.api_keys import ApiKeys, KeyHolder
from sage_platform.grpc_access import current_caller, for_operators
from sage_platform.grpc_server import CODE_METADATA, GrpcServer, channel

KEYS = ApiKeys({"k-acme": "acme", "k-ops": KeyHolder(tenant="ops", operator=True)}, mesh_token="mesh-token")
NAME = "sage.llm.v1.LlmService"


class Servicer(llm_pb2_grpc.LlmServiceServicer):
    """Says who calls, in one answer and in a stream; stopping an engine is an order."""

    async def ListEngines(self, request: Any, context: Any) -> llm_pb2.ListEnginesResponse:
        await asyncio.sleep(0)
        spec = {"engine_id": str(current_caller().tenant)}
        return llm_pb2.ListEnginesResponse(engines=[{"spec": spec}])  # type: ignore[list-item]

    async def Chat(self, request: Any, context: Any) -> AsyncIterator[llm_pb2.ChatResponse]:
        for _ in range(2):
            yield llm_pb2.ChatResponse(text=str(current_caller().tenant))

    @for_operators
    async def RemoveEngine(self, request: Any, context: Any) -> llm_pb2.RemoveEngineResponse:
        return llm_pb2.RemoveEngineResponse(aborted=7)

    @for_operators
    async def EngineLogs(self, request: Any, context: Any) -> AsyncIterator[llm_pb2.EngineLogsResponse]:
        yield llm_pb2.EngineLogsResponse(lines=["a line"])


@asynccontextmanager
async def serving(keys: ApiKeys) -> AsyncIterator[str]:
    server = GrpcServer(keys)
    server.add(llm_pb2_grpc.add_LlmServiceServicer_to_server, Servicer(), NAME)
    port = await server.start("127.0.0.1", 0, setting="X")
    await server.set_serving(True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async with serving(KEYS) as address:
        yield address


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if hasattr(call, "__await__") else anext(aiter(call)))
    code = next(value for key, value in caught.value.trailing_metadata() or () if key == CODE_METADATA)
    return caught.value.code(), str(code)


def stub(opened: grpc.aio.Channel) -> Any:
    return llm_pb2_grpc.LlmServiceStub(opened)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("token", ["", "k-nobody"])
async def test_every_call_needs_a_key(address: str, token: str) -> None:
    async with channel(address, token=token) as opened:
        api = stub(opened)
        for call in (
            api.ListEngines(llm_pb2.ListEnginesRequest()),
            api.RemoveEngine(llm_pb2.RemoveEngineRequest()),
            api.Chat(llm_pb2.ChatRequest()),
            api.EngineLogs(llm_pb2.EngineLogsRequest()),
        ):
            assert await refusal(call) == (grpc.StatusCode.UNAUTHENTICATED, "invalid_api_key")


@pytest.mark.parametrize(("token", "tenant"), [("k-acme", "acme"), ("k-ops", "ops"), ("mesh-token", "None")])
async def test_the_handler_knows_who_calls(address: str, token: str, tenant: str) -> None:
    async with channel(address, token=token) as opened:
        api = stub(opened)
        # Together, so that one call's caller would show in the other's answer.
        answers = await asyncio.gather(*(api.ListEngines(llm_pb2.ListEnginesRequest()) for _ in range(5)))
        assert {answer.engines[0].spec.engine_id for answer in answers} == {tenant}
        assert [answer.text async for answer in api.Chat(llm_pb2.ChatRequest())] == [tenant, tenant]


async def test_orders_are_for_operators(address: str) -> None:
    async with channel(address, token="k-acme") as opened:
        api = stub(opened)
        denied = (grpc.StatusCode.PERMISSION_DENIED, "operators_only")
        assert await refusal(api.RemoveEngine(llm_pb2.RemoveEngineRequest())) == denied
        assert await refusal(api.EngineLogs(llm_pb2.EngineLogsRequest())) == denied
    for token in ("k-ops", "mesh-token"):
        async with channel(address, token=token) as opened:
            api = stub(opened)
            assert (await api.RemoveEngine(llm_pb2.RemoveEngineRequest())).aborted == 7
            assert [list(a.lines) async for a in api.EngineLogs(llm_pb2.EngineLogsRequest())] == [["a line"]]


async def test_two_keys_are_none(address: str) -> None:
    async with channel(address) as opened:
        metadata = (("authorization", "Bearer k-ops"), ("authorization", "Bearer k-acme"))
        call = stub(opened).ListEngines(llm_pb2.ListEnginesRequest(), metadata=metadata)
        assert (await refusal(call))[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_health_and_reflection_need_no_key(address: str) -> None:
    async with channel(address) as opened:
        health = health_pb2_grpc.HealthStub(opened)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(opened)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        named = [s.name async for a in reflection.ServerReflectionInfo(asked) for s in a.list_services_response.service]
        assert NAME in named


async def test_without_keys_everybody_may_call() -> None:
    async with serving(ApiKeys({}, mesh_token="mesh-token")) as address, channel(address) as opened:
        assert (await stub(opened).RemoveEngine(llm_pb2.RemoveEngineRequest())).aborted == 7


@pytest.mark.parametrize("token", ["", "mesh-token"])
async def test_what_a_tenant_has_asked_for_is_its_own_where_nobody_needs_a_key(token: str) -> None:
    async with (
        serving(ApiKeys({}, mesh_token="mesh-token")) as address,
        channel(address, token=token, acting_for="acme") as opened,
    ):
        api = stub(opened)
        answer = await api.ListEngines(llm_pb2.ListEnginesRequest())
        assert answer.engines[0].spec.engine_id == "acme"
        denied = (grpc.StatusCode.PERMISSION_DENIED, "operators_only")
        assert await refusal(api.RemoveEngine(llm_pb2.RemoveEngineRequest())) == denied


async def test_acting_for_a_tenant_takes_no_keys_place(address: str) -> None:
    async with channel(address, acting_for="acme") as opened:
        call = stub(opened).ListEngines(llm_pb2.ListEnginesRequest())
        assert await refusal(call) == (grpc.StatusCode.UNAUTHENTICATED, "invalid_api_key")
