"""The management API: policies, engines and decisions over REST, through the services that answer for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import TypedDict

from sage_client.management.mesh_management import DRAIN_SECONDS, MOST_DRAIN_SECONDS, MeshManagement
from sage_client.management.translation import engine_view
from sage_client.management.views import (
    EngineRemoval,
    EngineRestart,
    EngineView,
    Explanation,
    PolicyChange,
    PolicyInForce,
    PoolView,
    RequestView,
)
from sage_client.presets.preset import EnginePreset, built_in
from sage_common.errors import NotFoundError, UnavailableError
from sage_gateway.credentials import Credentials
from sage_gateway.engine_orders import EngineOrder, LoraOrder, PolicyOrder
from sage_gateway.event_stream import json_answer
from sage_gateway.openapi.answers import Listed
from sage_gateway.openapi.operation import TEXT, Access, operation, routes_of
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.order_origin import admit_order
from sage_gateway.query_parameters import Count, Flag, Seconds, Text
from sage_mesh.directory import EngineDirectory

_POLICY, _ENGINES = "/v1/management/policy", "/v1/management/engines"
_POOLS, _REQUESTS = "/v1/management/pools", "/v1/management/requests"
# An id may hold a slash; the longer paths come first, so that they are not taken for one.
_ENGINE = f"{_ENGINES}/{{engine_id:path}}"
_POOL = Text("pool", "empty for the default one")
_DRAIN = Flag("drain", "let its requests end first")
_UNDO = Flag("undo", "give it work again")
_TIMEOUT = Seconds("timeout_seconds", DRAIN_SECONDS, MOST_DRAIN_SECONDS, "longest wait for its requests to end")
_LINES = Count("lines", "lines", about="of the end of the log; 0 for all that is kept")
_FOLLOW = Flag("follow", "go on while it writes")
_TENANT = Text("tenant", "whose, for operators; empty for everybody's")
_CHANGED = Count("changed_within_ms", "milliseconds", about="within which something was decided about them; 0 for all")
_LIMIT = Count("limit", "requests", 500, "how many at most", most=10_000)


class NamedPreset(EnginePreset):
    """A preset that SAGE brings."""

    preset: str


class Decisions(TypedDict):
    """What each scheduler decided about a request, the last to decide first."""

    request_id: str
    decisions: list[Explanation]


class ManagementRoutes:
    """Serves operators, and tenants who ask about their own requests."""

    def __init__(
        self,
        management: MeshManagement,
        directory: EngineDirectory,
        credentials: Credentials,
        body_timeout_seconds: float,
    ) -> None:
        self._management = management
        self._directory = directory
        self._credentials = credentials
        self._bodies = OrderBodies(body_timeout_seconds)

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("GET", _POLICY, "Get the policy of a pool", answer=PolicyInForce, query=(_POOL,))
    async def _policy(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        return json_answer(asdict(await self._management.policy(_POOL.of(request))))

    @operation("PUT", _POLICY, "Set the policy", body=PolicyOrder, answer=PolicyChange, access=Access.OPERATOR)
    async def _set_policy(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, PolicyOrder)
        return json_answer(asdict(await self._management.set_policy(order.policy, order.pool, order.settings)))

    @operation("GET", _POOLS, "List pools", answer=Listed[PoolView])
    async def _pools(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        return json_answer({"object": "list", "data": [asdict(pool) for pool in await self._management.pools()]})

    @operation(
        "GET", _REQUESTS, "List the latest requests", answer=Listed[RequestView], query=(_TENANT, _CHANGED, _LIMIT)
    )
    async def _latest_requests(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        found = await self._management.requests.latest(
            tenant=(_TENANT.of(request) or None) if self._credentials.operates(request.headers) else tenant,
            changed_within_ms=_CHANGED.of(request),
            limit=_LIMIT.of(request),
        )
        return json_answer({"object": "list", "data": found})

    @operation("GET", _ENGINES, "List engines", answer=Listed[EngineView])
    async def _engines(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        engines = await self._listed()
        if not self._credentials.operates(request.headers):
            # What follows the first line are a server's last words, which may quote prompts.
            engines = [{**engine, "reason": engine["reason"].partition("\n")[0]} for engine in engines]
        return json_answer({"object": "list", "data": engines})

    @operation(
        "POST",
        _ENGINES,
        "Take a server in, or start one",
        body=EngineOrder,
        answer=EngineView,
        status=201,
        access=Access.OPERATOR,
    )
    async def _add_engine(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, EngineOrder)
        if order.url:
            engine = await self._management.register_engine(order.registration())
        else:
            engine = await self._management.start_engine(order.start())
        return json_answer(asdict(engine), 201)

    async def _listed(self) -> list[dict[str, Any]]:
        try:
            return [asdict(engine) for engine in await self._management.engines()]
        except UnavailableError:
            # Without a scheduler there are no counts, but the engines' heartbeats arrive all the same.
            age = self._directory.heartbeat_age_seconds
            engines = sorted(self._directory.engines.items())
            return [asdict(engine_view(e, heartbeat_age_seconds=age(e.executor_id))) for _, e in engines]

    @operation(
        "POST",
        f"{_ENGINE}/drain",
        "Give an engine no new work",
        answer=EngineView,
        query=(_UNDO,),
        access=Access.OPERATOR,
    )
    async def _drain(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        undo = _UNDO.of(request)
        return json_answer(asdict(await self._management.drain_engine(request.path_params["engine_id"], undo=undo)))

    @operation(
        "POST",
        f"{_ENGINE}/restart",
        "Restart an engine that SAGE started",
        answer=EngineRestart,
        query=(_DRAIN, _TIMEOUT),
        access=Access.OPERATOR,
    )
    async def _restart(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        drain, timeout_seconds = _DRAIN.of(request), _TIMEOUT.of(request)
        engine_id = request.path_params["engine_id"]
        restart = await self._management.restart_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return json_answer(asdict(restart))

    @operation("GET", "/v1/management/engine_presets", "List presets", answer=Listed[NamedPreset])
    async def _presets(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        data = [NamedPreset(preset=name, **preset.model_dump()).model_dump() for name, preset in built_in().items()]
        return json_answer({"object": "list", "data": data})

    @operation(
        "GET",
        f"{_ENGINE}/logs",
        "Read what an engine's server writes",
        raw_answer={"text/plain": TEXT},
        query=(_LINES, _FOLLOW),
        access=Access.OPERATOR,
    )
    async def _logs(self, request: Request) -> Response:
        # What a server writes may quote prompts.
        self._credentials.operator(request.headers)
        lines, follow = _LINES.of(request), _FOLLOW.of(request)
        logs = self._management.engine_logs(request.path_params["engine_id"], lines=lines, follow=follow)
        # A refusal must come before the head of the answer is sent.
        first = await anext(logs, None)
        return StreamingResponse(_text(first, logs), media_type="text/plain; charset=utf-8")

    @operation(
        "POST",
        f"{_ENGINE}/lora",
        "Load an adapter",
        body=LoraOrder,
        answer=EngineView,
        status=201,
        access=Access.OPERATOR,
    )
    async def _load_lora(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, LoraOrder)
        engine_id = request.path_params["engine_id"]
        return json_answer(asdict(await self._management.load_lora(engine_id, order.name, order.path)), 201)

    @operation("DELETE", f"{_ENGINE}/lora/{{name}}", "Unload an adapter", answer=EngineView, access=Access.OPERATOR)
    async def _unload_lora(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        path = request.path_params
        return json_answer(asdict(await self._management.unload_lora(path["engine_id"], path["name"])))

    @operation(
        "DELETE",
        _ENGINE,
        "Remove an engine",
        answer=EngineRemoval,
        query=(_DRAIN, _TIMEOUT),
        access=Access.OPERATOR,
    )
    async def _remove(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        drain, timeout_seconds = _DRAIN.of(request), _TIMEOUT.of(request)
        engine_id = request.path_params["engine_id"]
        removal = await self._management.remove_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return json_answer(asdict(removal))

    @operation(
        "GET",
        "/v1/management/decisions/{request_id:path}",
        "Explain what was decided about a request",
        answer=Decisions,
    )
    async def _decision(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        request_id = request.path_params["request_id"]
        if self._credentials.operates(request.headers):
            explanations = await self._management.explain(request_id)
        else:
            explanations = await self._management.explain(request_id, tenant)
            # As a scheduler of an earlier version does not look at the tenant.
            explanations = [explanation for explanation in explanations if explanation.tenant == tenant]
            if not explanations:
                # A tenant must not learn whether another has such a request.
                raise NotFoundError(f"no scheduler remembers a request {request_id!r}", code="request_not_found")
        return json_answer({"request_id": request_id, "decisions": [asdict(one) for one in explanations]})


async def _text(first: str | None, lines: AsyncIterator[str]) -> AsyncIterator[str]:
    if first is not None:
        yield f"{first}\n"
    async for line in lines:
        yield f"{line}\n"
