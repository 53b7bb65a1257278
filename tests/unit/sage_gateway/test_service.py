"""The gRPC twin, over a real channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from fixtures.engines import CHAT_MODEL, EMBEDDING_MODEL, ENGINE_TIME, vector_of
from fixtures.mesh import Mesh
from google.protobuf import json_format, struct_pb2
from grpc import aio

from sage.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from sage.inference.v1 import generation_pb2, request_pb2
from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.ring import RingTransport
from sage_control_plane.request.request import Priority
from sage_gateway.credentials import Credentials
from sage_gateway.service import GatewayServicer
from sage_platform.grpc_server import GrpcServer, channel


@pytest.fixture
async def stub(mesh: Mesh) -> AsyncIterator[gateway_pb2_grpc.GatewayServiceStub]:
    async with serving(mesh, Credentials({})) as stub:
        yield stub


class serving:  # noqa: N801 - reads as a verb where it is used
    """A gRPC server with the gateway's service, and a stub for it."""

    def __init__(self, mesh: Mesh, credentials: Credentials) -> None:
        client = AsyncUnifiedInferenceClient(RingTransport(mesh.open_edge))
        self._server = GrpcServer()
        self._server.add(
            gateway_pb2_grpc.add_GatewayServiceServicer_to_server,
            GatewayServicer(client, mesh.directory, credentials, max_timeout_seconds=60),
            "sage.gateway.v1.GatewayService",
        )

    async def __aenter__(self) -> gateway_pb2_grpc.GatewayServiceStub:
        port = await self._server.start("127.0.0.1", 0, setting="X")
        self._channel = channel(f"127.0.0.1:{port}")
        return gateway_pb2_grpc.GatewayServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close(None)
        await self._server.stop(0)


def chat(text: str, **fields: Any) -> gateway_pb2.ChatRequest:
    messages = [generation_pb2.ChatMessage(role="user", content=text)]
    return gateway_pb2.ChatRequest(model=CHAT_MODEL, messages=messages, **fields)


async def test_chat_gives_text_usage_and_the_trail(stub: gateway_pb2_grpc.GatewayServiceStub, mesh: Mesh) -> None:
    extra = json_format.ParseDict({"top_k": 3}, struct_pb2.Struct())
    envelope = gateway_pb2.Envelope(
        request_id="mine", tenant="acme", hints=request_pb2.Hints(priority=request_pb2.PRIORITY_HIGH)
    )
    answer = await stub.Chat(
        chat("hi there", envelope=envelope, parameters=generation_pb2.GenerationParameters(max_tokens=5, extra=extra))
    )
    assert (answer.text, answer.finish_reason, answer.usage.prompt_tokens) == ("HI THERE", "stop", 2)
    trail = answer.trail
    assert (trail.request_id, trail.engine_id, trail.queue_ms, trail.attempts) == (
        "mine",
        mesh.engine.spec.engine_id,
        1.5,
        1,
    )
    job = mesh.engine.jobs[-1]
    assert (job.tenant, job.hints.priority) == ("acme", Priority.HIGH)
    assert b'"top_k":3' in job.body
    assert b'"max_tokens":5' in job.body


