"""``/v1/responses/{id}``: stored responses, as OpenAI's API has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_common.errors import ConflictError, InvalidRequestError
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.fields import not_served
from sage_gateway.dialects.response_shapes import ResponseDocument, ResponseEvent
from sage_gateway.dialects.told_stream import told_stream
from sage_gateway.event_stream import COMMENT_SECONDS
from sage_gateway.keep_alive_comments import with_comments
from sage_gateway.listing import list_document, page_parameters
from sage_gateway.openapi.answers import Deleted, Paged
from sage_gateway.openapi.operation import operation, routes_of
from sage_gateway.query_parameters import Flag, Sequence, Text
from sage_gateway.responses.response_events import ResponseEvents
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.responses.stored_response import CANCELLED, StoredResponse
from sage_mesh import exact_json
from sage_platform.jetstream_access import reaching_jetstream

_DEFAULT_LISTED = 20
_MOST_LISTED = 100
# What an answer has where its engine told of it.
_INCLUDED = ("message.output_text.logprobs", "reasoning.encrypted_content")

_ONE = "/v1/responses/{response_id}"
_PAGE = page_parameters(default_limit=_DEFAULT_LISTED, most=_MOST_LISTED)
_INCLUDE = tuple(Text(name, f"any of {', '.join(_INCLUDED)}", many=True) for name in ("include", "include[]"))
_STREAM = Flag("stream", "its events, of a response that was made in the background with 'stream'")
_STARTING_AFTER = Sequence("starting_after", "with stream: the events behind this sequence_number")
_OBFUSCATION = Flag("include_obfuscation", "not served: events are not padded")


class ResponseRoutes:
    """Serves tenants with their own responses; those of another are not there.

    Args:
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        store: ResponseStore,
        events: ResponseEvents,
        credentials: Credentials,
        answers: AnswersByKey,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._events = events
        self._credentials = credentials
        self._answers = answers
        self._now = now

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation(
        "GET",
        _ONE,
        "Get a stored response",
        answer=ResponseDocument,
        events=ResponseEvent,
        query=(*_INCLUDE, _STREAM, _STARTING_AFTER, _OBFUSCATION),
    )
    async def _get(self, request: Request) -> Response:
        _check_include(request)
        if _OBFUSCATION.of(request):
            raise not_served("include_obfuscation", "events are not padded")
        starting_after = _STARTING_AFTER.of(request) if _STARTING_AFTER.name in request.query_params else -1
        if not _STREAM.of(request):
            if starting_after >= 0:
                raise InvalidRequestError("starting_after is for streams; send stream=true too", param="starting_after")
            return _document(await self._stored(request))
        stored = await self._stored(request)
        with reaching_jetstream():
            await self._events.check(stored.tenant, stored.id)
        follow = partial(self._events.follow, stored.tenant, stored.id, after=starting_after)
        key_id = self._credentials.principal(request.headers).key_id
        return told_stream(with_comments(self._answers.followed(key_id, follow), COMMENT_SECONDS))

    @operation("DELETE", _ONE, "Delete a stored response", answer=Deleted)
    async def _delete(self, request: Request) -> Response:
        tenant, response_id = self._credentials.tenant(request.headers), request.path_params["response_id"]
        with reaching_jetstream():
            stored = await self._store.get(tenant, response_id)
            await self._store.remove(tenant, response_id)
            if stored.is_open:
                # Whoever finds a mark alone waits for its record to come.
                await self._store.marks.remove(tenant, response_id)
            await self._events.drop(tenant, response_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

    @operation("POST", f"{_ONE}/cancel", "Cancel a response in the background", answer=ResponseDocument)
    async def _cancel(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)

        def cancelled(response: StoredResponse) -> StoredResponse:
            if response.status == CANCELLED:
                return response
            if not response.document.get("background"):
                raise InvalidRequestError(
                    f"the response {response.id} was not made in the background; those are cancelled by closing their "
                    "connection",
                    code="response_not_cancellable",
                    param="response_id",
                )
            if not response.is_open:
                raise ConflictError(
                    f"the response {response.id} is {response.status} and cannot be cancelled",
                    code="response_not_cancellable",
                    param="response_id",
                )
            return replace(response, document={**response.document, "status": CANCELLED}, order=None)

        with reaching_jetstream():
            return _document(await self._store.change(tenant, request.path_params["response_id"], cancelled))

    @operation(
        "GET",
        f"{_ONE}/input_items",
        "List what a response was made from",
        answer=Paged[dict[str, Any]],
        query=(*_PAGE, *_INCLUDE),
    )
    async def _input_items(self, request: Request) -> Response:
        _check_include(request)
        page = _PAGE.of(request)
        stored = await self._stored(request)
        items = [*stored.earlier, *stored.items]
        if page.descending:
            items.reverse()
        if page.after:
            places = [place for place, item in enumerate(items) if item.get("id") == page.after]
            if not places:
                raise InvalidRequestError(
                    f"after is {page.after[:80]!r}, which is no item of {stored.id}", param="after"
                )
            items = items[places[-1] + 1 :]
        return _json(list_document(items[: page.limit], has_more=len(items) > page.limit))

    async def _stored(self, request: Request) -> StoredResponse:
        tenant = self._credentials.tenant(request.headers)
        with reaching_jetstream():
            return await self._store.get(tenant, request.path_params["response_id"])


def _check_include(request: Request) -> None:
    for parameter in _INCLUDE:
        for value in parameter.all_of(request):
            if value not in _INCLUDED:
                raise not_served("include", f"{value[:60]!r} is of what OpenAI keeps or runs itself")


def _document(response: StoredResponse) -> Response:
    return _json(response.document)


def _json(value: object) -> Response:
    return Response(exact_json.write(value), media_type="application/json")
