"""A request for inference as its caller states it: to a client's transport, and to an edge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from sage_control_plane.request.request import Endpoint, Hints

# The tenant of a caller who names none.
DEFAULT_TENANT: Final = "default"


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """One request. Like ``sage.inference.v1.InferenceRequest``, without what an edge adds to submit it.

    Attributes:
        request_id: unique among the requests in flight.
        body: OpenAI's JSON for the endpoint.
        tenant: who pays and shares; None leaves it to the server, which takes ``DEFAULT_TENANT`` or the API key's.
        hints: how urgent it is.
        timeout_seconds: longest wait for the whole answer, from when an edge accepts it.
        traceparent: W3C trace context; empty for none.
    """

    request_id: str
    endpoint: Endpoint
    body: bytes
    tenant: str | None = None
    hints: Hints = Hints()
    timeout_seconds: float = 600.0
    traceparent: str = ""


def new_request_id() -> str:
    """Return an id that no other request has."""
    return f"req-{os.urandom(12).hex()}"
