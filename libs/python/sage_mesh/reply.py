"""The answer to one request, as its consumer sees it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import field, replace
from enum import IntEnum
from typing import Final

from sage_common.errors import CancelledError, SageError
from sage_common.value_type import value_type


class Media(IntEnum):
    """How the bytes of a reply are to be read. The values are the wire's numbers."""

    JSON = 1
    EVENT_STREAM = 2
    VECTORS_FLOAT = 3
    VECTORS_BASE64 = 4


@value_type
class ReplyHead:
    """What is known of an answer when it begins.

    Attributes:
        engine_id: the engine that answers.
        queue_ms: milliseconds that the request spent queued.
        tries: dispatches that it took.
        model: name to report.
        vector_count, vector_dimensions: shape of the vectors, for vector media.
        resumable: whether another engine may go on with the answer where this one breaks off.
        tells_tokens: whether the frames name every token of the text.
    """

    media: Media
    engine_id: str
    queue_ms: float
    tries: int
    model: str
    vector_count: int = 0
    vector_dimensions: int = 0
    resumable: bool = False
    tells_tokens: bool = False

    def with_tries(self, tries: int) -> ReplyHead:
        """Return the same head with another number of dispatches."""
        return self if tries == self.tries else replace(self, tries=tries)


@value_type
class EngineTime:
    """Where an engine's time went, in microseconds; zeros where it does not say.

    Attributes:
        queue_us: waiting inside the engine, for a batch.
        tokenize_us: making tokens of text.
        inference_us: computing the batches that the request was part of; batches at the same time count once.
    """

    queue_us: int = 0
    tokenize_us: int = 0
    inference_us: int = 0


NO_TIME: Final = EngineTime()


