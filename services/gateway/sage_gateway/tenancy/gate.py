"""What lets requests into the mesh."""

from __future__ import annotations

from typing import Protocol

from sage_gateway.asgi import Headers, Message, Send
from sage_mesh.edge.edge import Edge
from sage_mesh.inference_request import InferenceRequest
from sage_mesh.reply import Reply


class Gate(Protocol):
    """Lets requests into the mesh."""

    async def submit(self, request: InferenceRequest) -> Reply:
        """Submit a request. Raises SageError where it is refused."""
        ...

    def headers(self, tenant: str) -> Headers:
        """Return what an answer says of its tenant's rates."""
        ...


class OpenGate:
    """Lets everything in."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def submit(self, request: InferenceRequest) -> Reply:
        return self._edge.submit(request)

    def headers(self, tenant: str) -> Headers:
        return []


def naming_rates(send: Send, gate: Gate, tenant: str) -> Send:
    """Return ``send`` with what an answer says of its tenant's rates, as they are when it begins."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start" and (rates := gate.headers(tenant)):
            message["headers"] = [*message["headers"], *rates]
        await send(message)

    return sending
