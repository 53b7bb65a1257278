"""The transport straight onto the ring: this process is an edge of the mesh."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict

from nats.errors import Error as NatsError

from sage_client.edge_factory import OpenEdge, open_edge
from sage_client.embedding_body import read_embedding_body, read_vectors
from sage_client.headers import ResponseMetadata
from sage_client.management.translation import engine_view
from sage_client.models import ModelInfo, model_of_entry
from sage_client.transport import Answer, StreamAnswer, VectorAnswer
from sage_client.wait_notice import Engines
from sage_common.service_settings import NatsSettings, instance_id
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Media, Reply, ReplyHead, TokenUsage
from sage_platform.nats_connection import connect
from sage_platform.ring import Ring

# How long a new edge waits for a first engine: executors answer its hello within milliseconds.
FIRST_ENGINE_SECONDS = 1.0
NOTHING_YET = TokenUsage()


class RingTransport:
    """Carries requests through an edge that belongs to its caller; ``close`` leaves the edge open.

    Args:
        submit: what lets requests in, where that is more than the edge.
    """

    def __init__(self, edge: OpenEdge, submit: Callable[[InferenceRequest], Awaitable[Reply]] | None = None) -> None:
        self._edge = edge.edge
        self._let_in = submit
        self._directory = edge.directory

    async def fetch(self, request: InferenceRequest) -> Answer:
        async with self._submitted(request) as reply:
            head = await reply.head()
            body = await reply.read()
            return Answer(body, _metadata(reply, head, reply.usage))

    async def fetch_vectors(self, request: InferenceRequest) -> VectorAnswer:
        async with self._submitted(request) as reply:
            head = await reply.head()
            data = await reply.read()
            if head.media is Media.JSON:
                vectors, model, usage = read_embedding_body(data)
                return VectorAnswer(vectors, model, usage, _metadata(reply, head, reply.usage))
            vectors = read_vectors(data, head.vector_count, head.vector_dimensions)
            return VectorAnswer(vectors, head.model, reply.usage, _metadata(reply, head, reply.usage))

    @asynccontextmanager
    async def stream(self, request: InferenceRequest) -> AsyncIterator[StreamAnswer]:
        async with self._submitted(request) as reply:
            head = await reply.head()
            async with contextlib.aclosing(reply.__aiter__()) as pieces:  # type: ignore[type-var]
                yield StreamAnswer(pieces, _metadata(reply, head))

    async def models(self) -> list[ModelInfo]:
        return [model_of_entry(entry) for entry in self._directory.catalog.entries]

    async def engines(self) -> Engines:
        return [asdict(engine_view(engine)) for engine in self._directory.engines.values()]

    async def close(self) -> None:
        """Does nothing: the edge belongs to the caller."""

    @asynccontextmanager
    async def _submitted(self, request: InferenceRequest) -> AsyncIterator[Reply]:
        reply = self._edge.submit(request) if self._let_in is None else await self._let_in(request)
        try:
            yield reply
        finally:
            reply.cancel("the caller stopped waiting")


class OwnRingTransport(RingTransport):
    """A RingTransport with a connection and an edge of its own."""

    def __init__(self, ring: Ring, edge: OpenEdge) -> None:
        super().__init__(edge)
        self._ring = ring
        self._open_edge = edge

    async def close(self) -> None:
        """Leave the ring."""
        await self._open_edge.close()
        await self._ring.close()
        with contextlib.suppress(NatsError, asyncio.TimeoutError):
            await asyncio.wait_for(self._ring.connection.drain(), 5)


async def open_ring_transport(settings: NatsSettings) -> OwnRingTransport:
    """Join the ring as a new edge.

    Raises:
        UnavailableError: no NATS server answers.
    """
    edge_id = instance_id("client")
    connection = await connect(settings, name=edge_id)
    ring = Ring(connection)
    await ring.start()
    edge = await open_edge(ring, edge_id)
    await edge.directory.wait_until(lambda directory: len(directory.catalog) > 0, FIRST_ENGINE_SECONDS)
    return OwnRingTransport(ring, edge)


def _metadata(reply: Reply, head: ReplyHead, usage: TokenUsage = NOTHING_YET) -> ResponseMetadata:
    return ResponseMetadata(
        reply.caller_id, head.engine_id, head.queue_ms, head.tries, usage.truncated_inputs, usage.engine_time
    )
