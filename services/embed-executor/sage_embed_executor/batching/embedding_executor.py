"""Texts in, vectors out: queues token ids and keeps the inference streams busy with length-aware batches.

The event loop owns requests and the cache; streams are threads that take batches from the queues themselves, so no
stream waits for the loop between batches. Nothing is ever held back: a batch is formed when a stream is free, from
what is queued at that moment.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence

import numpy as np

from sage_common.clock import Clock
from sage_common.errors import EngineFailedError, UnavailableError
from sage_common.logging import get_logger
from sage_embed_executor.backends.backend import EmbeddingBackend, Vectors
from sage_embed_executor.batching.lanes import Lanes
from sage_embed_executor.batching.length_aware_queue import Batch, BatchLimits
from sage_embed_executor.batching.pending_embedding import Embedded, PendingEmbedding, Work
from sage_embed_executor.batching.urgency import Urgency
from sage_embed_executor.batching.vector_lru import Vector, VectorLru
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.tokenizer import TokenIds
from sage_embed_executor.thread_priority import lower_priority

log = get_logger(__name__)

TOKEN_TYPE = np.dtype(np.int32)
TOKEN_BYTES = TOKEN_TYPE.itemsize
# A request of thousands of texts enters in pieces of so many, with a turn of the event loop between two of them: about
# half a millisecond each.
ADMITTED_AT_ONCE = 128
_JOIN_SECONDS = 5.0
SOON = Urgency()


class EmbeddingExecutor:
    """Runs a backend with a number of streams for each lane. Used from one event loop.

    Args:
        bulk_backend: the same model for bulk work; None where ``backend`` does that too.
        streams: batches computed at the same time, each on its own thread. Bulk work has as many again, or
            ``bulk_streams``, whose computation has a lower priority.
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
        *,
        bulk_backend: EmbeddingBackend | None = None,
        bulk_streams: int = 0,
    ) -> None:
        self._backend = backend
        self._bulk_backend = bulk_backend or backend
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._pending: dict[bytes, Work] = {}
        self._loop = asyncio.get_running_loop()
        self._lanes = Lanes(limits, clock)
        self._closing = False
        self._threads = [
            threading.Thread(target=run, name=f"embed-{name}-{number}", daemon=True)
            for name, run, count in (
                ("stream", self._stream, streams),
                ("bulk", self._bulk_stream, (bulk_backend is not None and bulk_streams) or streams),
            )
            for number in range(count)
        ]

    def start(self) -> None:
        """Start the streams."""
        for thread in self._threads:
            thread.start()

    async def embed(self, inputs: Sequence[TokenIds], urgency: Urgency = SOON) -> Vectors:
        """Return the vectors of ``inputs``, shape (len(inputs), dimensions). See ``run``."""
        return (await self.run(inputs, urgency)).vectors

    async def run(self, inputs: Sequence[TokenIds], urgency: Urgency = SOON) -> Embedded:
        """Return the vectors of ``inputs`` and where the time went. Cancelling gives up what is queued.

        Raises:
            EngineFailedError: the backend failed on a batch with one of the inputs.
            UnavailableError: the executor is stopping.
        """
        if self._closing:
            raise UnavailableError("the embedding engine is stopping", code="engine_not_ready", retryable=True)
        vectors = np.empty((len(inputs), self._backend.dimensions), dtype=np.float32)
        ticket = PendingEmbedding(vectors, self._loop.create_future(), self._clock.now())
        misses = self._from_cache(inputs, vectors)
        if not misses:
            return Embedded(vectors)
        ticket.missing = sum(map(len, misses.values()))
        self._lanes.open(ticket, urgency)
        try:
            await self._admit(misses, ticket, urgency)
            await ticket.done
        finally:
            self._leave(misses, ticket, urgency)
        return ticket.result()

    async def stop(self) -> None:
        """Stop the streams after their present batches; whoever still waits gets an UnavailableError."""
        self._closing = True
        self._lanes.close()
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

    async def _admit(self, misses: dict[bytes, list[int]], ticket: PendingEmbedding, urgency: Urgency) -> None:
        keys = list(misses)
        shared = 0
        for start in range(0, len(keys), ADMITTED_AT_ONCE):
            if start:
                await asyncio.sleep(0)
                if ticket.done.done():
                    return  # one of its batches has failed
            fresh: list[bytes] = []
            known: list[bytes] = []
            for key in keys[start : start + ADMITTED_AT_ONCE]:
                work = self._pending.get(key)
                (fresh if work is None else known).append(key)
                if work is None:
                    work = self._pending[key] = Work()
                work.rows += [(ticket, row) for row in misses[key]]
                shared += len(misses[key])
            shared -= len(fresh)
            self._lanes.add(ticket, urgency, fresh, known, TOKEN_BYTES)
        self._metrics.queued_tokens.set(self._lanes.tokens)
        self._metrics.coalesced.inc(shared)

    def _leave(self, misses: Iterable[bytes], ticket: PendingEmbedding, urgency: Urgency) -> None:
        """A request is answered, has failed or is given up; what is in a batch already is computed to the end."""
        dropped = self._lanes.leave(ticket, urgency)
        self._metrics.queued_tokens.set(self._lanes.tokens)
        for key in dropped:
            self._pending.pop(key, None)
        if ticket.missing:
            for key in misses:
                work = self._pending.get(key)
                if work is not None:
                    work.rows = [(other, row) for other, row in work.rows if other is not ticket]

    def _finish(self, batch: Batch[bytes], vectors: Vectors, began: float, ended: float) -> None:
        metrics = self._metrics
        metrics.batch_texts.observe(len(batch.keys))
        metrics.batch_seconds.observe(ended - began)
        metrics.computed_tokens.inc(batch.tokens)
        metrics.padding_tokens.inc(batch.padded_tokens - batch.tokens)
        for key, vector in zip(batch.keys, vectors, strict=True):
            self._deliver(key, vector, began, ended)
        metrics.cache_bytes.set(self._cache.bytes_used)

    def _deliver(self, key: bytes, vector: Vector, began: float, ended: float) -> None:
        self._cache.put(key, vector)
        work = self._pending.pop(key, None)
        for ticket, row in work.rows if work else ():
            ticket.vectors[row] = vector
            ticket.computed(began, ended)
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

    def _bulk_stream(self) -> None:
        # A backend of its own has threads of its own, which make way; this one holds the interpreter's lock in between,
        # and whoever is not running holds it for long.
        if self._bulk_backend is self._backend:
            lower_priority()
        self._stream(bulk=True)

    def _stream(self, *, bulk: bool = False) -> None:
        backend = self._bulk_backend if bulk else self._backend
        while (batch := self._lanes.take(bulk=bulk)) is not None:
            began = self._clock.now()
            try:
                vectors = backend.embed([np.frombuffer(key, dtype=TOKEN_TYPE) for key in batch.keys])
            except Exception as error:
                log.exception("a batch failed", texts=len(batch.keys), longest=batch.longest)
                failure = EngineFailedError(
                    f"the embedding backend failed: {type(error).__name__}: {error}", retryable=True
                )
                self._loop.call_soon_threadsafe(self._fail, batch.keys, failure)
            else:
                ended = self._clock.now()
                self._lanes.took(batch, ended - began, bulk=bulk)
                self._loop.call_soon_threadsafe(self._finish, batch, vectors, began, ended)
