"""Knowledge bases through a gateway's management API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from sage_client import headers as names
from sage_client.gateway_answers import events_of, object_of, value_of
from sage_client.http import HttpTransport
from sage_client.knowledge.knowledge_limits import DEFAULT_PASSAGES, MAX_DOCUMENT_BYTES, document_too_large
from sage_client.knowledge.knowledge_views import (
    DocumentPage,
    DocumentStored,
    DocumentView,
    IngestView,
    KnowledgeBaseView,
    PassageView,
)

ROOT = "/v1/management/kb"
CALL_SECONDS = 60.0
# A document is read and embedded, a search may wait for a model that orders.
MODEL_SECONDS = 600.0


class RestKnowledge:
    """``KnowledgeBases`` at the gateway that ``transport`` speaks to; ``close`` closes it.

    Args:
        tenant: whose knowledge bases they are; empty for the key's own.
    """

    def __init__(self, transport: HttpTransport, *, tenant: str = "") -> None:
        self._transport = transport
        self._headers = {names.TENANT: tenant} if tenant else {}

    async def list_bases(self) -> list[KnowledgeBaseView]:
        return value_of((await self._call("GET", ""))["data"], list[KnowledgeBaseView])

    async def create(self, name: str, *, embedding_model: str = "", chunk_tokens: int = 0) -> KnowledgeBaseView:
        order = {"name": name, "embedding_model": embedding_model, "chunk_tokens": chunk_tokens}
        return value_of(await self._call("POST", "", _json(order)), KnowledgeBaseView)

    async def get(self, name: str) -> KnowledgeBaseView:
        return value_of(await self._call("GET", _of(name)), KnowledgeBaseView)

    async def drop(self, name: str) -> KnowledgeBaseView:
        return value_of(await self._call("DELETE", _of(name)), KnowledgeBaseView)

    async def documents(self, name: str, *, limit: int = 0, after: int = 0) -> DocumentPage:
        answer = await self._call("GET", f"{_of(name)}/documents?{urlencode({'limit': limit, 'after': after})}")
        return DocumentPage(value_of(answer["data"], tuple[DocumentView, ...]), int(answer["total"]))

    async def store(
        self, name: str, path: str, data: bytes, metadata: Mapping[str, str] | None = None
    ) -> DocumentStored:
        if len(data) > MAX_DOCUMENT_BYTES:
            raise document_too_large(len(data))
        query = urlencode([("tag", f"{field}={value}") for field, value in (metadata or {}).items()])
        target = f"{_of(name)}/documents/{quote(path)}" + (f"?{query}" if query else "")
        return value_of(await self._call("PUT", target, data, MODEL_SECONDS), DocumentStored)

    async def remove(self, name: str, path: str) -> None:
        await self._call("DELETE", f"{_of(name)}/documents/{quote(path)}")

    async def ingest(
        self, name: str, folder: str, metadata: Mapping[str, str] | None = None
    ) -> AsyncIterator[IngestView]:
        order = _json({"folder": folder, "metadata": dict(metadata or {})})
        path = f"{ROOT}{_of(name)}/ingest?follow=true"
        async with self._transport.open("POST", path, order, self._headers, None) as response:
            async for value in events_of(response, "ingest again, it goes on where this one ended"):
                yield value_of(value, IngestView)

    async def search(
        self,
        name: str,
        question: str,
        *,
        k: int = DEFAULT_PASSAGES,
        mode: str = "hybrid",
        filters: Mapping[str, str] | None = None,
        rerank: bool = False,
    ) -> list[PassageView]:
        order = {"question": question, "k": k, "mode": mode, "filters": dict(filters or {}), "rerank": rerank}
        answer = await self._call("POST", f"{_of(name)}/search", _json(order), MODEL_SECONDS)
        return value_of(answer["data"], list[PassageView])

    async def export(self, name: str, *, vectors: bool = False) -> AsyncIterator[bytes]:
        path = f"{ROOT}{_of(name)}/export?vectors={str(vectors).lower()}"
        async with self._transport.open("GET", path, None, self._headers, None) as response:
            async for piece in response.content.iter_any():
                yield piece

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _call(
        self, method: str, path: str, body: bytes | None = None, seconds: float = CALL_SECONDS
    ) -> dict[str, Any]:
        headers = {"content-type": "application/octet-stream", **self._headers}
        async with self._transport.open(method, ROOT + path, body, headers, seconds) as response:
            answer = await response.read()
        return object_of(answer)


def _json(value: object) -> bytes:
    return orjson.dumps(value)


def _of(name: str) -> str:
    return f"/{quote(name, safe='')}"
