"""What lets requests into the mesh."""

from __future__ import annotations

from typing import Protocol

from sage_gateway.asgi import Headers
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
