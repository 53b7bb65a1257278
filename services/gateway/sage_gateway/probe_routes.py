"""Liveness, readiness and metrics, for those who watch over the gateway."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import NotRequired, TypedDict

from sage_common.errors import UnavailableError
from sage_gateway.event_stream import json_answer
from sage_gateway.openapi.operation import TEXT, Access, operation, routes_of
from sage_gateway.query_parameters import ANY
from sage_gateway.readiness import Readiness


class Alive(TypedDict):
    """The process lives."""

    status: Literal["ok"]


class Ready(TypedDict):
    """Requests are answered; ``loading`` names models that are not there yet."""

    status: Literal["ready"]
    loading: NotRequired[list[str]]


class ProbeRoutes:
    """Answers anybody, whatever the query says: probes put what they like there."""

    def __init__(self, readiness: Readiness, registry: CollectorRegistry) -> None:
        self._readiness = readiness
        self._registry = registry

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("GET", "/health", "Say whether the process lives", answer=Alive, query=ANY, access=Access.OPEN)
    async def _health(self, _request: Request) -> Response:
        alive: Alive = {"status": "ok"}
        return json_answer(alive)

    @operation("GET", "/ready", "Say whether requests are answered", answer=Ready, query=ANY, access=Access.OPEN)
    async def _ready(self, _request: Request) -> Response:
        reason = self._readiness.reason()
        if reason:
            raise UnavailableError(reason, code="not_ready")
        loading = self._readiness.loading
        ready: Ready = {"status": "ready", "loading": loading} if loading else {"status": "ready"}
        return json_answer(ready)

    @operation(
        "GET",
        "/metrics",
        "Get figures for Prometheus",
        raw_answer={"text/plain": TEXT},
        query=ANY,
        access=Access.OPEN,
    )
    async def _metrics(self, _request: Request) -> Response:
        return Response(generate_latest(self._registry), headers={"content-type": CONTENT_TYPE_LATEST})
