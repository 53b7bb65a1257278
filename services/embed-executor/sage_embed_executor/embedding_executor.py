"""Texts in, vectors out: queues token ids and keeps the inference streams busy with length-aware batches.

The event loop owns requests and the cache; streams are threads that take batches from the queue themselves, so no
stream waits for the loop between batches. Nothing is ever held back: a batch is formed when a stream is free, from
what is queued at that moment.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import EngineFailedError, UnavailableError
from sage_common.logging import get_logger
from sage_control_plane.batching import Batch, BatchLimits, LengthAwareQueue
from sage_embed_executor.backends.backend import EmbeddingBackend, Vectors
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.tokenizer import TokenIds
from sage_embed_executor.vector_lru import Vector, VectorLru

log = get_logger(__name__)

TOKEN_TYPE = np.dtype(np.int32)
TOKEN_BYTES = TOKEN_TYPE.itemsize
_JOIN_SECONDS = 5.0


@dataclass(eq=False)
class _Ticket:
    """One call of ``embed``: rows still to come."""

    vectors: Vectors
    done: asyncio.Future[None]
    missing: int = 0


@dataclass(eq=False)
class _Work:
    """One distinct text in the queue or in a batch, and the rows that want it."""

    rows: list[tuple[_Ticket, int]] = field(default_factory=list)


class EmbeddingExecutor:
    """Runs a backend with a number of streams. Used from one event loop.

    Args:
        streams: batches computed at the same time, each on its own thread.
        cache: vectors computed before.
    """

    def __init__(
        self,
        backend: EmbeddingBackend,
        limits: BatchLimits,
        streams: int,
        cache: VectorLru,
        clock: Clock,
        metrics: EmbedMetrics,
    ) -> None:
        self._backend = backend
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._pending: dict[bytes, _Work] = {}
        self._loop = asyncio.get_running_loop()
        # Shared with the streams, under the condition's lock.
        self._changed = threading.Condition()
        self._queue: LengthAwareQueue[_Ticket, bytes] = LengthAwareQueue(limits)
        self._closing = False
        self._threads = [
            threading.Thread(target=self._stream, name=f"embed-stream-{number}", daemon=True)
            for number in range(streams)
        ]

    def start(self) -> None:
        """Start the streams."""
        for thread in self._threads:
            thread.start()

    async def embed(self, inputs: Sequence[TokenIds]) -> Vectors:
        """Return the vectors of ``inputs``, shape (len(inputs), dimensions). Cancelling gives up what is queued.

        Raises:
            EngineFailedError: the backend failed on a batch with one of the inputs.
            UnavailableError: the executor is stopping.
        """
        if self._closing:
            raise UnavailableError("the embedding engine is stopping", code="engine_not_ready", retryable=True)
        vectors = np.empty((len(inputs), self._backend.dimensions), dtype=np.float32)
        ticket = _Ticket(vectors, self._loop.create_future())
        misses = self._from_cache(inputs, vectors)
        if not misses:
            return vectors
        self._admit(misses, ticket)
        try:
            await ticket.done
        finally:
            self._leave(misses, ticket)
        return vectors

    async def stop(self) -> None:
        """Stop the streams after their present batches; whoever still waits gets an UnavailableError."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, _JOIN_SECONDS)
        error = UnavailableError("the embedding engine was stopped", code="engine_not_ready", retryable=True)
        self._fail(tuple(self._pending), error)

    # On the event loop

    def _from_cache(self, inputs: Sequence[TokenIds], vectors: Vectors) -> dict[bytes, list[int]]:
        """Fill in the vectors that are known; return the rows of each other input."""
        misses: dict[bytes, list[int]] = {}
        for row, ids in enumerate(inputs):
            key = ids.tobytes()
            vector = self._cache.get(key)
            if vector is None:
                misses.setdefault(key, []).append(row)
            else:
                vectors[row] = vector
        missing = sum(map(len, misses.values()))
        self._metrics.texts.inc(len(inputs))
        self._metrics.tokens.inc(sum(map(len, inputs)))
        self._metrics.cache_hits.inc(len(inputs) - missing)
        return misses

    def _admit(self, misses: Mapping[bytes, Sequence[int]], ticket: _Ticket) -> None:
        shared = 0
        with self._changed:
            self._queue.open(ticket)
            for key, rows in misses.items():
                work = self._pending.get(key)
                fresh = work is None
                if work is None:
                    work = self._pending[key] = _Work()
                work.rows += [(ticket, row) for row in rows]
                ticket.missing += len(rows)
                shared += len(rows) - fresh
                # What is in a batch already is no longer queued.
                if fresh or key in self._queue:
                    self._queue.add(ticket, key, len(key) // TOKEN_BYTES)
            self._metrics.queued_tokens.set(self._queue.tokens)
            self._changed.notify(len(misses))
        self._metrics.coalesced.inc(shared)

    def _leave(self, misses: Iterable[bytes], ticket: _Ticket) -> None:
        """A request is answered, has failed or is given up; what is in a batch already is computed to the end."""
        with self._changed:
            dropped = self._queue.close(ticket)
            self._metrics.queued_tokens.set(self._queue.tokens)
        for key in dropped:
            self._pending.pop(key, None)
        if ticket.missing:
            for key in misses:
                work = self._pending.get(key)
                if work is not None:
                    work.rows = [(other, row) for other, row in work.rows if other is not ticket]

    def _finish(self, batch: Batch[bytes], vectors: Vectors, seconds: float) -> None:
        metrics = self._metrics
        metrics.batch_texts.observe(len(batch.keys))
        metrics.batch_seconds.observe(seconds)
        metrics.computed_tokens.inc(batch.tokens)
        metrics.padding_tokens.inc(batch.padded_tokens - batch.tokens)
        for key, vector in zip(batch.keys, vectors, strict=True):
            self._deliver(key, vector)
        metrics.cache_bytes.set(self._cache.bytes_used)

    def _deliver(self, key: bytes, vector: Vector) -> None:
        self._cache.put(key, vector)
        work = self._pending.pop(key, None)
        for ticket, row in work.rows if work else ():
            ticket.vectors[row] = vector
            ticket.missing -= 1
            if not ticket.missing and not ticket.done.done():
                ticket.done.set_result(None)

    def _fail(self, keys: Sequence[bytes], error: Exception) -> None:
        for key in keys:
            work = self._pending.pop(key, None)
            for ticket, _row in work.rows if work else ():
                if not ticket.done.done():
                    ticket.done.set_exception(error)

    # On the streams

    def _stream(self) -> None:
        while (batch := self._next_batch()) is not None:
            began = self._clock.now()
            try:
                vectors = self._backend.embed([np.frombuffer(key, dtype=TOKEN_TYPE) for key in batch.keys])
            except Exception as error:
                log.exception("a batch failed", texts=len(batch.keys), longest=batch.longest)
                failure = EngineFailedError(
                    f"the embedding backend failed: {type(error).__name__}: {error}", retryable=True
                )
                self._loop.call_soon_threadsafe(self._fail, batch.keys, failure)
            else:
                self._loop.call_soon_threadsafe(self._finish, batch, vectors, self._clock.now() - began)

    def _next_batch(self) -> Batch[bytes] | None:
        with self._changed:
            while not self._closing:
                batch = self._queue.take()
                if batch is not None:
                    self._metrics.queued_tokens.set(self._queue.tokens)
                    return batch
                self._changed.wait()
        return None
