"""Sending an error in the shape of an API that is served by translation."""

from __future__ import annotations

from sage_common.errors import InvalidRequestError, SageError
from sage_gateway.asgi import CLIENT_GONE, JSON, ClientGoneError, Headers, Scope, Send, retry_headers, send_whole
from sage_gateway.dialects.dialect import Dialect
from sage_gateway.inference import CLOSE

_WRONG_METHOD = "method_not_allowed"


def check_method(scope: Scope) -> None:
    """Raise InvalidRequestError for another method than POST."""
    if scope["method"] != "POST":
        raise InvalidRequestError(f"method {scope['method']} is not allowed here; use POST", code=_WRONG_METHOD)


async def send_refusal(
    send: Send, dialect: Dialect, error: SageError, request_id: str, *, body_expected: bool = False
) -> int:
    """Send an error; return the status sent.

    Args:
        body_expected: whether the client holds its body back until it is asked for it, which it now never will be.
    """
    status, body = dialect.error(error, request_id)
    headers: Headers = [JSON, *dialect.id_headers(request_id)]
    if error.code == _WRONG_METHOD:
        status = 405
        headers.append((b"allow", b"POST"))
    if body_expected:
        headers.append(CLOSE)
    headers += retry_headers(error)
    try:
        await send_whole(send, status, headers, body)
    except ClientGoneError:
        return CLIENT_GONE
    return status
