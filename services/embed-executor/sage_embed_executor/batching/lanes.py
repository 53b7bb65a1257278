"""The two lanes of the executor, interactive and bulk: a queue each, and the condition on which its streams wait.

Bulk work has streams of its own that run at a lower priority of the operating system. A short request therefore never
waits for a bulk batch to end: its own stream preempts it at once.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from sage_common.clock import Clock
from sage_control_plane.request.request import Classification, ServiceClass
from sage_embed_executor.batching.batch_cost import BatchCostModel
from sage_embed_executor.batching.length_aware_queue import BatchLimits, LengthAwareQueue, TokenBatch
from sage_embed_executor.batching.pending_embedding import PendingEmbedding


@dataclass(frozen=True, slots=True)
class Urgency:
    """What orders a request among those in the executor.

    Attributes:
        deadline: when it is to be complete, in seconds of the executor's clock; infinite without a target.
        bulk: whether it goes to the bulk lane.
    """

    deadline: float = math.inf
    bulk: bool = False


def urgency_of(classification: Classification | None, waited_seconds: float, now: float) -> Urgency:
    """Return the urgency of a request that the mesh accepted ``waited_seconds`` before ``now``."""
    if classification is None:
        return Urgency()
    if classification.service_class is ServiceClass.BULK:
        # The deadline of bulk work is too far off to order it.
        return Urgency(bulk=True)
    target = classification.begin_target_seconds
    return Urgency(math.inf if target is None else now - waited_seconds + target)


class Lanes:
    """Queued texts by key, the bytes of their token ids. Thread-safe."""

    def __init__(self, limits: BatchLimits, clock: Clock) -> None:
        self._clock = clock
        lock = threading.Lock()
        self._lock = lock
        self._changed = {bulk: threading.Condition(lock) for bulk in (False, True)}
        # One for each lane: bulk batches are slowed down by the interactive ones.
        self._cost_models = {bulk: BatchCostModel() for bulk in (False, True)}
        self._queues: dict[bool, LengthAwareQueue[PendingEmbedding, bytes]] = {
            bulk: LengthAwareQueue(limits, self._cost_models[bulk]) for bulk in (False, True)
        }
        self._idle_streams = dict.fromkeys((False, True), 0)
        self._closed = False

    @property
    def tokens(self) -> int:
        """Tokens queued, without padding."""
        return sum(queue.tokens for queue in self._queues.values())

    def open(self, request: PendingEmbedding, urgency: Urgency) -> None:
        """Make a request active in its lane."""
        with self._lock:
            self._queues[urgency.bulk].open(request, urgency.deadline)

    def add(
        self, request: PendingEmbedding, urgency: Urgency, fresh: Sequence[bytes], shared: Sequence[bytes], size: int
    ) -> None:
        """Queue texts of an active request.

        Args:
            fresh: texts that no other request has asked for.
            shared: texts that are queued or in a batch for other requests; those in a batch are not queued again.
            size: bytes of a token id.
        """
        own, other = self._queues[urgency.bulk], self._queues[not urgency.bulk]
        with self._lock:
            for key in fresh:
                own.add(request, key, len(key) // size)
            for key in shared:
                if key in own or key in other:
                    own.add(request, key, len(key) // size)
            self._changed[urgency.bulk].notify(len(fresh) + len(shared))

    def close_request(self, request: PendingEmbedding, urgency: Urgency) -> list[bytes]:
        """Remove a request; return the texts that were queued for it alone, removed with it."""
        own, other = self._queues[urgency.bulk], self._queues[not urgency.bulk]
        with self._lock:
            return [key for key in own.close(request) if key not in other]

    def take(self, *, bulk: bool) -> TokenBatch[bytes] | None:
        """Return the next batch of a lane. Blocks until there is one; None once the lanes are closed."""
        own, other = self._queues[bulk], self._queues[not bulk]
        with self._lock:
            self._idle_streams[bulk] += 1
            try:
                while not self._closed:
                    batch = own.take(self._clock.now(), self._idle_streams[bulk])
                    if batch is not None:
                        for key in batch.keys:
                            other.discard(key)
                        return batch
                    self._changed[bulk].wait()
                return None
            finally:
                self._idle_streams[bulk] -= 1

    def observe(self, batch: TokenBatch[bytes], seconds: float, *, bulk: bool) -> None:
        """Record how long a batch of a lane took."""
        with self._lock:
            self._cost_models[bulk].observe(batch.padded_tokens, seconds)

    def close(self) -> None:
        """Make ``take`` return None to every stream."""
        with self._lock:
            self._closed = True
            for changed in self._changed.values():
                changed.notify_all()
