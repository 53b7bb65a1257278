"""The shape of errors that arise outside the endpoints: of the API whose path was asked."""

from __future__ import annotations

from typing import Final

from sage_client import headers as names
from sage_client.error_body import error_body, status_of
from sage_common.errors import SageError
from sage_gateway.admission import request_id_of, wanted_headers
from sage_gateway.asgi import JSON, Headers, Scope, Send, retry_headers, send_whole
from sage_gateway.dialects.anthropic_errors import anthropic_error

_MESSAGES: Final = "/v1/messages"
_REQUEST_ID: Final = names.REQUEST_ID.encode()


def id_headers(path: str, request_id: str) -> Headers:
    """Return the headers that name a request: SAGE's own, and Anthropic's on the paths of its API."""
    named = request_id.encode()
    return [(_REQUEST_ID, named), (b"request-id", named)] if _is_anthropic(path) else [(_REQUEST_ID, named)]


def shaped_error(path: str, error: SageError, request_id: str) -> tuple[int, Headers, bytes]:
    """Return the status, the headers but those that name the request, and the body of an error."""
    headers: Headers = [JSON, *retry_headers(error)]
    if _is_anthropic(path):
        status, body = anthropic_error(error, request_id)
        return status, headers, body
    return status_of(error), headers, error_body(error)


async def refuse_unread(scope: Scope, send: Send, error: SageError) -> None:
    """Answer a request whose body is not read with an error; its connection is of no further use."""
    path, request_id = scope["path"], request_id_of(wanted_headers(scope))
    status, headers, body = shaped_error(path, error, request_id)
    await send_whole(send, status, [*headers, *id_headers(path, request_id), (b"connection", b"close")], body)


def _is_anthropic(path: str) -> bool:
    return path == _MESSAGES or path.startswith(f"{_MESSAGES}/")
