"""Where the objects meet that resolve the names of models at a gateway."""

from __future__ import annotations

import random
from dataclasses import dataclass

from nats.js.client import JetStreamContext

from sage_client.edge_factory import OpenEdge
from sage_common.clock import Clock
from sage_common.model_routes import ModelRoute
from sage_gateway.model_routing.model_router import ModelRouter
from sage_gateway.model_routing.routed_request import OnFallback
from sage_platform.operator_records import model_route_records
from sage_platform.record_store import RecordStore


@dataclass(frozen=True, slots=True)
class ModelRouting:
    """The model routes of the mesh, and what goes by them."""

    routes: RecordStore[ModelRoute]
    router: ModelRouter

    def reconnected(self) -> None:
        """Read the routes again after a loss of the connection."""
        self.routes.reconnected()

    async def start(self) -> None:
        """Follow the routes."""
        await self.routes.start()

    async def stop(self) -> None:
        """Stop. After the last request has ended."""
        await self.router.stop()
        await self.routes.stop()


def assemble_routing(
    js: JetStreamContext,
    edge: OpenEdge,
    clock: Clock,
    on_fallback: OnFallback,
    *,
    fail_open: bool = False,
    seed: int | None = None,
) -> ModelRouting:
    """Put together what resolves names of models.

    Args:
        on_fallback: told of the route and the reason where a request goes on with another model.
        fail_open: whether requests pass before the routes have been read, to served models only.
        seed: of the numbers that split requests which say nothing of whom they are for; None for one of its own.
    """
    routes = model_route_records(js)
    router = ModelRouter(
        edge.edge,
        lambda: routes.records,
        lambda: routes.is_read,
        lambda: edge.directory.catalog,
        clock,
        on_fallback,
        random.Random(seed),
        fail_open=fail_open,
    )
    return ModelRouting(routes, router)
