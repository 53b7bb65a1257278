"""Running a request on an engine of this process, without the ring: what the executors' gRPC APIs do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sage_common.errors import InternalError, SageError
from sage_common.tasks import end_tasks
from sage_common.trace_context import current_traceparent
from sage_control_plane.request.request import Endpoint
from sage_mesh.engine import Engine, EngineRequest
from sage_mesh.inference_request import new_request_id
from sage_mesh.reply import HIGH_WATER_BYTES, Media, Reply, ReplyHead, TokenUsage


class BufferedWriter:
    """A ReplyWriter that feeds a Reply of this process."""

    def __init__(self, engine_id: str, model: str, reply: Reply) -> None:
        self._engine_id = engine_id
        self._model = model
        self._reply = reply
        self._usage = TokenUsage()

    @property
    def paused(self) -> bool:
        return self._reply.unread_bytes > HIGH_WATER_BYTES

    async def until_resumed(self) -> None:
        low = asyncio.Event()
        self._reply.on_low = low.set
        await low.wait()

    def head(
        self,
        media: Media,
        *,
        model: str = "",
        vector_count: int = 0,
        vector_dimensions: int = 0,
        continuable: bool = True,
        tells_tokens: bool = False,
    ) -> None:
        self._reply.begin(
            ReplyHead(media, self._engine_id, 0.0, 1, model or self._model, vector_count, vector_dimensions)
        )

    def tokens(self, ids: Sequence[int]) -> None:
        """Does nothing: a direct call is not continued elsewhere."""

    def data(self, data: bytes) -> None:
        self._reply.feed(data)

    def usage(self, usage: TokenUsage) -> None:
        self._usage = usage

    def finish(self) -> None:
        """Complete the reply."""
        self._reply.end(self._usage)


def direct_request(endpoint: Endpoint, body: bytes, model: str) -> EngineRequest:
    """Return a request that no edge has accepted, with an id of its own.

    Args:
        body: OpenAI's JSON for the endpoint.
        model: the model's name, resolved from any alias.
    """
    return EngineRequest(new_request_id(), endpoint, body, model, traceparent=current_traceparent())


@asynccontextmanager
async def run_here(engine: Engine, request: EngineRequest) -> AsyncIterator[Reply]:
    """Run a request on ``engine`` and yield its reply; leaving the context cancels what still runs."""
    reply = Reply(request.request_id, stop=lambda _error: None)
    writer = BufferedWriter(engine.spec.engine_id, request.model, reply)

    async def run() -> None:
        try:
            await engine.run(request, writer)
            writer.finish()
        except SageError as error:
            reply.fail(error)
        except Exception as error:
            reply.fail(InternalError(f"the engine failed: {type(error).__name__}: {error}"))

    task = asyncio.create_task(run())
    try:
        yield reply
    finally:
        await end_tasks(task)
