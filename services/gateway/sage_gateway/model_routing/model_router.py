"""The one place where a request's name of a model becomes a served model: every API of the gateway goes through it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from sage_common.clock import Clock
from sage_common.errors import UnavailableError
from sage_common.model_routes import FallbackReason, ModelRoute
from sage_common.tasks import end_tasks
from sage_control_plane.request.catalog import ModelCatalog
from sage_gateway.model_routing.route_plan import Routes, models_behind, plan_of, sticky_draw
from sage_gateway.model_routing.routed_body import may_name, read_routed, sticky_key
from sage_gateway.model_routing.routed_request import RoutedRequest, Submitter
from sage_mesh.inference_request import DEFAULT_TENANT, InferenceRequest


class ModelRouter:
    """Finds out whether a request names a model route, and what it tries then.

    Args:
        routes: those that are kept, by name, as of now.
        is_read: whether they have been read from NATS since the start.
        catalog: the models that are served now.
        on_fallback: told of the route and the reason where a request goes on with another model.
        random_numbers: decide over requests that say nothing of whom they are for.
        fail_open: whether requests pass before the routes have been read, to served models only.
    """

    def __init__(
        self,
        edge: Submitter,
        routes: Callable[[], Routes],
        is_read: Callable[[], bool],
        catalog: Callable[[], ModelCatalog],
        clock: Clock,
        on_fallback: Callable[[str, FallbackReason], None],
        random_numbers: random.Random,
        *,
        fail_open: bool = False,
    ) -> None:
        self._edge = edge
        self._routes = routes
        self._is_read = is_read
        self._catalog = catalog
        self._clock = clock
        self._on_fallback = on_fallback
        self._random = random_numbers
        self._fail_open = fail_open
        self._passing: set[asyncio.Task[None]] = set()

    @property
    def unread(self) -> bool:
        """Whether nobody knows the routes yet."""
        return not (self._is_read() or self._fail_open)

    def routed(self, request: InferenceRequest) -> RoutedRequest | None:
        """Return the request with what it tries; None where it names no route. A body is read where it may name one.

        Raises:
            UnavailableError: the routes have not been read yet.
            UnprocessableError: the route leads to no served model.
        """
        routes = self._routes()
        if not routes:
            if self.unread:
                raise UnavailableError(
                    "the model routes of the mesh could not be read from NATS yet; try again, and look at the NATS "
                    "server",
                    code="model_routes_unread",
                    retryable=True,
                )
            return None
        if not may_name(request.body, routes):
            return None
        body = read_routed(request.body)
        name = None if body is None else body.get("model")
        if body is None or not isinstance(name, str) or name not in routes:
            return None
        tenant, key = request.tenant or DEFAULT_TENANT, sticky_key(body)

        def draw(route: ModelRoute) -> float:
            return sticky_draw(route, tenant, key) if key else self._random.random()

        plan = plan_of(routes, name, draw)
        return RoutedRequest(request, body, plan, self._edge, self._catalog, self._clock, self._pass, self._on_fallback)

    def served_name(self, model: str) -> str:
        """Return the first model behind a name that is served; the name itself where it is no route's.

        For what is asked about a model, not of it: its tokens, what it can do. Of a split it is the first target.
        """
        behind = self.models_behind(model)
        served = {name for entry in self._catalog().entries for name in entry.card.names}
        return next((each for each in behind if each in served), model)

    def models_behind(self, name: str) -> tuple[str, ...]:
        """Return the served models that may answer for a name; none where it is no route's, or leads to none."""
        routes = self._routes()
        return models_behind(routes, name) if name in routes else ()

    @property
    def names(self) -> list[str]:
        """The names of the routes, sorted."""
        return sorted(self._routes())

    async def stop(self) -> None:
        """Stop passing answers on; after the last request has ended."""
        await end_tasks(*self._passing)

    def _pass(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="routed-answer")
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
