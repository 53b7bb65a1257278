"""Vectors for the extractive engine, from whichever embedding engine of the mesh the scheduler chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import orjson

from sage_common.errors import EngineFailedError, UnavailableError
from sage_control_plane.request.engine_state import EnginePhase
from sage_control_plane.request.request import Endpoint, Hints, RequestKind, ServiceClass
from sage_mesh.directory import EngineDirectory
from sage_mesh.edge.edge import Edge
from sage_mesh.engine import EngineRequest
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Media

# Texts in one request: enough for full batches, few enough that several engines can share a long context.
TEXTS_IN_REQUEST = 256


class SentenceEmbedder(Protocol):
    """What the extractive engine needs of the mesh."""

    @property
    def ready(self) -> bool:
        """Whether an embedding engine is ready now."""
        ...

    async def embed(self, texts: Sequence[str], request: EngineRequest) -> npt.NDArray[np.float32]:
        """Return vectors of shape (len(texts), dimensions) on behalf of ``request``'s caller."""
        ...


@dataclass(frozen=True, slots=True)
class MeshEmbedder:
    """Embeds through the ring: classified, queued and dispatched like any caller's request.

    Attributes:
        model: embedding model; empty takes any.
        timeout_seconds: longest wait for one request.
    """

    edge: Edge
    directory: EngineDirectory
    model: str = ""
    timeout_seconds: float = 60.0

    @property
    def ready(self) -> bool:
        for state in self.directory.engines.values():
            if state.phase is not EnginePhase.READY:
                continue
            for card in state.spec.models:
                if RequestKind.EMBEDDING in card.kinds and (not self.model or self.model in card.names):
                    return True
        return False

    async def embed(self, texts: Sequence[str], request: EngineRequest) -> npt.NDArray[np.float32]:
        """Return vectors of shape (len(texts), dimensions).

        Raises:
            UnavailableError: no embedding engine is ready.
            SageError: what ended the request for vectors.
        """
        if not self.ready:
            raise UnavailableError(
                "no embedding engine is ready, and the extractive engine ranks sentences with one; "
                "`sage status` shows what is starting",
                code="no_embedder",
                retry_after_seconds=1,
                retryable=True,
            )
        parts = [
            await self._embed_part(texts[start : start + TEXTS_IN_REQUEST], request)
            for start in range(0, len(texts), TEXTS_IN_REQUEST)
        ]
        return np.concatenate(parts)

    async def _embed_part(self, texts: Sequence[str], request: EngineRequest) -> npt.NDArray[np.float32]:
        body = {"model": self.model or "default", "input": list(texts)}
        reply = self.edge.submit(
            InferenceRequest(
                correlation_id=f"{request.request_id}-embed-{uuid4().hex[:8]}",
                endpoint=Endpoint.EMBEDDINGS,
                body=orjson.dumps(body),
                tenant=request.tenant,
                # Somebody waits for the answer, however many sentences there are to rank.
                hints=Hints(priority=request.hints.priority, service_class=ServiceClass.EMBEDDING),
                timeout_seconds=self.timeout_seconds,
                traceparent=request.traceparent,
            )
        )
        try:
            head = await reply.head()
            data = await reply.read()
        finally:
            reply.cancel("the answer that needed it was given up")
        if head.media not in (Media.VECTORS_FLOAT, Media.VECTORS_BASE64) or head.vector_count != len(texts):
            raise EngineFailedError(
                f"engine {head.engine_id!r} answered {len(texts)} texts with {head.vector_count} vectors",
                retryable=True,
            )
        return np.frombuffer(data, dtype="<f4").reshape(head.vector_count, head.vector_dimensions)
