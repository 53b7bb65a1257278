"""A loaded model that answers requests, until another has taken its place and it has no request left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Protocol

from sage_embed_executor.batching.embedding_executor import EmbeddingExecutor
from sage_mesh.engine import EngineRequest, ReplyWriter


class Responder(Protocol):
    """Answers requests with a loaded model."""

    async def respond(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Answer one request. Raises SageError."""
        ...

    def close(self) -> None:
        """Release what it holds beside the model."""
        ...


class ServedModel:
    """A loaded model that answers, and the requests that it has."""

    def __init__(self, executor: EmbeddingExecutor, responder: Responder) -> None:
        self._executor = executor
        self.responder = responder
        self._requests = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count a request for as long as the context lasts."""
        self._requests += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._idle.set()

    async def idle(self) -> None:
        """Return when it has no request."""
        await self._idle.wait()

    async def stop(self) -> None:
        """Stop the streams and release the model; requests that it still has fail."""
        self.responder.close()
        await self._executor.stop()
