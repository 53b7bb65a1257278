"""What the headers of an inference request say, read once, before its body."""

from __future__ import annotations

from collections.abc import Mapping

from sage_client import headers as names
from sage_client.headers import hints_from_headers, milliseconds
from sage_common.errors import UnsupportedMediaTypeError
from sage_common.trace_context import usable_traceparent
from sage_common.value_type import value_type
from sage_control_plane.request.request import NO_HINTS, Hints
from sage_gateway.asgi import Scope
from sage_gateway.credentials import Credentials
from sage_mesh.inference_request import new_request_id, usable_correlation_id

_HINTS = frozenset(names.HINT_HEADERS)
# Everything that the gateway looks at; the rest is not even decoded.
_WANTED = {
    name.encode(): name
    for name in (
        *names.HINT_HEADERS,
        names.REQUEST_ID,
        names.TENANT,
        names.TIMEOUT_MS,
        names.TRACEPARENT,
        "authorization",
        "content-encoding",
        "content-type",
        "content-length",
        "expect",
    )
}


@value_type
class Admitted:
    """What the headers of a request say; ``timeout_seconds`` is None where the caller sets no limit."""

    tenant: str
    key_id: str
    hints: Hints
    timeout_seconds: float | None
    traceparent: str


def wanted_headers(scope: Scope) -> dict[str, str]:
    """Return the headers that the gateway reads, names in lower case."""
    found: dict[str, str] = {}
    wanted = _WANTED
    for raw, value in scope["headers"]:
        name = wanted.get(raw)
        if name is not None:
            found[name] = value.decode("latin-1")
    return found


def correlation_id_of(headers: dict[str, str]) -> str | None:
    """Return the caller's id for the request; None where it gave none, or one that is unfit for headers and logs."""
    return usable_correlation_id(headers.get(names.REQUEST_ID, ""))


def request_id_of(headers: dict[str, str]) -> str:
    """Return the id to answer a request with that no engine answers: the caller's, or a new one."""
    return correlation_id_of(headers) or new_request_id()


def admit(headers: dict[str, str], credentials: Credentials) -> Admitted:
    """Check the headers.

    Raises:
        UnauthenticatedError, PermissionDeniedError: see :class:`Credentials`.
        UnsupportedMediaTypeError: by the headers the body is not JSON, or is compressed.
        InvalidRequestError: a header's value is not understood; ``param`` names the header.
    """
    principal = credentials.principal(headers)
    _check_media_type(headers.get("content-type"))
    _check_encoding(headers.get("content-encoding"))
    return Admitted(
        tenant=principal.tenant,
        key_id=principal.key_id,
        hints=NO_HINTS if _HINTS.isdisjoint(headers) else hints_from_headers(headers),
        timeout_seconds=milliseconds(headers, names.TIMEOUT_MS) / 1000 or None,
        traceparent=traceparent_of(headers),
    )


def is_json_type(value: str) -> bool:
    """Whether a Content-Type says JSON."""
    media_type = value.partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _check_media_type(value: str | None) -> None:
    if value is None or value == "application/json" or is_json_type(value):
        return
    raise UnsupportedMediaTypeError(
        f"content type {value[:80]!r} is not understood; send JSON with 'Content-Type: application/json'"
    )


def _check_encoding(value: str | None) -> None:
    # RFC 9110, §8.4: bytes that are not decoded must not be taken for the body.
    if value is not None and value.strip().lower() not in ("", "identity"):
        raise UnsupportedMediaTypeError(
            f"content encoding {value[:80]!r} is not understood; send the body as it is, without 'Content-Encoding'"
        )


def traceparent_of(headers: Mapping[str, str]) -> str:
    """Return the caller's trace context; empty for none, and for another form (W3C Trace Context, §3.2)."""
    return usable_traceparent(headers.get(names.TRACEPARENT, ""))
