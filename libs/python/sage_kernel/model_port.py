"""How a pipeline reaches models. The client of the mesh implements it; tests use hand-written fakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Embeddings:
    """Vectors of texts.

    Attributes:
        vectors: float32, shape (n, d), row i for text i.
        model: the model that made them, as its engine names it.
    """

    vectors: npt.NDArray[np.float32]
    model: str


@dataclass(frozen=True)
class Ranking:
    """Relevance of documents to a query: ``scores[i]`` is that of document i, greater is better."""

    scores: tuple[float, ...]
    model: str


@dataclass(frozen=True)
class ChatText:
    """A finished chat answer; token counts are 0 where the engine did not report them."""

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = ""


class ModelPort(Protocol):
    """Embeddings, chat and ranking. ``model=None`` means the mesh's default. Failures are ``SageError``.

    ``target_seconds`` is the time within which an answer is wanted, which the mesh schedules by; None leaves it to the
    class of the work.
    """

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Embeddings:
        """Return one vector a text, in order; ``texts`` is not empty."""
        ...

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Return how relevant each document is to ``query``; ``documents`` is not empty."""
        ...

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
        """Return the answer to OpenAI chat messages; ``None`` leaves a limit to the engine.

        Args:
            json_schema: what the answer is to be, where the engine can hold a model to it.
        """
        ...
