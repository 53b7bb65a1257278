"""Texts in, vectors out: queues token ids and keeps the inference streams busy with length-aware batches.

The event loop owns requests and the cache; streams are threads that take batches from the queues themselves, so no
stream waits for the loop between batches. Nothing is delayed to fill a batch: it is formed when a stream is free, from
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
from sage_embed_executor.batching.lanes import Lanes, Urgency
from sage_embed_executor.batching.length_aware_queue import BatchLimits, TokenBatch
from sage_embed_executor.batching.pending_embedding import EmbeddingResult, PendingEmbedding, PendingText
from sage_embed_executor.batching.vector_lru import Vector, VectorLru
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.tokenizer import TokenIds
from sage_embed_executor.thread_priority import lower_priority

log = get_logger(__name__)

TOKEN_TYPE = np.dtype(np.int32)
TOKEN_BYTES = TOKEN_TYPE.itemsize
# Texts of a large request are admitted in pieces of this size, about half a millisecond each; the event loop runs
# between two of them.
ADMISSION_CHUNK = 128
_JOIN_SECONDS = 5.0
INTERACTIVE = Urgency()


class EmbeddingExecutor:
    """Runs a backend with a number of streams for each lane. Used from one event loop.

    Args:
        streams: batches computed at the same time, each on its own thread.
        cache: vectors computed before.
        bulk_backend: the same model for bulk work; None where ``backend`` computes that too.
        bulk_streams: threads of the bulk lane, whose computation has a lower priority; ``streams`` of them without a
            ``bulk_backend`` or where 0.
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
        self._pending_texts: dict[bytes, PendingText] = {}
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

    async def embed(self, inputs: Sequence[TokenIds], urgency: Urgency = INTERACTIVE) -> Vectors:
        """Return the vectors of ``inputs``, shape (len(inputs), dimensions). Raises as ``run``."""
        return (await self.run(inputs, urgency)).vectors

    async def run(self, inputs: Sequence[TokenIds], urgency: Urgency = INTERACTIVE) -> EmbeddingResult:
        """Return the vectors of ``inputs`` and the time they took. Cancelling removes what is queued.

        Raises:
            EngineFailedError: the backend failed on a batch with one of the inputs.
            UnavailableError: the executor is stopping.
        """
        if self._closing:
            raise UnavailableError("the embedding engine is stopping", code="engine_not_ready", retryable=True)
        vectors = np.empty((len(inputs), self._backend.dimensions), dtype=np.float32)
        request = PendingEmbedding(vectors, self._loop.create_future(), self._clock.now())
        misses = self._from_cache(inputs, vectors)
        if not misses:
            return EmbeddingResult(vectors)
        request.missing = sum(map(len, misses.values()))
        self._lanes.open(request, urgency)
        try:
            await self._admit(misses, request, urgency)
            await request.done
        finally:
            self._close(misses, request, urgency)
        return request.result()

    async def stop(self) -> None:
        """Stop the streams after their current batches; waiting requests fail with UnavailableError."""
        self._closing = True
        self._lanes.close()
        for thread in self._threads:
            await asyncio.to_thread(thread.join, _JOIN_SECONDS)
        error = UnavailableError("the embedding engine was stopped", code="engine_not_ready", retryable=True)
        self._fail(tuple(self._pending_texts), error)

    # On the event loop

    def _from_cache(self, inputs: Sequence[TokenIds], vectors: Vectors) -> dict[bytes, list[int]]:
        """Fill in the cached vectors; return the rows of each input that is not cached, by key."""
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

    async def _admit(self, misses: dict[bytes, list[int]], request: PendingEmbedding, urgency: Urgency) -> None:
        keys = list(misses)
        coalesced = 0
        for start in range(0, len(keys), ADMISSION_CHUNK):
            if start:
                await asyncio.sleep(0)
                if request.done.done():
                    return  # one of its batches failed
            fresh: list[bytes] = []
            shared: list[bytes] = []
            for key in keys[start : start + ADMISSION_CHUNK]:
                pending = self._pending_texts.get(key)
                (fresh if pending is None else shared).append(key)
                if pending is None:
                    pending = self._pending_texts[key] = PendingText()
                pending.rows += [(request, row) for row in misses[key]]
                coalesced += len(misses[key])
            coalesced -= len(fresh)
            self._lanes.add(request, urgency, fresh, shared, TOKEN_BYTES)
        self._metrics.queued_tokens.set(self._lanes.tokens)
        self._metrics.coalesced.inc(coalesced)

    def _close(self, misses: Iterable[bytes], request: PendingEmbedding, urgency: Urgency) -> None:
        """Remove a request that is answered, failed or cancelled; texts in a batch are computed to the end."""
        dropped = self._lanes.close_request(request, urgency)
        self._metrics.queued_tokens.set(self._lanes.tokens)
        for key in dropped:
            self._pending_texts.pop(key, None)
        if request.missing:
            for key in misses:
                pending = self._pending_texts.get(key)
                if pending is not None:
                    pending.rows = [(other, row) for other, row in pending.rows if other is not request]

    def _finish(self, batch: TokenBatch[bytes], vectors: Vectors, began: float, ended: float) -> None:
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
        pending = self._pending_texts.pop(key, None)
        for request, row in pending.rows if pending else ():
            request.vectors[row] = vector
            request.record_batch(began, ended)
            request.missing -= 1
            if not request.missing and not request.done.done():
                request.done.set_result(None)

    def _fail(self, keys: Sequence[bytes], error: Exception) -> None:
        for key in keys:
            pending = self._pending_texts.pop(key, None)
            for request, _row in pending.rows if pending else ():
                if not request.done.done():
                    request.done.set_exception(error)

    # On the streams

    def _bulk_stream(self) -> None:
        # A bulk backend computes on its own threads, of lower priority. This thread only holds the interpreter's lock
        # between batches, and keeps its priority: one that is preempted there would hold the lock for long.
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
                self._lanes.observe(batch, ended - began, bulk=bulk)
                self._loop.call_soon_threadsafe(self._finish, batch, vectors, began, ended)
