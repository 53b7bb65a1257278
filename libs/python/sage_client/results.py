"""What the client's methods return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from sage_client.embedding_body import Vectors
from sage_client.headers import ResponseMetadata
from sage_common.errors import EngineFailedError
from sage_mesh.openai_answer import read_usage
from sage_mesh.reply import EngineTime, TokenUsage

# What a repr shows, for a notebook's cell and a debugger's line.
_SHOWN_CHARACTERS = 60
_SHOWN_DOCUMENTS = 5


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A finished answer.

    Attributes:
        text: text of the first choice; empty for a tool call, see ``raw``.
        finish_reason: why generation ended: ``"stop"``, ``"length"``, …
        engine: engine that answered.
        queue_ms: milliseconds spent queued.
        attempts: dispatches that it took.
        raw: the whole JSON answer.
    """

    text: str
    finish_reason: str
    usage: TokenUsage
    model: str
    request_id: str
    engine: str
    queue_ms: float
    attempts: int
    raw: dict[str, Any]

    def __repr__(self) -> str:
        return f"ChatResult({_short(self.text)}, model={self.model!r}, finish_reason={self.finish_reason!r})"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class TextPiece:
    """A piece of a streamed answer; ``str(piece)`` is its text.

    Attributes:
        text: text since the last piece.
        finish_reason: why generation ended; empty until it has.
        usage: tokens, on the last piece.
        metadata: what happened on the way.
    """

    text: str
    finish_reason: str = ""
    usage: TokenUsage | None = None
    metadata: ResponseMetadata = ResponseMetadata()

    def __repr__(self) -> str:
        end = f", finish_reason={self.finish_reason!r}" if self.finish_reason else ""
        return f"TextPiece({_short(self.text)}{end})"

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingResult:
    """Vectors of texts.

    Attributes:
        vectors: float32, shape (n, d), row i for text i.
        truncated_inputs: texts that were cut to the model's limit.
    """

    vectors: Vectors
    model: str
    usage: TokenUsage
    request_id: str = ""
    engine: str = ""
    queue_ms: float = 0.0
    attempts: int = 0
    truncated_inputs: int = 0
    engine_time: EngineTime = EngineTime()

    def __repr__(self) -> str:
        return f"EmbeddingResult({' × '.join(map(str, self.vectors.shape))}, model={self.model!r})"


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document's place among those of a request.

    Attributes:
        index: its position in the request.
        relevance_score: from a cross-encoder 0 to 1, from an embedding model the cosine.
        text: the document, where it was asked for.
    """

    index: int
    relevance_score: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RerankResult:
    """Documents by their relevance to a query, the most relevant first."""

    results: tuple[RankedDocument, ...]
    usage: TokenUsage
    model: str
    metadata: ResponseMetadata

    def __repr__(self) -> str:
        order = ", ".join(f"{one.index}: {one.relevance_score:.3f}" for one in self.results[:_SHOWN_DOCUMENTS])
        more = ", …" if len(self.results) > _SHOWN_DOCUMENTS else ""
        return f"RerankResult({{{order}{more}}}, model={self.model!r})"


def read_rerank_result(body: bytes, metadata: ResponseMetadata) -> RerankResult:
    """Read the body of ``/v1/rerank``. Raises EngineFailedError when it is of another form."""
    try:
        value = orjson.loads(body)
        results = tuple(
            RankedDocument(int(r["index"]), float(r["relevance_score"]), (r.get("document") or {}).get("text"))
            for r in value["results"]
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise EngineFailedError(f"the engine's answer is not a ranking: {body[:80]!r}") from None
    return RerankResult(
        results,
        metadata.completed(read_usage(value.get("usage")) or TokenUsage()),
        str(value.get("model") or ""),
        metadata,
    )


def read_chat_result(body: bytes, metadata: ResponseMetadata) -> ChatResult:
    """Read a ``chat.completion`` or ``text_completion`` object. Raises EngineFailedError when it is neither."""
    try:
        value = orjson.loads(body)
        choice = value["choices"][0]
        text = choice["message"].get("content") if "message" in choice else choice["text"]
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        raise EngineFailedError(f"the engine's answer is not an OpenAI completion: {body[:80]!r}") from None
    return ChatResult(
        text=text or "",
        finish_reason=choice.get("finish_reason") or "",
        usage=metadata.completed(read_usage(value.get("usage")) or TokenUsage()),
        model=str(value.get("model") or ""),
        request_id=metadata.request_id,
        engine=metadata.engine,
        queue_ms=metadata.queue_ms,
        attempts=metadata.attempts,
        raw=value,
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…")
