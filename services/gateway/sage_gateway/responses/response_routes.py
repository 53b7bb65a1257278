"""``/v1/responses/{id}``: stored responses, as OpenAI's API has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_common.errors import ConflictError, InvalidRequestError
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.fields import not_served
from sage_gateway.listing import list_document, read_page
from sage_gateway.query_parameters import flag
from sage_gateway.responses.response_store import ResponseStore
from sage_gateway.responses.stored_response import CANCELLED, StoredResponse
from sage_mesh import exact_json
from sage_platform.jetstream_access import reaching_jetstream

_DEFAULT_LISTED = 20
_MOST_LISTED = 100
# What an answer has where its engine told of it.
_INCLUDED = ("message.output_text.logprobs", "reasoning.encrypted_content")
_INCLUDE = ("include", "include[]")


class ResponseRoutes:
    """Serves tenants with their own responses; those of another are not there.

    Args:
        now: seconds since 1970-01-01 UTC.
    """

    def __init__(self, store: ResponseStore, credentials: Credentials, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._credentials = credentials
        self._now = now

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        one = "/v1/responses/{response_id}"
        return [
            Route(one, self._get, methods=["GET"]),
            Route(one, self._delete, methods=["DELETE"]),
            Route(f"{one}/cancel", self._cancel, methods=["POST"]),
            Route(f"{one}/input_items", self._input_items, methods=["GET"]),
        ]

    async def _get(self, request: Request) -> Response:
        _check_include(request)
        for name in request.query_params:
            if name not in (*_INCLUDE, "stream", "starting_after", "include_obfuscation"):
                raise InvalidRequestError(
                    f"{name[:80]!r} is not a parameter that is known here; leave it out",
                    code="unknown_parameter",
                    param=name[:80],
                )
        if flag(request, "stream") or "starting_after" in request.query_params:
            raise not_served(
                "stream", "a stored response is told as it is; poll until its status says that it has ended"
            )
        if flag(request, "include_obfuscation"):
            raise not_served("include_obfuscation", "events are not padded")
        return _document(await self._stored(request))

    async def _delete(self, request: Request) -> Response:
        tenant, response_id = self._credentials.tenant(request.headers), request.path_params["response_id"]
        with reaching_jetstream():
            await self._store.remove(tenant, response_id)
        return _json({"id": response_id, "object": "response", "deleted": True})

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

    async def _input_items(self, request: Request) -> Response:
        _check_include(request)
        page = read_page(request, default_limit=_DEFAULT_LISTED, most=_MOST_LISTED, known=_INCLUDE)
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
    for name in _INCLUDE:
        for value in request.query_params.getlist(name):
            if value not in _INCLUDED:
                raise not_served("include", f"{value[:60]!r} is of what OpenAI keeps or runs itself")


def _document(response: StoredResponse) -> Response:
    return _json(response.document)


def _json(value: object) -> Response:
    return Response(exact_json.write(value), media_type="application/json")
