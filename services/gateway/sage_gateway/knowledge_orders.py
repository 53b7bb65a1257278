"""Bodies of the knowledge bases' routes."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sage_client.knowledge.knowledge_limits import DEFAULT_PASSAGES, MOST_PASSAGES
from sage_common.errors import InvalidRequestError

MAX_FILTERS = 32

B = TypeVar("B", bound=BaseModel)


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CreateOrder(_Order):
    """Body of ``POST /v1/management/kb``."""

    name: str
    embedding_model: str = ""
    chunk_tokens: int = Field(0, ge=0, le=2**31)


class IngestOrder(_Order):
    """Body of ``POST /v1/management/kb/{name}/ingest``."""

    folder: str = Field(min_length=1)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=MAX_FILTERS)


class SearchOrder(_Order):
    """Body of ``POST /v1/management/kb/{name}/search``."""

    question: str
    k: int = Field(DEFAULT_PASSAGES, ge=1, le=MOST_PASSAGES)
    mode: str = "hybrid"
    filters: dict[str, str] = Field(default_factory=dict, max_length=MAX_FILTERS)
    rerank: bool = False


def order_of(body: bytes, kind: type[B]) -> B:
    """Return a body as what it is. Raises InvalidRequestError, which names the field and those there are."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{where or 'body'}: {first['msg']}; fields: {', '.join(kind.model_fields)}"
        raise InvalidRequestError(message, param=where or None) from None