@value_type
class TokenUsage:
    """What an answer took, as the engine counted it; zeros where it did not.

    Attributes:
        prompt_tokens: tokens of the prompt, or of the inputs.
        completion_tokens: generated tokens.
        cached_tokens: tokens of the prompt found in the engine's cache.
        truncated_inputs: inputs that were cut to the model's limit or the caller's.
        engine_time: where the time went. Two equal answers seldom take the same time, so it does not count in ``==``.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    truncated_inputs: int = 0
    engine_time: EngineTime = field(default=NO_TIME, compare=False)

    def completed_by(self, engine: TokenUsage) -> TokenUsage:
        """Return these counts with the truncation and the time of ``engine``, which no OpenAI body carries."""
        return replace(self, truncated_inputs=engine.truncated_inputs, engine_time=engine.engine_time)


NO_USAGE: Final = TokenUsage()

# Pieces that have piled up are joined up to about this size.
TAKEN_TOGETHER_BYTES = 512 * 1024
# Of a stream, where as much waits for its consumer as the one says, its engine is not read until no more does than the
# other says.
HIGH_WATER_BYTES = 4 * 1024 * 1024
LOW_WATER_BYTES = 1024 * 1024


class Reply:
    """A reply that arrives in pieces. Awaited by one consumer.

    ``await head()`` first; then ``async for`` over the pieces, or ``await read()`` for all of them at once.
    Each raises the SageError that ended the request.

    Attributes:
        request_id: the mesh's key of the request.
        correlation_id: its caller's id for it; None where it gave none.
        usage: what the answer took; zeros until it is complete.
        delivered: whether the consumer has bytes of the present attempt, which then cannot start over unnoticed.
        unread_bytes: what has arrived and was not taken yet.
        on_low: called once when no more than ``LOW_WATER_BYTES`` of it are left.
        on_arrival: called when there may be something to take, and at the end, for a consumer that does not wait.
        on_end: called once at the end; the consumer gets nothing more until the future that it returns is done.
    """

    __slots__ = (
        "_chunks",
        "_continuing",
        "_end_waiters",
        "_ended",
        "_error",
        "_head",
        "_held",
        "_kept",
        "_stop",
        "_waiter",
        "correlation_id",
        "delivered",
        "on_arrival",
        "on_end",
        "on_low",
        "request_id",
        "unread_bytes",
        "usage",
    )

    def __init__(self, request_id: str, stop: Callable[[SageError], None], correlation_id: str | None = None) -> None:
        self.request_id = request_id
        self.correlation_id = correlation_id
        self.usage = NO_USAGE
        self.delivered = False
        self.unread_bytes = 0
        self.on_low: Callable[[], None] | None = None
        self.on_arrival: Callable[[], None] | None = None
        self.on_end: Callable[[Reply, SageError | None], asyncio.Future[None] | None] | None = None
        self._held = False
        self._head: ReplyHead | None = None
        self._chunks: deque[bytes] = deque()
        # Pieces of an earlier attempt that the present one continues; they go out first.
        self._kept: deque[bytes] = deque()
        self._continuing = False
        self._ended = False
        self._error: SageError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._end_waiters: list[asyncio.Future[None]] | None = None
        self._stop = stop

    @property
    def caller_id(self) -> str:
        """The id by which the caller knows the request: its own, or the mesh's where it gave none."""
        return self.correlation_id or self.request_id

    @property
    def ended(self) -> bool:
        """Whether the last piece, or the error, has arrived."""
        return self._ended

    @property
    def begun_head(self) -> ReplyHead | None:
        """What is known of the answer so far; None until it begins."""
        return self._head

    async def head(self) -> ReplyHead:
        """Wait for the answer to begin; return its head. Raises the SageError that ended the request before."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """Wait for the end; return all bytes that were not taken yet. Raises the SageError that ended the request."""
        while not self._ended:
            await self._wait()
        if self._error is not None:
            raise self._error
        return b"".join(iter(self.take, b""))

    def take(self) -> bytes:
        """Return what has arrived and was not taken yet, without waiting; empty where nothing has."""
        if self._kept and not self._held:
            kept = b"".join(self._kept)
            self._kept.clear()
            self._took(len(kept))
            return kept
        if not self._chunks or self._held:
            return b""
        self.delivered = True
        data = self._chunks.popleft()
        if self._chunks and len(data) < TAKEN_TOGETHER_BYTES:
            # Pieces that have piled up go out together: the consumer is the slow side then.
            pieces, size = [data], len(data)
            while self._chunks and size < TAKEN_TOGETHER_BYTES:
                pieces.append(self._chunks.popleft())
                size += len(pieces[-1])
            data = b"".join(pieces)
        self._took(len(data))
        return data

    def _took(self, count: int) -> None:
        self.unread_bytes -= count
        if self.on_low is not None and self.unread_bytes <= LOW_WATER_BYTES:
            on_low, self.on_low = self.on_low, None
            on_low()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if data := self.take():
                yield data
            elif self._error is not None:
                raise self._error
            elif self._ended:
                return
            else:
                await self._wait()

    async def until_ended(self) -> None:
        """Wait for the end without taking anything; any number of callers may."""
        if not self._ended:
            if self._end_waiters is None:
                self._end_waiters = []
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._end_waiters.append(waiter)
            await waiter

    def cancel(self, reason: str = "the client went away") -> None:
        """Cancel the request everywhere in the mesh. A no-op once it has ended."""
        self.stop(CancelledError(reason))

    def stop(self, error: SageError) -> None:
        """End the request everywhere in the mesh, and the answer with ``error``. A no-op once it has ended."""
        if not self._ended:
            self._stop(error)

    # The edge calls what follows.

    def restart(self) -> None:
        """Drop the pieces of an attempt that is superseded. Only before any of them was delivered."""
        self.unread_bytes -= sum(map(len, self._chunks))
        self._chunks.clear()
        if not self._continuing:
            self._head = None

    def keep(self) -> None:
        """Keep what has arrived; the attempt that comes next continues it, under the same head."""
        self._kept.extend(self._chunks)
        self._chunks.clear()
        self._continuing = True
        self.delivered = False

    def begin(self, head: ReplyHead) -> None:
        """Begin the answer; a continuation keeps the first head."""
        if self._head is None:
            self._head = head
        self._notify()

    def feed(self, data: bytes) -> None:
        """Add a piece."""
        self._chunks.append(data)
        self.unread_bytes += len(data)
        self._notify()

    def end(self, usage: TokenUsage) -> None:
        """Complete the answer."""
        self.usage = usage
        self._end(None)

    def fail(self, error: SageError, usage: TokenUsage = NO_USAGE) -> None:
        """End the answer with an error; ``usage`` is what it had taken by then."""
        self.usage = usage
        self._end(error)

    def _end(self, error: SageError | None) -> None:
        on_end, self.on_end = self.on_end, None
        if on_end is None or (until := on_end(self, error)) is None:
            self._finish(error)
            return
        self._held = True
        until.add_done_callback(lambda _: self._finish(error))

    def _finish(self, error: SageError | None) -> None:
        self._held = False
        self._error = error
        self._ended = True
        self._notify()

    def _notify(self) -> None:
        if self.on_arrival is not None:
            self.on_arrival()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._ended and self._end_waiters:
            for waiter in self._end_waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
