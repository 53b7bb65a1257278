"""gRPC ↔ domain."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
from grpc import aio

from sage.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from sage_client.embedding_body import read_embedding_body
from sage_common.errors import InvalidRequestError, NotFoundError
from sage_control_plane.request.body import read_body
from sage_control_plane.request.catalog import ANY_MODEL, KIND_OF_ENDPOINT
from sage_control_plane.request.request import Endpoint
from sage_embed_executor.embedding_stream import embed_stream
from sage_embed_executor.grpc_bodies import embedding_body, rerank_body
from sage_mesh.engine import Engine
from sage_mesh.executor.direct_call import direct_request, run_here
from sage_mesh.executor.executor import Executor
from sage_mesh.reply import Media, Reply, ReplyHead
from sage_mesh.wire.engines import state_to_wire
from sage_mesh.wire.frames import usage_to_wire


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The gRPC API; runs on the same engines as the ring."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def Embed(  # noqa: N802 - the name in the contract
        self, request: embedding_pb2.EmbedRequest, context: aio.ServicerContext
    ) -> embedding_pb2.EmbedResponse:
        return await self._embed(request)

    async def EmbedStream(  # noqa: N802 - the name in the contract
        self, request_iterator: AsyncIterator[embedding_pb2.EmbedStreamRequest], context: aio.ServicerContext
    ) -> AsyncIterator[embedding_pb2.EmbedStreamResponse]:
        async for response in embed_stream(request_iterator, self._embed):
            yield response

    async def Rerank(  # noqa: N802 - the name in the contract
        self, request: embedding_pb2.RerankRequest, context: aio.ServicerContext
    ) -> embedding_pb2.RerankResponse:
        head, data, reply = await self._run(Endpoint.RERANK, request.model, rerank_body(request))
        value = orjson.loads(data)
        return embedding_pb2.RerankResponse(
            model=head.model,
            results=[
                embedding_pb2.RerankResult(index=result["index"], relevance_score=result["relevance_score"])
                for result in value["results"]
            ],
            usage=usage_to_wire(reply.usage),
            engine_id=head.engine_id,
        )

    async def ListEngines(  # noqa: N802 - the name in the contract
        self, request: embedding_pb2.ListEnginesRequest, context: aio.ServicerContext
    ) -> embedding_pb2.ListEnginesResponse:
        return embedding_pb2.ListEnginesResponse(engines=[state_to_wire(state) for state in self._executor.states()])

    async def _embed(self, request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
        head, data, reply = await self._run(Endpoint.EMBEDDINGS, request.model, embedding_body(request))
        vectors, dimensions = data, head.vector_dimensions
        usage = reply.usage
        if head.media is Media.JSON:
            rows, _model, counted = read_embedding_body(data)
            usage = counted.completed_by(usage)
            vectors, dimensions = rows.astype("<f4", copy=False).tobytes(), rows.shape[1]
        return embedding_pb2.EmbedResponse(
            model=head.model,
            vectors=vectors,
            dimensions=dimensions,
            usage=usage_to_wire(usage),
            engine_id=head.engine_id,
        )

    async def _run(self, endpoint: Endpoint, model: str, body: bytes) -> tuple[ReplyHead, bytes, Reply]:
        read_body(endpoint, body)
        engine, name = self._engine(endpoint, model)
        async with run_here(engine, direct_request(endpoint, body, name)) as reply:
            head = await reply.head()
            return head, await reply.read(), reply

    def _engine(self, endpoint: Endpoint, model: str) -> tuple[Engine, str]:
        kind = KIND_OF_ENDPOINT[endpoint]
        known = []
        for engine in self._executor.engines.values():
            for card in engine.spec.models:
                named = model in card.names
                if (named or model in ANY_MODEL) and kind in card.kinds:
                    return engine, card.name
                if named:
                    raise InvalidRequestError(
                        f"model {model!r} does not serve {endpoint.path}",
                        code="wrong_endpoint_for_model",
                        param="model",
                    )
                known.append(card.name)
        raise NotFoundError(
            f"the model {model!r} is not served here; known models: {', '.join(sorted(known))}",
            code="model_not_found",
            param="model",
        )
