"""gRPC ↔ domain."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
from grpc import aio

from sage.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from sage.inference.v1 import frame_pb2
from sage_common.errors import NotFoundError
from sage_control_plane.body import read_body
from sage_control_plane.catalog import ANY_MODEL
from sage_control_plane.requests import Endpoint
from sage_mesh.buffered_reply import run_here
from sage_mesh.engine_host import Engine, EngineJob
from sage_mesh.executor import Executor
from sage_mesh.wire import state_to_wire


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """The gRPC API; runs on the same engines as the ring."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def Embed(  # noqa: N802 - the name in the contract
        self, request: embedding_pb2.EmbedRequest, context: aio.ServicerContext
    ) -> embedding_pb2.EmbedResponse:
        body: dict[str, Any] = {"model": request.model, "input": list(request.texts)}
        if request.dimensions:
            body["dimensions"] = request.dimensions
        data = orjson.dumps(body)
        read_body(Endpoint.EMBEDDINGS, data)
        engine, model = self._engine(request.model)
        job = EngineJob(f"grpc-{uuid.uuid4().hex}", Endpoint.EMBEDDINGS, data, model)
        async with run_here(engine, job) as reply:
            head = await reply.head()
            vectors = await reply.read()
        return embedding_pb2.EmbedResponse(
            model=head.model,
            vectors=vectors,
            dimensions=head.vector_dimensions,
            usage=frame_pb2.Usage(prompt_tokens=reply.usage.prompt_tokens),
            engine_id=engine.spec.engine_id,
        )

    async def ListEngines(  # noqa: N802 - the name in the contract
        self, request: embedding_pb2.ListEnginesRequest, context: aio.ServicerContext
    ) -> embedding_pb2.ListEnginesResponse:
        return embedding_pb2.ListEnginesResponse(engines=[state_to_wire(state) for state in self._executor.states()])

    def _engine(self, model: str) -> tuple[Engine, str]:
        engines = self._executor.engines
        for engine in engines.values():
            for card in engine.spec.models:
                if model in ANY_MODEL or model in card.names:
                    return engine, card.name
        known = ", ".join(sorted(card.name for engine in engines.values() for card in engine.spec.models))
        raise NotFoundError(
            f"the model {model!r} is not served here; known models: {known}", code="model_not_found", param="model"
        )
