"""Bodies of the knowledge bases' routes."""

from __future__ import annotations

from pydantic import Field

from sage_client.knowledge.knowledge_limits import DEFAULT_PASSAGES, MOST_PASSAGES
from sage_gateway.order_bodies import Order

MAX_FILTERS = 32


class CreateOrder(Order):
    """Body of ``POST /v1/management/kb``."""

    name: str
    embedding_model: str = ""
    chunk_tokens: int = Field(0, ge=0, le=2**31)


class IngestOrder(Order):
    """Body of ``POST /v1/management/kb/{name}/ingest``."""

    folder: str = Field(min_length=1)
    metadata: dict[str, str] = Field(default_factory=dict, max_length=MAX_FILTERS)


class SearchOrder(Order):
    """Body of ``POST /v1/management/kb/{name}/search``."""

    question: str
    k: int = Field(DEFAULT_PASSAGES, ge=1, le=MOST_PASSAGES)
    mode: str = "hybrid"
    filters: dict[str, str] = Field(default_factory=dict, max_length=MAX_FILTERS)
    rerank: bool = False
