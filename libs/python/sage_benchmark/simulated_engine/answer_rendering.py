"""Rendering answers: an SSE chunk per token, one JSON document, or vectors."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from sage_benchmark.engine_http_server import STREAM_END, STREAM_HEAD, render_event, render_json
from sage_benchmark.simulated_engine.answer_text import answer_text, token_text
from sage_benchmark.simulated_engine.simulated_request import SimulatedRequest
from sage_control_plane.request.request import Endpoint


class AnswerStream:
    """Renders the answer to one request. Everything but the token's text is rendered once.

    Args:
        request_id: as the client gave it.
        created: Unix seconds.
        cached: tokens of its prompt that were in the prefix cache.
        prompt_ids: tokens of its prompt, to be returned with the first of the answer; None where nobody asked.
    """

    def __init__(
        self,
        request: SimulatedRequest,
        request_id: str,
        created: int,
        cached: int = 0,
        prompt_ids: list[int] | None = None,
    ) -> None:
        self._request = request
        self._prompt_ids = prompt_ids
        self._cached = cached
        self._chat = request.endpoint is Endpoint.CHAT_COMPLETIONS
        self._id = f"{'chatcmpl' if self._chat else 'cmpl'}-{request_id}"
        self._created = created
        before, after = self._chunk("\0", None).split(b"\\u0000")
        self._before, self._after = b"data: " + before, after + b"\n\n"

    def token(self, index: int) -> bytes:
        """Token ``index`` of the whole answer, with the head before the first and the end after the last."""
        request = self._request
        last = index == request.until - 1
        if index > request.first and not last:
            # No character of it needs escaping in JSON.
            text = token_text(request.name, index).encode()
            data = self._before + text + self._after
            return b"%x\r\n%b\r\n" % (len(data), data)
        text_now, finish_reason = token_text(request.name, index), request.finish_reason if last else None
        chunk = render_event(self._chunk(text_now, finish_reason, role=index == request.first))
        if index == request.first:
            chunk = STREAM_HEAD + self._progress() + chunk
        return chunk + self._end() if last else chunk

    def nothing(self) -> bytes:
        """The whole response where no token is left to send."""
        return STREAM_HEAD + render_event(self._chunk("", self._request.finish_reason, role=True)) + self._end()

    def whole(self) -> bytes:
        """The answer as one JSON document."""
        request = self._request
        text = answer_text(request.name, request.first, request.until)
        content: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": request.finish_reason}
        kind = "chat.completion" if self._chat else "text_completion"
        return render_json({**self._common(kind), "choices": [choice], "usage": self._usage()})

    def _end(self) -> bytes:
        end = render_event(b"[DONE]") + STREAM_END
        if not self._request.include_usage:
            return end
        return render_event(orjson.dumps({**self._common(self._kind), "choices": [], "usage": self._usage()})) + end

    def _chunk(self, text: str, finish_reason: str | None, *, role: bool = False) -> bytes:
        content: dict[str, Any] = {"text": text}
        if self._chat:
            content = {"delta": {"role": "assistant", "content": text} if role else {"content": text}}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}
        prompt = {} if self._prompt_ids is None or not role else {"prompt_token_ids": self._prompt_ids}
        return orjson.dumps({**self._common(self._kind), **prompt, "choices": [choice]})

    def _progress(self) -> bytes:
        """How much of the prompt was cached, as llama.cpp says it, for those that ask."""
        if not self._request.return_progress:
            return b""
        total = self._request.input_tokens
        progress = {"total": total, "cache": self._cached, "processed": total, "time_ms": 0}
        content: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        choice = {"index": 0, **content, "finish_reason": None}
        return render_event(
            orjson.dumps({**self._common(self._kind), "choices": [choice], "prompt_progress": progress})
        )

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _common(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._request.model}

    def _usage(self) -> dict[str, Any]:
        prompt, completion = self._request.input_tokens, self._request.until - self._request.first
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        return {**usage, "prompt_tokens_details": {"cached_tokens": self._cached}} if self._cached else usage


DEFAULT_DIMENSIONS = 384


def vector_of(text: str, dimensions: int) -> NDArray[np.float32]:
    """Return ``dimensions`` little-endian float32 of norm 1, from a hash of the text."""
    digest = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(4 * dimensions)
    values = np.frombuffer(digest, dtype="<u4").astype(np.float64) / 2**31 - 1
    return (values / np.linalg.norm(values)).astype("<f4")


def embedding_response(request: SimulatedRequest) -> bytes:
    """The whole response to ``/v1/embeddings``."""
    data: list[dict[str, Any]] = []
    for index, text in enumerate(request.texts):
        vector = vector_of(text, request.dimensions or DEFAULT_DIMENSIONS)
        value = base64.b64encode(vector.tobytes()).decode() if request.base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": value})
    usage = {"prompt_tokens": request.input_tokens, "total_tokens": request.input_tokens}
    return render_json({"object": "list", "data": data, "model": request.model, "usage": usage})
