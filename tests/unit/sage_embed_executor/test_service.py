"""The engine behind a real gRPC server, and on the ring behind a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import numpy as np
import orjson
import pytest
from fixtures.dispatcher import Dispatcher
from grpc import aio
from prometheus_client import CollectorRegistry

from sage.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from sage.inference.v1 import engine_pb2
from sage_common.clock import MonotonicClock
from sage_control_plane.classification import RequestClassifier
from sage_control_plane.features import request_features
from sage_control_plane.requests import Endpoint
from sage_embed_executor.engine import SentenceTransformersEngine, new_spec
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.model_loader import LoadedModel
from sage_embed_executor.service import EmbeddingServicer
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge import Edge, EdgeRequest
from sage_mesh.executor import Executor
from sage_mesh.reply import Media
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
    spec = new_spec("minilm-test", "all-MiniLM-L6-v2", ("minilm",), "main", 64, "")
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
    reply = edge.submit(EdgeRequest("embed-1", Endpoint.EMBEDDINGS, body, timeout_seconds=30))
    head = await asyncio.wait_for(reply.head(), 30)
    vectors = await reply.read()
    assert (head.media, head.vector_count, head.vector_dimensions) == (Media.VECTORS_BASE64, 300, 384)
    over_grpc = await served.stub.Embed(embedding_pb2.EmbedRequest(texts=texts))
    assert vectors == over_grpc.vectors
    assert reply.usage.prompt_tokens == over_grpc.usage.prompt_tokens
    await edge.close()
    await directory.stop()
