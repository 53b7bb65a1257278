"""One request inside the executor: the rows that are missing, and the time spent in queue and inference."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sage_embed_executor.backends.backend import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """The vectors of a request.

    Attributes:
        vectors: shape (inputs, dimensions).
        queue_seconds: spent waiting in the executor.
        inference_seconds: during which a batch with one of its inputs was computed.
    """

    vectors: Vectors
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0


@dataclass(eq=False, slots=True)
class PendingEmbedding:
    """One request. Belongs to the event loop.

    Attributes:
        vectors: filled in row by row.
        done: resolved when every row is filled in, or with the error.
        missing: rows that are not filled in.
    """

    vectors: Vectors
    done: asyncio.Future[None]
    admitted_at: float
    missing: int = 0
    _computed_until: float = 0.0
    _inference_seconds: float = 0.0

    def record_batch(self, began: float, ended: float) -> None:
        """Count the time of a batch with inputs of this request; concurrent batches count once."""
        self._inference_seconds += max(0.0, ended - max(began, self._computed_until))
        self._computed_until = max(self._computed_until, ended)

    def result(self) -> EmbeddingResult:
        """Return the result of a request that is done."""
        # A batch that began earlier, for an equal text of another request, counts from this request's admission.
        inside = max(0.0, self._computed_until - self.admitted_at)
        inference = min(self._inference_seconds, inside)
        return EmbeddingResult(self.vectors, inside - inference, inference)


@dataclass(eq=False, slots=True)
class PendingText:
    """One distinct text, queued or in a batch, and the rows of requests that want its vector."""

    rows: list[tuple[PendingEmbedding, int]] = field(default_factory=list)
