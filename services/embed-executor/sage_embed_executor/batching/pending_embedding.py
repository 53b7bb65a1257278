"""One request inside the executor: the rows it still waits for, and where its time goes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from sage_embed_executor.backends.backend import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
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
        done: set when every row is there, or with what went wrong.
        missing: rows that are not.
    """

    vectors: Vectors
    done: asyncio.Future[None]
    admitted_at: float
    missing: int = 0
    _computed_until: float = 0.0
    _inference_seconds: float = 0.0

    def computed(self, began: float, ended: float) -> None:
        """A batch with inputs of this request ran; of batches at the same time each moment counts once."""
        self._inference_seconds += max(0.0, ended - max(began, self._computed_until))
        self._computed_until = max(self._computed_until, ended)

    def result(self) -> Embedded:
        """The answer, once it is done."""
        # A batch that somebody else's equal text had begun before counts from this request's admission.
        inside = max(0.0, self._computed_until - self.admitted_at)
        inference = min(self._inference_seconds, inside)
        return Embedded(self.vectors, inside - inference, inference)


@dataclass(eq=False, slots=True)
class Work:
    """One distinct text in a queue or in a batch, and the rows that want it."""

    rows: list[tuple[PendingEmbedding, int]] = field(default_factory=list)
