"""Knowledge bases over REST: the dataflow workers' verbs, with the caller's own key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from sage_client.knowledge.knowledge_bases import KnowledgeBases
from sage_client.knowledge.knowledge_limits import MAX_DOCUMENT_BYTES, document_too_large
from sage_client.knowledge.knowledge_views import (
    DocumentStored,
    DocumentView,
    IngestView,
    KnowledgeBaseView,
    PassageView,
)
from sage_common.errors import InvalidRequestError, TooLargeError
from sage_gateway.admission import wanted_headers
from sage_gateway.body_reader import BodyReader
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import event_stream, json_answer
from sage_gateway.knowledge_orders import MAX_FILTERS, CreateOrder, IngestOrder, SearchOrder
from sage_gateway.openapi.answers import Listed, ListedOf
from sage_gateway.openapi.operation import BINARY, TEXT, operation, routes_of
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.order_origin import refuse_foreign_page
from sage_gateway.query_parameters import Count, Flag, Sequence, Text

_ROOT = "/v1/management/kb"
_BASE = f"{_ROOT}/{{name}}"
_DOCUMENT = f"{_BASE}/documents/{{path:path}}"
_MOST_DOCUMENTS = Count("limit", "documents", about="most documents to list; 0 for the usual number")
_AFTER = Sequence("after", "id of the document behind which to begin")
_TAG = Text("tag", "FIELD=VALUE, kept with the document's passages", many=True)
_FOLLOW = Flag("follow", "answer with events of how far it has come")
_VECTORS = Flag("vectors", "with the passages' vectors")

# Each is held whole until a worker has it.
DOCUMENTS_AT_ONCE = 4


class DocumentList(ListedOf[DocumentView]):
    """Documents; the next page is behind ``next_after``."""

    next_after: int


class RemovedDocument(TypedDict):
    """A document that was removed."""

    path: str
    removed: Literal[True]


@dataclass(frozen=True, slots=True)
class StoredDocument(DocumentStored):
    """What became of a document."""

    path: str


class KnowledgeRoutes:
    """Serves tenants with their own knowledge bases, and operators with those of the tenant that they name.

    Args:
        knowledge_for: returns the knowledge bases as the holder of an API key sees them (None where no keys are asked
            for), of the tenant that is named; empty for the key's own.
    """

    def __init__(
        self,
        knowledge_for: Callable[[str | None, str, str], KnowledgeBases],
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
        return routes_of(self)

    @operation("GET", _ROOT, "List the tenant's knowledge bases", answer=Listed[KnowledgeBaseView])
    async def _list(self, request: Request) -> Response:
        found = await self._knowledge(request).list_bases()
        return json_answer({"object": "list", "data": [asdict(one) for one in found]})

    @operation("POST", _ROOT, "Make a knowledge base", body=CreateOrder, answer=KnowledgeBaseView, status=201)
    async def _create(self, request: Request) -> Response:
        knowledge = self._ordered(request)
        order = await self._orders.read(request, CreateOrder)
        made = await knowledge.create(
            order.name, embedding_model=order.embedding_model, chunk_tokens=order.chunk_tokens
        )
        return json_answer(asdict(made), 201)

    @operation("GET", _BASE, "Get a knowledge base", answer=KnowledgeBaseView)
    async def _get(self, request: Request) -> Response:
        return json_answer(asdict(await self._knowledge(request).get(_name(request))))

    @operation("DELETE", _BASE, "Remove a knowledge base", answer=KnowledgeBaseView)
    async def _drop(self, request: Request) -> Response:
        return json_answer(asdict(await self._ordered(request).drop(_name(request))))

    @operation(
        "GET",
        f"{_BASE}/documents",
        "List documents by id",
        answer=DocumentList,
        query=(_MOST_DOCUMENTS, _AFTER),
    )
    async def _list_documents(self, request: Request) -> Response:
        limit, after = _MOST_DOCUMENTS.of(request), _AFTER.of(request)
        page = await self._knowledge(request).documents(_name(request), limit=limit, after=after)
        last = page.documents[-1].id if page.documents else after
        data = [asdict(one) for one in page.documents]
        return json_answer({"object": "list", "data": data, "total": page.total, "next_after": last})

    @operation(
        "PUT",
        _DOCUMENT,
        "Store a document: 201 where it is new or changed, 200 where it was there",
        raw_body={"application/octet-stream": BINARY},
        answer=StoredDocument,
        status=201,
        others=(200,),
        query=(_TAG,),
    )
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
        answer = StoredDocument(**asdict(stored), path=path)
        return json_answer(asdict(answer), 201 if stored.stored else 200)

    @operation("DELETE", _DOCUMENT, "Remove a document", answer=RemovedDocument)
    async def _remove(self, request: Request) -> Response:
        path = str(request.path_params["path"])
        await self._ordered(request).remove(_name(request), path)
        removed: RemovedDocument = {"path": path, "removed": True}
        return json_answer(removed)

    @operation(
        "POST",
        f"{_BASE}/ingest",
        "Take a folder of the worker in",
        body=IngestOrder,
        answer=IngestView,
        events=IngestView,
        query=(_FOLLOW,),
    )
    async def _ingest(self, request: Request) -> Response:
        knowledge, follows = self._ordered(request), _FOLLOW.of(request)
        order = await self._orders.read(request, IngestOrder)
        reports = knowledge.ingest(_name(request), order.folder, order.metadata)
        if follows:
            return await event_stream(reports, _event)
        last = IngestView()
        async for report in reports:
            last = report
        return json_answer(asdict(last))

    @operation("POST", f"{_BASE}/search", "Find passages, best first", body=SearchOrder, answer=Listed[PassageView])
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

    @operation(
        "GET",
        f"{_BASE}/export",
        "Read every passage, a line of JSON each",
        raw_answer={"application/x-ndjson": TEXT},
        query=(_VECTORS,),
    )
    async def _export(self, request: Request) -> Response:
        pieces = self._knowledge(request).export(_name(request), vectors=_VECTORS.of(request))
        # A refusal must come before the head of the answer is sent.
        first = await anext(pieces, b"")
        return StreamingResponse(_lines(first, pieces), media_type="application/x-ndjson")

    def _knowledge(self, request: Request) -> KnowledgeBases:
        """Return the knowledge bases as the caller sees them. Raises UnauthenticatedError, PermissionDeniedError."""
        tenant = self._credentials.tenant(request.headers)
        key, acting_for = self._credentials.forwarded(request.headers)
        # Always named: called as the mesh, for an operator with a token, a worker knows no tenant of the caller's own.
        return self._knowledge_for(key, tenant, acting_for)

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
    given = _TAG.all_of(request)
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
