"""A request for inference as its caller states it: to a client's transport, and to an edge."""

from __future__ import annotations

import os
from typing import Final

from sage_common.labels import MAX_LABEL_CHARACTERS, check_label, is_label
from sage_common.value_type import value_type
from sage_control_plane.request.request import NO_HINTS, Endpoint, Hints, RoutedModel

# The tenant of a caller who names none.
DEFAULT_TENANT: Final = "default"

MAX_CORRELATION_ID_CHARACTERS: Final = MAX_LABEL_CHARACTERS


@value_type
class InferenceRequest:
    """One request. Like ``sage.inference.v1.InferenceRequest``, without what an edge adds to submit it.

    Attributes:
        correlation_id: its caller's id for it, for logs, headers and explanations; None where it gave none. The edge
            makes the key by which the mesh knows the request, so several in flight may have the same correlation id.
        body: OpenAI's JSON for the endpoint.
        tenant: who pays and shares; None leaves it to the server, which takes ``DEFAULT_TENANT`` or the API key's.
        hints: how urgent it is.
        timeout_seconds: longest wait for the whole answer, from when an edge accepts it.
        traceparent: W3C trace context; empty for none.
        key_id: of the API key that it came with, where the mesh has issued it, for accounts; it does not travel.
        routed: how its edge came to the model that the body names; None where its caller named that model.
        body_object: of the parts of the body that travel beside it; empty where it is whole.
    """

    correlation_id: str | None
    endpoint: Endpoint
    body: bytes
    tenant: str | None = None
    hints: Hints = NO_HINTS
    timeout_seconds: float = 600.0
    traceparent: str = ""
    key_id: str = ""
    routed: RoutedModel | None = None
    body_object: str = ""


def new_request_id() -> str:
    """Return an id that no other request has, and that nobody can guess."""
    return f"req-{os.urandom(12).hex()}"


def usable_correlation_id(given: str) -> str | None:
    """Return a caller's id without the blanks around it; None where it is missing or unfit for headers and logs."""
    stripped = given.strip()
    return stripped if is_label(stripped, MAX_CORRELATION_ID_CHARACTERS) else None


def check_correlation_id(given: str | None) -> str | None:
    """Return a caller's id; None where it is missing or empty.

    Raises:
        InvalidRequestError: it is longer than ``MAX_CORRELATION_ID_CHARACTERS`` or not printable ASCII.
    """
    return check_label(given or "", "request_id", MAX_CORRELATION_ID_CHARACTERS) or None
