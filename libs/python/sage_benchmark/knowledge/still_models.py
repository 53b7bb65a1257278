"""Vectors that cost nothing, to measure what is around an embedder."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sage_common.errors import UnimplementedError
from sage_kernel.model_port import ChatText, Embeddings, Ranking


class StillModels:
    """Embeds each text as random numbers that its bytes seed."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Embeddings:
        """Embed ``texts``."""
        rows = [np.random.default_rng(zlib.crc32(one.encode())).random(self._dimension, np.float32) for one in texts]
        return Embeddings(np.stack(rows) - np.float32(0.5), "still")

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Refuse."""
        raise UnimplementedError("these models only embed")

    async def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        *,
        json_schema: Mapping[str, Any] | None = None,
        target_seconds: float | None = None,
    ) -> ChatText:
        """Refuse."""
        raise UnimplementedError("these models only embed")
