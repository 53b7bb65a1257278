"""A rerank body, read for a model, and the JSON of its answer, in the shape of Jina's and Cohere's APIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from sage_common.errors import InvalidRequestError
from sage_control_plane.request.body import document_text
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.requests.input_limits import InputLimits, read_input_limits
from sage_mesh.openai_answer import usage_object
from sage_mesh.reply import TokenUsage

# Names that models give the prompt of a passage, the usual one first.
DOCUMENT_PROMPTS = ("document", "passage", "doc")


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A body, read. Its shape was validated when the request was classified.

    Attributes:
        top_n: number of results in the answer.
        return_documents: whether each result carries its document's text.
    """

    query: str
    documents: tuple[str, ...]
    top_n: int
    return_documents: bool
    limits: InputLimits

    @property
    def characters(self) -> int:
        """Characters to tokenise, of query and documents."""
        return len(self.query) + sum(map(len, self.documents))


def read_rerank_request(body: bytes, model: ModelFolder, special_tokens: int) -> RerankRequest:
    """Read a body for a model. Raises InvalidRequestError; ``param`` names the field."""
    value: dict[str, Any] = orjson.loads(body)
    documents = tuple(document_text(document) or "" for document in value["documents"])
    top_n = value.get("top_n")
    if top_n is not None and (not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1):
        raise InvalidRequestError(f"'top_n' must be an integer of at least 1; got {top_n!r}", param="top_n")
    wants_documents = value.get("return_documents")
    if wants_documents not in (None, True, False):
        raise InvalidRequestError(
            f"'return_documents' must be true or false; got {wants_documents!r}", param="return_documents"
        )
    return RerankRequest(
        query=value["query"],
        documents=documents,
        top_n=min(top_n or len(documents), len(documents)),
        return_documents=bool(wants_documents),
        limits=read_input_limits(value, model, special_tokens),
    )


def prompted(request: RerankRequest, prompts: Mapping[str, str]) -> tuple[str, list[str]]:
    """Return the query and the documents with the embedding model's prompts before them."""
    before = next((prompts[name] for name in DOCUMENT_PROMPTS if name in prompts), "")
    return prompts.get("query", "") + request.query, [before + document for document in request.documents]


def render_rerank(request: RerankRequest, scores: Sequence[float], model: str, tokens: int) -> bytes:
    """Return the answer's JSON: results by descending score, equal ones in the order of the documents."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: request.top_n]
    results = []
    for index in order:
        result: dict[str, Any] = {"index": index, "relevance_score": float(scores[index])}
        if request.return_documents:
            result["document"] = {"text": request.documents[index]}
        results.append(result)
    usage = usage_object(TokenUsage(tokens), generates=False)
    return orjson.dumps({"object": "list", "model": model, "results": results, "usage": usage})
