"""``/v1/models``, and the state of the mesh as the gateway sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from nats.errors import Error as NatsError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from sage_client.edge_factory import OpenEdge
from sage_client.models import ModelDocument, ModelInfo, model_to_json
from sage_common.errors import NotFoundError, describe
from sage_common.name_list import shown_names
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.model_routing.listed_models import listed_models
from sage_gateway.model_routing.model_router import ModelRouter
from sage_gateway.openapi.answers import Listed
from sage_gateway.openapi.operation import operation, routes_of
from sage_gateway.query_parameters import ANY
from sage_gateway.readiness import Readiness
from sage_platform.registry import Instance

ListInstances = Callable[[], Awaitable[list[Instance]]]
# The registry is asked over NATS; the answer without it is better than none.
REGISTRY_TIMEOUT_SECONDS = 2.0


class MeshStatus(TypedDict):
    """The mesh as one gateway sees it; ``reason`` says why it is not ready, ``services_problem`` what is not known."""

    edge_id: str
    ready: bool
    reason: str
    loading: list[str]
    uptime_seconds: float
    in_flight: int
    feature_extractor: str
    models: list[str]
    engines: int
    services: list[Instance]
    services_problem: str


class CatalogRoutes:
    """Serves the models and services that the gateway knows."""

    def __init__(
        self,
        edge_id: str,
        edge: OpenEdge,
        readiness: Readiness,
        credentials: Credentials,
        list_instances: ListInstances,
        router: ModelRouter | None = None,
    ) -> None:
        self._edge_id = edge_id
        self._edge = edge
        self._readiness = readiness
        self._credentials = credentials
        self._list_instances = list_instances
        self._router = router
        self._started_at = time.time()

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    # Tools of all kinds say here who they are, or page: the list is a whole one whatever they ask.
    @operation("GET", "/v1/models", "List the models", answer=Listed[ModelDocument], query=ANY)
    async def _models(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        return json_answer({"object": "list", "data": [self._model_json(model) for model in self._listed()]})

    @operation("GET", "/v1/models/{model:path}", "Get a model", answer=ModelDocument, query=ANY)
    async def _model(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        return json_answer(self._model_json(_find(self._listed(), request.path_params["model"])))

    def _listed(self) -> list[ModelInfo]:
        return listed_models(self._edge.directory.catalog, self._router)

    @operation("GET", "/v1/management/status", "Get the state of the mesh", answer=MeshStatus)
    async def _status(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        reason = self._readiness.reason()
        services, problem = await self._services()
        status: MeshStatus = {
            "edge_id": self._edge_id,
            "ready": not reason,
            "reason": reason,
            "loading": list(self._readiness.loading),
            "uptime_seconds": round(time.time() - self._started_at, 3),
            "in_flight": self._edge.edge.in_flight,
            "feature_extractor": self._edge.feature_extractor,
            "models": [entry.card.name for entry in self._edge.directory.catalog.entries],
            "engines": len(self._edge.directory.engines),
            "services": services,
            "services_problem": problem,
        }
        return json_answer(status)

    async def _services(self) -> tuple[list[Instance], str]:
        try:
            instances = await asyncio.wait_for(self._list_instances(), REGISTRY_TIMEOUT_SECONDS)
        except (NatsError, asyncio.TimeoutError) as error:
            return [], f"the registry does not answer: {describe(error)}"
        return instances, ""

    def _model_json(self, model: ModelInfo) -> ModelDocument:
        # Engines do not say when their model was made; the gateway's start is the one moment that stays the same.
        return model_to_json(model, int(self._started_at))


def _find(models: list[ModelInfo], name: str) -> ModelInfo:
    # A model route goes before the alias of a served model.
    for model in sorted(models, key=lambda each: each.id != name):
        if name == model.id or name in model.aliases:
            return model
    known = shown_names(model.id for model in models) or "none yet"
    raise NotFoundError(
        f"the model {name!r} does not exist; known models: {known}", code="model_not_found", param="model"
    )
