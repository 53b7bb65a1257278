"""Embedding many texts without crowding the mesh: few calls at once, and again where it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sage_common.errors import ContendedError
from sage_kernel.model_port import Embeddings, ModelPort

# More would queue behind each other, and be refused for that where the engine is slow.
CALLS_AT_ONCE = 4
MOST_TRIES = 60
LONGEST_WAIT_SECONDS = 2.0


class PatientEmbedding:
    """Calls of one ingest."""

    def __init__(self, models: ModelPort) -> None:
        self._models = models
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    async def embed(self, texts: Sequence[str], model: str | None) -> Embeddings:
        """Embed ``texts``; where the mesh is busy, again after the time that it names. Raises as the port does."""
        for left in range(MOST_TRIES - 1, -1, -1):
            try:
                async with self._slots:
                    return await self._models.embed(texts, model)
            except ContendedError as error:
                if not left:
                    raise
                await asyncio.sleep(min(error.retry_after_seconds or 1.0, LONGEST_WAIT_SECONDS))
        raise AssertionError("the last try returns or raises")
