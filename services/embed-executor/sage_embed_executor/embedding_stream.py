"""Many requests over one gRPC stream, each answered when it is ready, with a limit on those that are open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from sage.embedding.v1 import embedding_pb2
from sage_common.errors import InternalError, SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_mesh.wire.errors import error_to_wire

log = get_logger(__name__)

# Enough to keep every inference stream in full batches, and a bound on the memory that a sender can take.
MAX_OPEN_REQUESTS = 256

AnswerOne = Callable[[embedding_pb2.EmbedRequest], Awaitable[embedding_pb2.EmbedResponse]]


async def embed_stream(
    requests: AsyncIterator[embedding_pb2.EmbedStreamRequest], answer: AnswerOne, max_open: int = MAX_OPEN_REQUESTS
) -> AsyncIterator[embedding_pb2.EmbedStreamResponse]:
    """Yield the answers to the requests of a stream, each when it is ready; an error is an answer, too.

    A request is open until its answer has been taken, so that no further ones are read from a caller who does not read.

    Args:
        answer: answers one request.
        max_open: requests that may be open at once.
    """
    open_slots = asyncio.Semaphore(max_open)
    ready: asyncio.Queue[embedding_pb2.EmbedStreamResponse | None] = asyncio.Queue()
    running: set[asyncio.Task[None]] = set()

    async def run(request: embedding_pb2.EmbedStreamRequest) -> None:
        response = embedding_pb2.EmbedStreamResponse(id=request.id)
        try:
            response.response.CopyFrom(await answer(request.request))
        except SageError as error:
            response.error.CopyFrom(error_to_wire(error))
        except Exception as error:
            log.exception("a request of a stream failed", id=request.id)
            failure = InternalError(f"the request failed: {type(error).__name__}: {error}")
            response.error.CopyFrom(error_to_wire(failure))
        ready.put_nowait(response)

    async def read() -> None:
        try:
            async for request in requests:
                await open_slots.acquire()
                task = asyncio.create_task(run(request))
                running.add(task)
                task.add_done_callback(running.discard)
            while running:
                await asyncio.wait(running)
        finally:
            ready.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (response := await ready.get()) is not None:
            yield response
            open_slots.release()
        await reader
    finally:
        await end_tasks(reader, *running)
