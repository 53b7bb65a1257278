"""The two queues of the executor, and the condition under which its streams wait for them.

Bulk work has streams of its own that run at a lower priority of the operating system. A short request therefore never
waits for a bulk batch to end: its own stream takes the processor from it at once.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sage_common.clock import Clock
from sage_embed_executor.batching.batch_cost import BatchPace
from sage_embed_executor.batching.length_aware_queue import Batch, BatchLimits, LengthAwareQueue
from sage_embed_executor.batching.pending_embedding import PendingEmbedding
from sage_embed_executor.batching.urgency import Urgency


class Lanes:
    """Queued texts, by the bytes of their token ids. Thread-safe."""

    def __init__(self, limits: BatchLimits, clock: Clock) -> None:
        self._clock = clock
        lock = threading.Lock()
        self._lock = lock
        self._changed = {bulk: threading.Condition(lock) for bulk in (False, True)}
        # Each lane learns its own pace: bulk batches are slowed down by the others.
        self._pace = {bulk: BatchPace() for bulk in (False, True)}
        self._queues: dict[bool, LengthAwareQueue[PendingEmbedding, bytes]] = {
            bulk: LengthAwareQueue(limits, self._pace[bulk]) for bulk in (False, True)
        }
        # Streams that look for a batch.
        self._takers = dict.fromkeys((False, True), 0)
        self._closed = False

    @property
    def tokens(self) -> int:
        """Tokens queued, without padding."""
        return sum(queue.tokens for queue in self._queues.values())

    def open(self, ticket: PendingEmbedding, urgency: Urgency) -> None:
        """A request becomes active."""
        with self._lock:
            self._queues[urgency.bulk].open(ticket, urgency.deadline)

    def add(
        self, ticket: PendingEmbedding, urgency: Urgency, fresh: Sequence[bytes], known: Sequence[bytes], size: int
    ) -> None:
        """An active request wants texts.

        Args:
            fresh: texts that nobody has asked for yet.
            known: texts that are queued or in a batch; the latter need no place in a queue.
            size: bytes of a token id.
        """
        own, other = self._queues[urgency.bulk], self._queues[not urgency.bulk]
        with self._lock:
            for key in fresh:
                own.add(ticket, key, len(key) // size)
            for key in known:
                if key in own or key in other:
                    own.add(ticket, key, len(key) // size)
            self._changed[urgency.bulk].notify(len(fresh) + len(known))

    def leave(self, ticket: PendingEmbedding, urgency: Urgency) -> list[bytes]:
        """A request is over; return the texts that were queued for it alone, which are dropped."""
        own, other = self._queues[urgency.bulk], self._queues[not urgency.bulk]
        with self._lock:
            return [key for key in own.close(ticket) if key not in other]

    def take(self, *, bulk: bool) -> Batch[bytes] | None:
        """Wait for a batch; None once the lanes are closed."""
        own, other = self._queues[bulk], self._queues[not bulk]
        with self._lock:
            self._takers[bulk] += 1
            try:
                while not self._closed:
                    batch = own.take(self._clock.now(), self._takers[bulk])
                    if batch is not None:
                        for key in batch.keys:
                            other.discard(key)
                        return batch
                    self._changed[bulk].wait()
                return None
            finally:
                self._takers[bulk] -= 1

    def took(self, batch: Batch[bytes], seconds: float, *, bulk: bool) -> None:
        """A batch ran for so long."""
        with self._lock:
            self._pace[bulk].learn(batch.padded_tokens, seconds)

    def close(self) -> None:
        """Wake every stream to end."""
        with self._lock:
            self._closed = True
            for changed in self._changed.values():
                changed.notify_all()
