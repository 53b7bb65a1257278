"""What the client needs of a transport. Two implement it: HTTP and the ring."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from sage_client.embedding_body import Vectors
from sage_client.headers import ResponseMetadata
from sage_client.models import ModelInfo
from sage_client.wait_notice import Engines
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import TokenUsage


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole JSON answer."""

    body: bytes
    metadata: ResponseMetadata


@dataclass(frozen=True, slots=True)
class VectorAnswer:
    """A whole answer of vectors, shape (n, d)."""

    vectors: Vectors
    model: str
    usage: TokenUsage
    metadata: ResponseMetadata


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """An answer that streams: ``text/event-stream`` bytes, cut anywhere."""

    pieces: AsyncIterator[bytes]
    metadata: ResponseMetadata


class Transport(Protocol):
    """Carries requests. Failures are SageErrors; cancelling the awaiting task cancels the request in the mesh."""

    async def fetch(self, request: InferenceRequest) -> Answer:
        """Send a request and wait for its whole answer."""
        ...

    async def fetch_vectors(self, request: InferenceRequest) -> VectorAnswer:
        """Send a request whose body asks for ``base64`` embeddings and wait for its vectors."""
        ...

    def stream(self, request: InferenceRequest) -> AbstractAsyncContextManager[StreamAnswer]:
        """Send a request whose body asks for a stream; leaving the context early cancels the request in the mesh."""
        ...

    async def models(self) -> list[ModelInfo]:
        """Return the models, by name."""
        ...

    async def engines(self) -> Engines:
        """Return the engines that the mesh knows, as ``GET /v1/management/engines`` lists them."""
        ...

    async def close(self) -> None:
        """Release everything. Requests in flight fail."""
        ...
