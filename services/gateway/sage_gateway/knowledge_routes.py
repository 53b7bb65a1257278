"""Knowledge bases over REST: the dataflow workers' verbs, with the caller's own key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sage_client import headers as names
from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_limits import MAX_DOCUMENT_BYTES, document_too_large
from sage_client.knowledge.knowledge_views import IngestView
from sage_common.errors import InvalidRequestError, TooLargeError
from sage_gateway.admission import wanted_headers
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import AUTHORIZATION, Credentials
from sage_gateway.event_stream import event_stream, json_answer
from sage_gateway.knowledge_orders import MAX_FILTERS, CreateOrder, IngestOrder, SearchOrder
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.order_origin import refuse_foreign_page
from sage_gateway.query_parameters import count, flag, sequence

# Each is held whole until a worker has it.
DOCUMENTS_AT_ONCE = 4

B = TypeVar("B", bound=BaseModel)


class KnowledgeRoutes:
    """Serves tenants with their own knowledge bases, and operators with those of the tenant that they name.

    Args:
        knowledge_for: returns the knowledge bases as the holder of an API key sees them (None where no keys are asked
            for), of the tenant that is named; empty for the key's own.
    """

    def __init__(
        self,
        knowledge_for: Callable[[str | None, str], KnowledgeBases],
        credentials: Credentials,
        body_timeout_seconds: float,
    ) -> None:
        self._knowledge_for = knowledge_for
        self._credentials = credentials
        self._orders = OrderBodies(body_timeout_seconds)
        self._documents = BodyReader(MAX_DOCUMENT_BYTES, body_timeout_seconds)
        self._document_slots = asyncio.Semaphore(DOCUMENTS_AT_ONCE)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        root = "/v1/management/kb"
        one = f"{root}/{{name}}"
        return [
            Route(root, self._list, methods=["GET"]),
            Route(root, self._create, methods=["POST"]),
            Route(one, self._get, methods=["GET"]),
            Route(one, self._drop, methods=["DELETE"]),
            Route(f"{one}/documents", self._list_documents, methods=["GET"]),
            Route(f"{one}/documents/{{path:path}}", self._store, methods=["PUT"]),
            Route(f"{one}/documents/{{path:path}}", self._remove, methods=["DELETE"]),
            Route(f"{one}/ingest", self._ingest, methods=["POST"]),
            Route(f"{one}/search", self._search, methods=["POST"]),
            Route(f"{one}/export", self._export, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        found = await self._knowledge(request).list_bases()
        return json_answer({"object": "list", "data": [asdict(one) for one in found]})

    async def _create(self, request: Request) -> Response:
        knowledge = self._ordered(request)
        order = await self._orders.read(request, CreateOrder)
        made = await knowledge.create(
            order.name, embedding_model=order.embedding_model, chunk_tokens=order.chunk_tokens
        )
        return json_answer(asdict(made), 201)

    async def _get(self, request: Request) -> Response:
        return json_answer(asdict(await self._knowledge(request).get(_name(request))))

    async def _drop(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).drop(_name(request))))

    async def _list_documents(self, request: Request) -> Response:
        limit, after = count(request, "limit", "documents"), sequence(request, "after")
        page = await self._knowledge(request).documents(_name(request), limit=limit, after=after)
        last = page.documents[-1].id if page.documents else after
        data = [asdict(one) for one in page.documents]
        return json_answer({"object": "list", "data": data, "total": page.total, "next_after": last})

    async def _store(self, request: Request) -> Response:
        knowledge, name, path = self._ordered(request), _name(request), str(request.path_params["path"])
        tags = _tags(request)
        async with self._document_slots:
            try:
                body = await self._documents.read(wanted_headers(request.scope), request.receive)
            except TooLargeError as error:
                raise document_too_large(_announced(request) or MAX_DOCUMENT_BYTES + 1) from error
            except InvalidRequestError as error:
                if error.code != "empty_body":
                    raise
                raise InvalidRequestError(
                    "the body is empty; send the document's file as it is", code="empty_body"
                ) from None
            stored = await knowledge.store(name, path, body, tags)
        return json_answer({"path": path, **asdict(stored)}, 201 if stored.stored else 200)

    async def _remove(self, request: Request) -> Response:
        path = str(request.path_params["path"])
        await self._ordered(request).remove(_name(request), path)
        return json_answer({"path": path, "removed": True})

    async def _ingest(self, request: Request) -> Response:
        knowledge, follows = self._ordered(request), flag(request, "follow")
        order = await self._orders.read(request, IngestOrder)
        reports = knowledge.ingest(_name(request), order.folder, order.metadata)
        if follows:
            return await event_stream(reports, _event)
        last = IngestView()
        async for report in reports:
            last = report
        return json_answer(asdict(last))

    async def _search(self, request: Request) -> Response:
        knowledge = self._knowledge(request)
        order = await self._orders.read(request, SearchOrder)
        found = await knowledge.search(
            _name(request),
            order.question,
            k=order.k,
            mode=order.mode,
            filters=order.filters,
            rerank=order.rerank,
        )
        return json_answer({"object": "list", "data": [asdict(one) for one in found]})

    async def _export(self, request: Request) -> Response:
        pieces = self._knowledge(request).export(_name(request), vectors=flag(request, "vectors"))
        # A refusal must come before the head of the answer is sent.
        first = await anext(pieces, b"")
        return StreamingResponse(_lines(first, pieces), media_type="application/x-ndjson")

    def _knowledge(self, request: Request) -> KnowledgeBases:
        """Return the knowledge bases as the caller sees them. Raises UnauthenticatedError, PermissionDeniedError."""
        tenant = self._credentials.tenant(request.headers)
        named = tenant if names.TENANT in request.headers else ""
        if not self._credentials.required:
            return self._knowledge_for(None, named)
        return self._knowledge_for(request.headers[AUTHORIZATION].partition(" ")[2].strip(), named)

    def _ordered(self, request: Request) -> KnowledgeBases:
        """Return the same for an order. Raises PermissionDeniedError for one that a page of another site sends."""
        refuse_foreign_page(request)
        return self._knowledge(request)


def _name(request: Request) -> str:
    return str(request.path_params["name"])


def _announced(request: Request) -> int:
    value = request.headers.get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() else 0


def _tags(request: Request) -> dict[str, str]:
    """Return what ``tag=FIELD=VALUE`` says. Raises InvalidRequestError."""
    given = request.query_params.getlist("tag")
    if len(given) > MAX_FILTERS:
        raise InvalidRequestError(f"{len(given)} tags; a document has at most {MAX_FILTERS}", param="tag")
    tags = {}
    for one in given:
        field, equals, value = one.partition("=")
        if not equals or not field:
            raise InvalidRequestError(f"tag is {one[:64]!r}; write tag=FIELD=VALUE, as tag=team=billing", param="tag")
        tags[field] = value
    return tags


async def _lines(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with aclosing(rest) as pieces:  # type: ignore[type-var]
        yield first
        async for piece in pieces:
            yield piece


def _event(report: IngestView) -> bytes:
    return b"data: " + orjson.dumps(report) + b"\n\n"