@pytest.mark.parametrize("unfit", ["x" * 129, "caf\u00e9", "two\nlines"])
async def test_an_unfit_id_is_refused_by_every_method(
    stub: gateway_pb2_grpc.GatewayServiceStub, mesh: Mesh, unfit: str
) -> None:
    envelope = gateway_pb2.Envelope(request_id=unfit)
    prompt = gateway_pb2.GenerateRequest(model=CHAT_MODEL, prompt="hi", envelope=envelope)
    streamed_chat = gateway_pb2.StreamChatRequest(chat=chat("hi", envelope=envelope))
    for call in (
        stub.Chat(chat("hi", envelope=envelope)),
        stub.Generate(prompt),
        stub.Embed(gateway_pb2.EmbedRequest(model=EMBEDDING_MODEL, texts=["a"], envelope=envelope)),
        aiter(stub.StreamChat(streamed_chat)).__anext__(),
        aiter(stub.StreamGenerate(gateway_pb2.StreamGenerateRequest(generate=prompt))).__anext__(),
    ):
        with pytest.raises(aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "'request_id' must be at most 128 printable ASCII characters" in (refused.value.details() or "")
    assert mesh.engine.jobs == []


async def test_without_an_id_the_trail_has_the_meshs(stub: gateway_pb2_grpc.GatewayServiceStub, mesh: Mesh) -> None:
    answer = await stub.Chat(chat("hi"))
    assert answer.trail.request_id == mesh.engine.jobs[-1].request_id


async def test_a_trace_context_goes_on_to_the_engine(stub: gateway_pb2_grpc.GatewayServiceStub, mesh: Mesh) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await stub.Chat(chat("hi"), metadata=(("traceparent", trace),))
    assert mesh.engine.jobs[-1].traceparent == trace
    await stub.Chat(chat("hi"), metadata=(("traceparent", "of another form"),))
    assert mesh.engine.jobs[-1].traceparent == ""


async def test_streamed_chat_gives_the_trail_first_and_usage_last(stub: gateway_pb2_grpc.GatewayServiceStub) -> None:
    pieces = [piece async for piece in stub.StreamChat(gateway_pb2.StreamChatRequest(chat=chat("a b c")))]
    assert "".join(piece.text for piece in pieces) == "A B C"
    assert pieces[0].trail.engine_id
    assert not pieces[1].HasField("trail")
    assert pieces[-1].usage.completion_tokens == 3


async def test_generate_works_streamed_and_not(stub: gateway_pb2_grpc.GatewayServiceStub) -> None:
    request = gateway_pb2.GenerateRequest(model=CHAT_MODEL, prompt="once upon")
    assert (await stub.Generate(request)).text == "ONCE UPON"
    stream = stub.StreamGenerate(gateway_pb2.StreamGenerateRequest(generate=request))
    assert "".join([piece.text async for piece in stream]) == "ONCE UPON"


async def test_embed_gives_little_endian_floats(stub: gateway_pb2_grpc.GatewayServiceStub) -> None:
    answer = await stub.Embed(gateway_pb2.EmbedRequest(model=EMBEDDING_MODEL, texts=["a", "b"], dimensions=4))
    vectors = np.frombuffer(answer.vectors, "<f4").reshape(2, answer.dimensions)
    np.testing.assert_array_equal(vectors, np.stack([vector_of("a", 4), vector_of("b", 4)]))
    assert (answer.model, answer.usage.prompt_tokens) == (EMBEDDING_MODEL, 2)


async def test_a_number_reaches_the_engine_as_its_sender_wrote_it(
    stub: gateway_pb2_grpc.GatewayServiceStub, mesh: Mesh
) -> None:
    parameters = generation_pb2.GenerationParameters(temperature=0.7, top_p=0.95)
    await stub.Chat(chat("hi", parameters=parameters))
    sent = orjson.loads(mesh.engine.jobs[-1].body)
    assert (sent["temperature"], sent["top_p"]) == (0.7, 0.95)
    request = gateway_pb2.GenerateRequest(model=CHAT_MODEL, prompt="hi", parameters=parameters)
    await stub.Generate(request)
    sent = orjson.loads(mesh.engine.jobs[-1].body)
    assert (sent["temperature"], sent["top_p"]) == (0.7, 0.95)


async def test_embed_says_what_was_cut_and_where_the_engines_time_went(
    stub: gateway_pb2_grpc.GatewayServiceStub,
) -> None:
    usage = (await stub.Embed(gateway_pb2.EmbedRequest(model=EMBEDDING_MODEL, texts=["one", "too long"]))).usage
    assert (usage.prompt_tokens, usage.truncated_inputs) == (2, 1)
    time = usage.engine_time
    assert (time.queue_us, time.tokenize_us, time.inference_us) == (
        ENGINE_TIME.queue_us,
        ENGINE_TIME.tokenize_us,
        ENGINE_TIME.inference_us,
    )


async def test_models_are_listed(stub: gateway_pb2_grpc.GatewayServiceStub) -> None:
    models = (await stub.ListModels(gateway_pb2.ListModelsRequest())).models
    assert [model.name for model in models] == [EMBEDDING_MODEL, CHAT_MODEL]


async def test_errors_have_their_status_and_machine_code(stub: gateway_pb2_grpc.GatewayServiceStub) -> None:
    request = chat("x")
    request.model = "nope"
    with pytest.raises(aio.AioRpcError) as unknown:
        await stub.Chat(request)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert ("sage-error-code", "model_not_found") in list(unknown.value.trailing_metadata() or ())  # type: ignore[comparison-overlap]
    with pytest.raises(aio.AioRpcError) as late:
        await stub.Chat(chat("please stall", envelope=gateway_pb2.Envelope(timeout_ms=1)))
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_cancelling_a_call_ends_the_engines_work(stub: gateway_pb2_grpc.GatewayServiceStub, mesh: Mesh) -> None:
    call = stub.Chat(chat("please stall"))
    await asyncio.wait_for(mesh.engine.job_arrived.wait(), 5)
    call.cancel()
    await asyncio.wait_for(mesh.engine.job_cancelled.wait(), 5)


async def test_a_key_is_needed_once_keys_are_configured(mesh: Mesh) -> None:
    async with serving(mesh, Credentials({"k": "acme"})) as stub:
        with pytest.raises(aio.AioRpcError) as refused:
            await stub.Chat(chat("x"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        await stub.Chat(chat("x"), metadata=(("authorization", "Bearer k"),))
        assert mesh.engine.jobs[-1].tenant == "acme"
