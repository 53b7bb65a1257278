"""Vectors through the ring: a real edge, a real executor, and an engine that makes vectors from lengths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import orjson
import pytest
from fixtures.dispatcher import Dispatcher
from fixtures.engines import FakeEngine

from sage_client.edge_factory import OpenEdge, open_edge
from sage_common.clock import MonotonicClock
from sage_common.errors import EngineFailedError, UnavailableError
from sage_control_plane.request.classification import ClassificationRules
from sage_control_plane.request.engine_state import EnginePhase
from sage_control_plane.request.request import Endpoint, RequestKind, ServiceClass
from sage_llm_coordinator.engines.sentence_embedder import TEXTS_IN_REQUEST, MeshEmbedder
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.executor.executor import Executor
from sage_mesh.reply import Media
from sage_platform.ring import Ring

JOB = EngineRequest("r-1", Endpoint.CHAT_COMPLETIONS, b"{}", "sage-extractive", tenant="acme")


async def lengths(engine_request: EngineRequest, reply: ReplyWriter) -> None:
    """A vector of a text is its length, twice."""
    texts = orjson.loads(engine_request.body)["input"]
    reply.head(Media.VECTORS_FLOAT, vector_count=len(texts), vector_dimensions=2)
    reply.data(np.array([[len(text)] * 2 for text in texts], dtype="<f4").tobytes())


@pytest.fixture
async def engine(ring: Ring) -> AsyncIterator[FakeEngine]:
    engine = FakeEngine("minilm-0", lengths, model="minilm", kinds=frozenset({RequestKind.EMBEDDING}))
    executor = Executor(ring, "embed-executor-1", "embed-executor", MonotonicClock())
    await executor.start()
    await executor.host(engine)
    await Dispatcher(ring, "minilm-0").start()
    yield engine
    await executor.stop(0)


@pytest.fixture
async def edge(ring: Ring, engine: FakeEngine) -> AsyncIterator[OpenEdge]:
    edge = await open_edge(ring, "llm-coordinator-1", rules=ClassificationRules())
    assert await edge.directory.wait_until(lambda d: "minilm-0" in d.engines, 5)
    yield edge
    await edge.close()


async def test_vectors_come_in_the_order_of_the_texts_however_many_there_are(
    edge: OpenEdge, engine: FakeEngine
) -> None:
    texts = ["x" * (1 + number % 50) for number in range(TEXTS_IN_REQUEST + 40)]
    vectors = await MeshEmbedder(edge.edge, edge.directory).embed(texts, JOB)
    assert vectors.shape == (len(texts), 2)
    assert vectors[:, 0].tolist() == [float(len(text)) for text in texts]
    assert len(engine.jobs) == 2


async def test_the_caller_pays_and_does_not_wait_behind_bulk_work(edge: OpenEdge, engine: FakeEngine) -> None:
    await MeshEmbedder(edge.edge, edge.directory).embed(["x"] * 100, JOB)
    (engine_request,) = engine.jobs
    assert engine_request.tenant == "acme"
    assert engine_request.classification is not None
    assert engine_request.classification.service_class is ServiceClass.EMBEDDING


async def test_a_request_that_is_given_up_is_given_up_at_the_embedder(edge: OpenEdge, engine: FakeEngine) -> None:
    async def stall(_job: EngineRequest, _reply: ReplyWriter) -> None:
        await asyncio.Event().wait()

    engine.behaviour = stall
    embedding = asyncio.create_task(MeshEmbedder(edge.edge, edge.directory).embed(["x"], JOB))
    await asyncio.wait_for(engine.job_arrived.wait(), 5)
    embedding.cancel()
    await asyncio.wait_for(engine.job_cancelled.wait(), 5)


async def test_a_wrong_number_of_vectors_is_an_engine_failure(edge: OpenEdge, engine: FakeEngine) -> None:
    async def one(_job: EngineRequest, reply: ReplyWriter) -> None:
        reply.head(Media.VECTORS_FLOAT, vector_count=1, vector_dimensions=2)
        reply.data(b"\0" * 8)

    engine.behaviour = one
    with pytest.raises(EngineFailedError, match="3 texts with 1 vectors"):
        await MeshEmbedder(edge.edge, edge.directory).embed(["a", "b", "c"], JOB)


async def test_it_is_ready_while_a_ready_engine_has_the_model(edge: OpenEdge, engine: FakeEngine) -> None:
    assert MeshEmbedder(edge.edge, edge.directory).ready
    assert MeshEmbedder(edge.edge, edge.directory, model="minilm").ready
    assert not MeshEmbedder(edge.edge, edge.directory, model="bge").ready
    engine.phase = EnginePhase.UNHEALTHY
    embedder = MeshEmbedder(edge.edge, edge.directory)
    assert await edge.directory.wait_until(lambda _: not embedder.ready, 5)
    with pytest.raises(UnavailableError) as caught:
        await embedder.embed(["x"], JOB)
    assert caught.value.retryable
