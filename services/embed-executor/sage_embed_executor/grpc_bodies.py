"""gRPC requests as the JSON bodies that engines read, so that both ways into an engine are one."""

from __future__ import annotations

from typing import Any, Final

import orjson

from sage.embedding.v1 import embedding_pb2
from sage_common.errors import InvalidRequestError

_TRUNCATE: Final[dict[int, str]] = {
    embedding_pb2.TRUNCATION_RIGHT: "END",
    embedding_pb2.TRUNCATION_LEFT: "START",
    embedding_pb2.TRUNCATION_NONE: "NONE",
}


def embedding_body(request: embedding_pb2.EmbedRequest) -> bytes:
    """Translate a request. Raises InvalidRequestError for texts and token ids together."""
    if request.texts and request.token_ids:
        raise InvalidRequestError("texts and token_ids are both given; send two requests", param="input")
    given: list[Any] = list(request.texts) or [list(item.ids) for item in request.token_ids]
    body: dict[str, Any] = {"model": request.model, "input": given}
    if request.dimensions:
        body["dimensions"] = request.dimensions
    if request.prompt_name:
        body["prompt_name"] = request.prompt_name
    if request.prompt:
        body["prompt"] = request.prompt
    if request.HasField("normalize"):
        body["normalize"] = request.normalize
    if request.truncation in _TRUNCATE:
        body["truncate"] = _TRUNCATE[request.truncation]
    if request.truncate_prompt_tokens:
        body["truncate_prompt_tokens"] = request.truncate_prompt_tokens
    return orjson.dumps(body)


def rerank_body(request: embedding_pb2.RerankRequest) -> bytes:
    """Translate a request."""
    body: dict[str, Any] = {"model": request.model, "query": request.query, "documents": list(request.documents)}
    if request.top_n:
        body["top_n"] = request.top_n
    return orjson.dumps(body)
