"""``/v1/models``, and the state of the mesh as the gateway sees it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from nats.errors import Error as NatsError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.edge_factory import OpenEdge
from sage_client.models import ModelInfo, model_of_entry, model_to_json
from sage_common.errors import NotFoundError, describe
from sage_common.name_list import shown_names
from sage_control_plane.request.catalog import ModelCatalog
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.readiness import Readiness
from sage_platform.registry import Instance

ListInstances = Callable[[], Awaitable[list[Instance]]]
# The registry is asked over NATS; the answer without it is better than none.
REGISTRY_TIMEOUT_SECONDS = 2.0


class CatalogRoutes:
    """Serves the models and services that the gateway knows."""

    def __init__(
        self,
        edge_id: str,
        edge: OpenEdge,
        readiness: Readiness,
        credentials: Credentials,
        list_instances: ListInstances,
    ) -> None:
        self._edge_id = edge_id
        self._edge = edge
        self._readiness = readiness
        self._credentials = credentials
        self._list_instances = list_instances
        self._started_at = time.time()

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return [
            Route("/v1/models", self._models),
            Route("/v1/models/{model:path}", self._model),
            Route("/v1/management/status", self._status),
        ]

    async def _models(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        entries = self._edge.directory.catalog.entries
        return json_answer({"object": "list", "data": [self._model_json(model_of_entry(entry)) for entry in entries]})

    async def _model(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        return json_answer(self._model_json(_find(self._edge.directory.catalog, request.path_params["model"])))

    async def _status(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        reason = self._readiness.reason()
        services, problem = await self._services()
        return json_answer(
            {
                "edge_id": self._edge_id,
                "ready": not reason,
                "reason": reason,
                "loading": self._readiness.loading,
                "uptime_seconds": round(time.time() - self._started_at, 3),
                "in_flight": self._edge.edge.in_flight,
                "feature_extractor": self._edge.feature_extractor,
                "models": [entry.card.name for entry in self._edge.directory.catalog.entries],
                "engines": len(self._edge.directory.engines),
                "services": services,
                "services_problem": problem,
            }
        )

    async def _services(self) -> tuple[list[dict[str, Any]], str]:
        try:
            instances = await asyncio.wait_for(self._list_instances(), REGISTRY_TIMEOUT_SECONDS)
        except (NatsError, asyncio.TimeoutError) as error:
            return [], f"the registry does not answer: {describe(error)}"
        return [asdict(instance) for instance in instances], ""

    def _model_json(self, model: ModelInfo) -> dict[str, Any]:
        # Engines do not say when their model was made; the gateway's start is the one moment that stays the same.
        return model_to_json(model, int(self._started_at))


def _find(catalog: ModelCatalog, name: str) -> ModelInfo:
    for entry in catalog.entries:
        if name in entry.card.names:
            return model_of_entry(entry)
    known = shown_names(entry.card.name for entry in catalog.entries) or "none yet"
    raise NotFoundError(
        f"the model {name!r} does not exist; known models: {known}", code="model_not_found", param="model"
    )
