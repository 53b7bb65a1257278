"""One suite for both ways to the mesh: over HTTP through a gateway, and straight onto the ring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
from fixtures.engines import CHAT_MODEL, DIMENSIONS, EMBEDDING_MODEL, ENGINE_TIME, vector_of
from fixtures.mesh import Mesh, gateway_mesh
from fixtures.nats import NatsProcess

from sage_client.client import AsyncUnifiedInferenceClient, CallOptions
from sage_client.sync_client import UnifiedInferenceClient
from sage_common.errors import (
    DeadlineExceededError,
    EngineFailedError,
    InvalidRequestError,
    NotFoundError,
    SageError,
    UnprocessableError,
)
from sage_control_plane.request.request import Hints, Priority, RequestKind, ServiceClass
from sage_mesh.reply import TokenUsage


@dataclass
class World:
    """A mesh and a client of it."""

    mesh: Mesh
    target: str
    client: AsyncUnifiedInferenceClient


@pytest.fixture(params=["http", "ring"])
async def world(request: pytest.FixtureRequest, nats_server: NatsProcess) -> AsyncIterator[World]:
    async with gateway_mesh(nats_server) as mesh:
        target = mesh.url if request.param == "http" else mesh.nats.url
        async with await AsyncUnifiedInferenceClient.create(target, tenant="acme", timeout=10) as client:
            yield World(mesh, target, client)


async def test_chat_tells_the_answer_and_its_way(world: World) -> None:
    result = await world.client.chat("how are you", options=CallOptions(request_id="mine"))
    assert (result.text, result.finish_reason, result.model) == ("HOW ARE YOU", "stop", CHAT_MODEL)
    assert (result.usage.prompt_tokens, result.usage.completion_tokens) == (3, 3)
    assert (result.request_id, result.engine) == ("mine", world.mesh.engine.spec.engine_id)
    assert (result.queue_ms, result.attempts) == (1.5, 1)
    assert result.raw["object"] == "chat.completion"


async def test_tenant_and_hints_reach_the_engine(world: World) -> None:
    hints = Hints(Priority.LOW, ServiceClass.BULK, 1, 2, 3)
    await world.client.chat("x", options=CallOptions(hints=hints))
    job = world.mesh.engine.jobs[-1]
    assert (job.tenant, job.hints) == ("acme", hints)


async def test_a_trace_context_reaches_the_engine(world: World) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await world.client.chat("x", options=CallOptions(traceparent=trace))
    assert world.mesh.engine.jobs[-1].traceparent == trace


async def test_usage_is_whole_however_it_came(world: World) -> None:
    embedded = await world.client.embed(["one", "too long"], EMBEDDING_MODEL)
    assert (embedded.usage.truncated_inputs, embedded.usage.engine_time) == (1, ENGINE_TIME)
    ranked = await world.client.rerank("query", ["a"], EMBEDDING_MODEL)
    assert ranked.usage.engine_time == ENGINE_TIME


async def test_generate_continues_a_prompt(world: World) -> None:
    assert (await world.client.generate("once upon", CHAT_MODEL)).text == "ONCE UPON"


async def test_streams_give_pieces_and_then_usage(world: World) -> None:
    for stream in (world.client.stream_chat("a b c"), world.client.stream_generate("a b c")):
        pieces = [piece async for piece in stream]
        assert "".join(map(str, pieces)) == "A B C"
        assert [piece.finish_reason for piece in pieces if piece.finish_reason] == ["stop"]
        assert pieces[-1].usage == TokenUsage(3, 3)
        assert pieces[0].metadata.engine == world.mesh.engine.spec.engine_id


async def test_pieces_come_while_the_engine_still_works(world: World) -> None:
    stream = world.client.stream_chat("first wait")
    assert (await asyncio.wait_for(anext(stream), 5)).text == "FIRST"
    world.mesh.engine.go_on.set()
    assert "".join([piece.text async for piece in stream]) == " WAIT"


async def test_embed_gives_float32_vectors_in_order(world: World) -> None:
    result = await world.client.embed(["one", "two"], EMBEDDING_MODEL)
    assert result.vectors.dtype == np.float32
    np.testing.assert_array_equal(result.vectors, np.stack([vector_of("one"), vector_of("two")]))
    assert (result.model, result.usage.prompt_tokens) == (EMBEDDING_MODEL, 2)
    assert (result.engine, result.attempts) == (world.mesh.engine.spec.engine_id, 1)
    cut = await world.client.embed("one", dimensions=4)
    np.testing.assert_array_equal(cut.vectors, vector_of("one", 4)[None])


async def test_an_answer_tells_what_was_cut_and_where_the_engines_time_went(world: World) -> None:
    result = await world.client.embed(["one", "too long"], EMBEDDING_MODEL)
    assert (result.truncated_inputs, result.engine_time) == (1, ENGINE_TIME)
    assert (await world.client.embed("one", EMBEDDING_MODEL)).truncated_inputs == 0


async def test_rerank_gives_documents_by_relevance(world: World) -> None:
    result = await world.client.rerank("query", ["a", "long one", "bcd"], EMBEDDING_MODEL, top_n=2)
    assert [(document.index, document.relevance_score) for document in result.results] == [(1, 0.08), (2, 0.03)]
    assert (result.model, result.usage.prompt_tokens) == (EMBEDDING_MODEL, 3)
    assert (result.metadata.engine, result.metadata.engine_time) == (world.mesh.engine.spec.engine_id, ENGINE_TIME)
    with pytest.raises(InvalidRequestError, match=r"'documents\[1\]' must not be empty"):
        await world.client.rerank("query", ["a", ""], EMBEDDING_MODEL)


async def test_models_are_described_alike(world: World) -> None:
    embedding, chat = await world.client.models()
    assert (embedding.id, embedding.kinds, embedding.dimensions) == (
        EMBEDDING_MODEL,
        (RequestKind.EMBEDDING, RequestKind.RERANK),
        DIMENSIONS,
    )
    assert (chat.id, chat.aliases, chat.pool) == (CHAT_MODEL, ("chat-alias",), "main")


@pytest.mark.parametrize(
    ("text", "model", "error", "code", "message"),
    [
        ("x", "nope", NotFoundError, "model_not_found", "'nope' does not exist"),
        ("x", EMBEDDING_MODEL, InvalidRequestError, "wrong_endpoint_for_model", "/v1/embeddings"),
        ("please break", None, EngineFailedError, "engine_failed", "the engine broke"),
    ],
)
async def test_failures_are_typed_alike(
    world: World, text: str, model: str | None, error: type[SageError], code: str, message: str
) -> None:
    with pytest.raises(error, match=message) as failure:
        await world.client.chat(text, model)
    assert failure.value.code == code


async def test_the_engines_own_refusal_is_unprocessable(world: World) -> None:
    with pytest.raises(UnprocessableError):
        await world.client.chat("please refuse")


async def test_an_empty_input_names_its_field(world: World) -> None:
    with pytest.raises(InvalidRequestError) as failure:
        await world.client.embed([""])
    assert (failure.value.code, failure.value.param) == ("empty_input", "input[0]")


async def test_a_deadline_that_passes_is_said_by_the_mesh(world: World) -> None:
    with pytest.raises(DeadlineExceededError, match="no complete answer within"):
        await world.client.chat("please stall", options=CallOptions(timeout_seconds=0.05))


async def test_an_id_in_flight_can_be_used_again_and_cancelling_one_leaves_the_other(world: World) -> None:
    options = CallOptions(request_id="twin")
    first = asyncio.create_task(world.client.chat("please stall", options=options))
    await asyncio.wait_for(world.mesh.engine.job_arrived.wait(), 5)
    again = world.client.stream_chat("first wait", options=options)
    piece = await anext(again)
    assert (piece.text, piece.metadata.request_id) == ("FIRST", "twin")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.wait_for(world.mesh.engine.job_cancelled.wait(), 5)
    world.mesh.engine.go_on.set()
    assert "".join([piece.text async for piece in again]) == " WAIT"


async def test_a_call_without_an_id_is_known_by_the_meshs(world: World) -> None:
    result = await world.client.chat("hello")
    assert result.request_id == world.mesh.engine.jobs[-1].request_id


@pytest.mark.parametrize("unfit", ["x" * 129, "caf\u00e9", "two\r\nlines"])
async def test_an_unfit_id_is_refused_before_it_is_sent(world: World, unfit: str) -> None:
    with pytest.raises(InvalidRequestError, match="'request_id' must be at most 128 printable ASCII"):
        await world.client.chat("hello", options=CallOptions(request_id=unfit))
    assert world.mesh.engine.jobs == []


async def test_an_error_in_mid_stream_comes_after_the_pieces(world: World) -> None:
    seen = ""

    async def read() -> None:
        nonlocal seen
        async for piece in world.client.stream_chat("so tear"):
            seen += piece.text

    with pytest.raises(EngineFailedError, match="the engine died") as failure:
        await read()
    assert (seen, failure.value.code) == ("SO TEAR", "engine_died")


async def test_cancelling_a_call_ends_the_engines_work(world: World) -> None:
    call = asyncio.create_task(world.client.chat("please stall"))
    await asyncio.wait_for(world.mesh.engine.job_arrived.wait(), 5)
    call.cancel()
    await asyncio.wait_for(world.mesh.engine.job_cancelled.wait(), 5)


async def test_leaving_a_stream_early_ends_the_engines_work(world: World) -> None:
    async for piece in world.client.stream_chat("first wait"):
        assert piece.text == "FIRST"
        break
    await asyncio.wait_for(world.mesh.engine.job_cancelled.wait(), 5)


async def test_the_synchronous_client_does_the_same(world: World) -> None:
    def use() -> None:
        with UnifiedInferenceClient.create(world.target, timeout=10) as client:
            assert client.chat("how are you").text == "HOW ARE YOU"
            assert client.generate("once").text == "ONCE"
            assert "".join(piece.text for piece in client.stream_chat("a b c")) == "A B C"
            assert "".join(piece.text for piece in client.stream_generate("a b")) == "A B"
            assert client.embed(["one"]).vectors.shape == (1, DIMENSIONS)
            assert [model.id for model in client.models()] == [EMBEDDING_MODEL, CHAT_MODEL]
            with pytest.raises(NotFoundError):
                client.chat("x", "nope")
            for piece in client.stream_chat("first wait"):
                assert piece.text == "FIRST"
                break

    await asyncio.to_thread(use)
    await asyncio.wait_for(world.mesh.engine.job_cancelled.wait(), 5)
