"""The engine behind a real gRPC server, and on the ring behind a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import grpc
import numpy as np
import orjson
import pytest
from fixtures.dispatcher import Dispatcher
from fixtures.engines import FakeEngine
from fixtures.eventually import eventually
from grpc import aio
from prometheus_client import CollectorRegistry

from sage.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from sage.inference.v1 import engine_pb2
from sage_common.clock import MonotonicClock
from sage_control_plane.request.classification import RequestClassifier
from sage_control_plane.request.engine_state import EngineSpec
from sage_control_plane.request.features import request_features
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_embed_executor.embedding_stream import embed_stream
from sage_embed_executor.engines.model_loader import LoadedModel
from sage_embed_executor.engines.sentence_transformers_engine import SentenceTransformersEngine, new_card
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.service import EmbeddingServicer
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge.edge import Edge
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.executor.executor import Executor
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import EngineTime, Media, TokenUsage
from sage_platform.grpc_server import GrpcServer, channel
from sage_platform.ring import Ring


@dataclass
class Served:
    """A running executor and its gRPC stub."""

    executor: Executor
    stub: embedding_pb2_grpc.EmbeddingServiceStub


@pytest.fixture
async def served(ring: Ring, minilm: LoadedModel) -> AsyncIterator[Served]:
    executor = Executor(ring, "embed-executor-test", "embed-executor", MonotonicClock())
    metrics = EmbedMetrics(CollectorRegistry())
    spec = EngineSpec(
        "minilm-test", "sentence-transformers", (new_card("all-MiniLM-L6-v2", ("minilm",)),), max_concurrency=64
    )
    engine = SentenceTransformersEngine(spec, lambda: minilm, 2, 1_000_000, MonotonicClock(), metrics)
    await executor.start()
    await (await executor.host(engine))
    server = GrpcServer()
    server.add(
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server,
        EmbeddingServicer(executor),
        "sage.embedding.v1.EmbeddingService",
    )
    port = await server.start("127.0.0.1", 0, setting="port")
    async with channel(f"127.0.0.1:{port}") as connection:
        yield Served(executor, embedding_pb2_grpc.EmbeddingServiceStub(connection))  # type: ignore[no-untyped-call]
    await server.stop(0)
    await executor.stop(1)


async def test_embed_returns_vectors_and_usage(served: Served) -> None:
    request = embedding_pb2.EmbedRequest(model="minilm", texts=["hello world", "b"], dimensions=8)
    reply = await served.stub.Embed(request)
    vectors = np.frombuffer(reply.vectors, dtype="<f4").reshape(2, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (reply.model, reply.engine_id, reply.dimensions) == ("all-MiniLM-L6-v2", "minilm-test", 8)
    assert reply.usage.prompt_tokens == 7


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        (embedding_pb2.EmbedRequest(), grpc.StatusCode.INVALID_ARGUMENT, "'input' must not be empty"),
        (embedding_pb2.EmbedRequest(texts=["a", ""]), grpc.StatusCode.INVALID_ARGUMENT, "'input[1]' must not be empty"),
        (embedding_pb2.EmbedRequest(texts=["a"] * 2049), grpc.StatusCode.INVALID_ARGUMENT, "the limit is 2048"),
        (embedding_pb2.EmbedRequest(texts=["a"], dimensions=385), grpc.StatusCode.INVALID_ARGUMENT, "have 384"),
        (embedding_pb2.EmbedRequest(texts=["a"], model="x"), grpc.StatusCode.NOT_FOUND, "known models: all-MiniLM-L6"),
    ],
)
async def test_what_cannot_be_served_has_its_status_and_reason(
    served: Served, request_: embedding_pb2.EmbedRequest, status: grpc.StatusCode, words: str
) -> None:
    with pytest.raises(aio.AioRpcError) as caught:
        await served.stub.Embed(request_)
    assert caught.value.code() is status
    assert words in (caught.value.details() or "")


async def test_list_engines_tells_the_state(served: Served) -> None:
    reply = await served.stub.ListEngines(embedding_pb2.ListEnginesRequest())
    (state,) = reply.engines
    assert state.phase == engine_pb2.ENGINE_PHASE_READY
    assert state.spec.implementation == "sentence-transformers"
    assert state.spec.models[0].dimensions == 384


async def test_a_request_over_the_ring_gets_the_same_vectors_as_over_grpc(served: Served, ring: Ring) -> None:
    texts = [f"text {number}" for number in range(300)]
    dispatcher = Dispatcher(ring, "minilm-test")
    await dispatcher.start()
    clock = MonotonicClock()
    directory = EngineDirectory(ring, "edge-embed", clock)
    await directory.start()
    edge = Edge(ring, "edge-embed", directory, RequestClassifier(request_features), clock)
    await edge.start()
    assert await directory.wait_until(lambda d: len(d.catalog) > 0, 5)
    body = orjson.dumps({"model": "minilm", "input": texts, "encoding_format": "base64"})
    reply = edge.submit(InferenceRequest("embed-1", Endpoint.EMBEDDINGS, body, timeout_seconds=30))
    head = await asyncio.wait_for(reply.head(), 30)
    vectors = await reply.read()
    assert (head.media, head.vector_count, head.vector_dimensions) == (Media.VECTORS_BASE64, 300, 384)
    over_grpc = await served.stub.Embed(embedding_pb2.EmbedRequest(texts=texts))
    assert vectors == over_grpc.vectors
    assert reply.usage.prompt_tokens == over_grpc.usage.prompt_tokens
    await edge.close()
    await directory.stop()


async def test_options_over_grpc_mean_what_they_mean_over_http(served: Served) -> None:
    ids = [embedding_pb2.TokenIds(ids=[7592, 2088])]
    of_ids = await served.stub.Embed(embedding_pb2.EmbedRequest(token_ids=ids))
    of_text = await served.stub.Embed(embedding_pb2.EmbedRequest(texts=["hello world"]))
    of_prompt = await served.stub.Embed(embedding_pb2.EmbedRequest(texts=["world"], prompt="hello "))
    assert of_ids.vectors == of_text.vectors == of_prompt.vectors
    long = "word " * 400
    cut = await served.stub.Embed(embedding_pb2.EmbedRequest(texts=[long]))
    assert (cut.usage.truncated_inputs, cut.usage.prompt_tokens) == (1, 256)
    assert cut.usage.engine_time.inference_us > 0
    with pytest.raises(aio.AioRpcError, match="has 402 tokens, the limit is 256"):
        await served.stub.Embed(embedding_pb2.EmbedRequest(texts=[long], truncation=embedding_pb2.TRUNCATION_NONE))


async def test_an_engine_that_answers_in_json_loses_nothing_of_what_it_said() -> None:
    async def answer_json(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.JSON)
        reply.usage(TokenUsage(9, truncated_inputs=1, engine_time=EngineTime(5, 6, 7)))
        reply.data(b'{"data":[{"index":0,"embedding":[1.0,2.0]}],"usage":{"prompt_tokens":9}}')

    engine = FakeEngine(behaviour=answer_json, kinds=frozenset({RequestKind.EMBEDDING}))
    servicer = EmbeddingServicer(cast(Executor, SimpleNamespace(engines={"fake-0": engine})))
    answer = await servicer.Embed(embedding_pb2.EmbedRequest(texts=["a"]), cast(Any, None))
    assert np.frombuffer(answer.vectors, "<f4").tolist() == [1.0, 2.0]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.truncated_inputs) == ("fake", 9, 1)
    assert answer.usage.engine_time.inference_us == 7


async def test_documents_are_ranked_over_grpc(served: Served) -> None:
    documents = ["Bananas are yellow.", "I forgot my login secret."]
    request = embedding_pb2.RerankRequest(query="How do I reset my password?", documents=documents, top_n=1)
    reply = await served.stub.Rerank(request)
    assert [result.index for result in reply.results] == [1]
    assert reply.results[0].relevance_score > 0.3
    assert reply.engine_id == "minilm-test"


async def test_a_ranking_says_over_grpc_how_many_documents_were_cut(served: Served) -> None:
    request = embedding_pb2.RerankRequest(query="a", documents=["word " * 400, "b"])
    usage = (await served.stub.Rerank(request)).usage
    assert usage.truncated_inputs == 1
    assert usage.engine_time.inference_us > 0


async def test_a_stream_answers_every_request_and_goes_on_after_a_bad_one(served: Served) -> None:
    async def requests() -> AsyncIterator[embedding_pb2.EmbedStreamRequest]:
        for number in range(400):
            texts = [f"text {number}"] if number != 7 else [""]
            yield embedding_pb2.EmbedStreamRequest(id=number, request=embedding_pb2.EmbedRequest(texts=texts))

    answers = {answer.id: answer async for answer in served.stub.EmbedStream(requests())}
    assert sorted(answers) == list(range(400))
    assert "must not be empty" in answers.pop(7).error.message
    one = await served.stub.Embed(embedding_pb2.EmbedRequest(texts=["text 399"]))
    assert answers[399].response.vectors == one.vectors
    assert all(answer.WhichOneof("result") == "response" for answer in answers.values())


async def test_a_stream_takes_no_more_than_it_may_hold_until_answers_are_read() -> None:
    taken = 0
    release = asyncio.Event()

    async def requests() -> AsyncIterator[embedding_pb2.EmbedStreamRequest]:
        nonlocal taken
        for number in range(10):
            taken += 1
            yield embedding_pb2.EmbedStreamRequest(id=number)

    async def answer(_request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
        await release.wait()
        return embedding_pb2.EmbedResponse()

    stream = embed_stream(requests(), answer, max_open=3)
    first = asyncio.ensure_future(anext(stream))
    await eventually(lambda: taken == 4)
    release.set()
    assert (await first).id in range(3)
    assert taken == 4, "an answer that was not followed by another read has made no room"
    assert len([response async for response in stream]) == 9
    assert taken == 10


async def test_a_stream_that_its_caller_leaves_stops_its_work() -> None:
    cancelled = asyncio.Event()

    async def requests() -> AsyncIterator[embedding_pb2.EmbedStreamRequest]:
        yield embedding_pb2.EmbedStreamRequest(id=1)
        yield embedding_pb2.EmbedStreamRequest(id=2)

    async def answer(request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
        if not request.texts and not answered:
            answered.append(1)
            return embedding_pb2.EmbedResponse()
        try:
            return await asyncio.Future()
        finally:
            cancelled.set()

    answered: list[int] = []
    stream = embed_stream(requests(), answer)
    assert (await anext(stream)).id == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert cancelled.is_set()
