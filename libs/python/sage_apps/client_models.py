"""The models of a pipeline, reached through the client of the mesh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sage_client.client import DEFAULT_OPTIONS, AsyncUnifiedInferenceClient, CallOptions
from sage_client.models import ModelInfo
from sage_control_plane.request.request import RequestKind
from sage_kernel.model_port import ChatText, Embeddings, Ranking

# It answers with sentences of its prompt only.
QUOTING_MODEL = "sage-extractive"
# What `sage up` serves by default generates, but is small, and invents where its context is long.
SMALL_MODEL = "smollm2-135m"


def answering_model(models: Sequence[ModelInfo]) -> str | None:
    """Return the model that answers questions from documents where no model is named.

    The first that chats and came with neither SAGE nor another model (as an adapter does, and a route to others); else
    the one that quotes; None, the mesh's default, where there is neither.
    """
    served = (one for one in models if not one.targets or one.id in one.targets)
    chatting = (one.id for one in served if RequestKind.LLM_CHAT in one.kinds and not one.parent)
    own = next((name for name in chatting if name not in (QUOTING_MODEL, SMALL_MODEL)), None)
    return own or (QUOTING_MODEL if any(one.id == QUOTING_MODEL for one in models) else None)


class ClientModels:
    """A ``ModelPort`` over a client, which stays the caller's to close.

    Args:
        options: how urgent the pipeline's requests are, for whom, and how long they may take.
        from_documents: whether a chat that names no model asks about documents, and is for ``answering_model``.
    """

    def __init__(
        self,
        client: AsyncUnifiedInferenceClient,
        options: CallOptions = DEFAULT_OPTIONS,
        *,
        from_documents: bool = False,
    ) -> None:
        self._client = client
        self._options = options
        self._from_documents = from_documents

    async def embed(
        self, texts: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Embeddings:
        """Embed ``texts``."""
        result = await self._client.embed(texts, model, options=self._within(target_seconds))
        return Embeddings(result.vectors, result.model)

    async def rank(
        self, query: str, documents: Sequence[str], model: str | None = None, *, target_seconds: float | None = None
    ) -> Ranking:
        """Rank ``documents``."""
        result = await self._client.rerank(query, documents, model, options=self._within(target_seconds))
        scores = [0.0] * len(documents)
        for ranked in result.results:
            scores[ranked.index] = ranked.relevance_score
        return Ranking(tuple(scores), result.model)

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
        """Answer ``messages``."""
        if model is None and self._from_documents:
            model = answering_model(await self._client.models())
        result = await self._client.chat(
            messages,
            model,
            options=self._within(target_seconds),
            max_tokens=max_tokens,
            temperature=temperature,
            response_format=None if json_schema is None else _format_of(json_schema),
        )
        return ChatText(
            result.text,
            result.model,
            prompt_tokens=result.usage.prompt_tokens,
            completion_tokens=result.usage.completion_tokens,
            finish_reason=result.finish_reason,
        )

    def _within(self, target_seconds: float | None) -> CallOptions:
        if target_seconds is None:
            return self._options
        hints = replace(self._options.hints, slo_deadline_ms=max(1, round(target_seconds * 1000)))
        return replace(self._options, hints=hints)


def _format_of(json_schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": json_schema, "strict": True}}
