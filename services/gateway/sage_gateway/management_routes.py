"""The management API: policies, engines and decisions over REST, through the services that answer for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sage_client.management.mesh_management import DRAIN_SECONDS, MOST_DRAIN_SECONDS, MeshManagement
from sage_client.management.translation import engine_view
from sage_client.management.views import EngineRegistration, EngineStart
from sage_client.presets.preset import EnginePreset, built_in, named
from sage_common.errors import (
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from sage_gateway.credentials import Credentials
from sage_gateway.event_stream import json_answer
from sage_gateway.order_bodies import Order, OrderBodies
from sage_gateway.order_origin import admit_order
from sage_gateway.query_parameters import count, flag
from sage_mesh.directory import EngineDirectory

# Of an order that starts a server; the others go with any engine.
START_FIELDS = (
    "model",
    "preset",
    "served_model_name",
    "arguments",
    "environment",
    "device",
    "port",
    "memory_check",
)
# Of one that takes a server in.
REGISTRATION_FIELDS = ("api_key", "models", "health_path")


class PolicyOrder(Order):
    """Body of ``PUT /v1/management/policy``; no pool means every pool."""

    policy: str
    pool: str = ""


class EngineOrder(Order):
    """Body of ``POST /v1/management/engines``: a server to take in, or a model or preset for vLLM to start."""

    url: str = ""
    engine_id: str = ""
    api_key: str = ""
    pool: str = ""
    max_concurrency: int = Field(0, ge=0, le=2**32 - 1)
    kinds: list[str] = Field(default_factory=list)
    model: str = ""
    preset: str = ""
    served_model_name: str = ""
    aliases: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list)
    health_path: str | None = None
    arguments: list[str] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    device: str = ""
    port: int = Field(0, ge=0, le=65535)
    memory_check: bool = True

    def registration(self) -> EngineRegistration:
        """Return the registration of the server at ``url``. Raises InvalidRequestError on fields of a start."""
        given = [name for name in START_FIELDS if name in self.model_fields_set]
        if given:
            raise InvalidRequestError(f"{given[0]} goes with a model to start, not with the url of a server")
        return EngineRegistration(
            self.url,
            self.engine_id,
            self.api_key,
            self.pool,
            self.max_concurrency,
            tuple(self.kinds),
            tuple(self.aliases),
            tuple(self.models),
            self.health_path,
        )

    def start(self) -> EngineStart:
        """Return the start of ``model``. Raises NotFoundError for an unknown preset, InvalidRequestError."""
        given = [name for name in REGISTRATION_FIELDS if getattr(self, name)]
        if given:
            raise InvalidRequestError(f"{given[0]} goes with the url of a server, not with one that SAGE starts")
        preset = named(self.preset) if self.preset else EnginePreset()
        return preset.start(
            model=self.model,
            name=self.engine_id,
            pool=self.pool,
            max_concurrency=self.max_concurrency,
            kinds=tuple(self.kinds),
            aliases=tuple(self.aliases),
            **{name: _plain(getattr(self, name)) for name in START_FIELDS if name not in ("model", "preset")},
        )


class LoraOrder(Order):
    """Body of ``POST /v1/management/engines/{engine_id}/lora``."""

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)


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
        # An id may hold a slash; the longer path comes first, so that it is not taken for one.
        engine = "/v1/management/engines/{engine_id:path}"
        return [
            Route("/v1/management/policy", self._policy, methods=["GET", "PUT"]),
            Route("/v1/management/engines", self._engines, methods=["GET", "POST"]),
            Route("/v1/management/engine_presets", self._presets, methods=["GET"]),
            Route(f"{engine}/drain", self._drain, methods=["POST"]),
            Route(f"{engine}/restart", self._restart, methods=["POST"]),
            Route(f"{engine}/logs", self._logs, methods=["GET"]),
            Route(f"{engine}/lora", self._load_lora, methods=["POST"]),
            Route(f"{engine}/lora/{{name}}", self._unload_lora, methods=["DELETE"]),
            Route(engine, self._remove, methods=["DELETE"]),
            Route("/v1/management/decisions/{request_id:path}", self._decision, methods=["GET"]),
        ]

    async def _policy(self, request: Request) -> Response:
        if request.method != "PUT":
            self._credentials.tenant(request.headers)
            return json_answer(asdict(await self._management.policy(request.query_params.get("pool", ""))))
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, PolicyOrder)
        return json_answer(asdict(await self._management.set_policy(order.policy, order.pool)))

    async def _engines(self, request: Request) -> Response:
        if request.method != "POST":
            self._credentials.tenant(request.headers)
            engines = await self._listed()
            if not self._credentials.operates(request.headers):
                # What follows the first line are a server's last words, which may quote prompts.
                engines = [{**engine, "reason": engine["reason"].partition("\n")[0]} for engine in engines]
            return json_answer({"object": "list", "data": engines})
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

    async def _remove(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        drain, timeout_seconds = flag(request, "drain"), _seconds(request, "timeout_seconds")
        engine_id = request.path_params["engine_id"]
        removal = await self._management.remove_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return json_answer(asdict(removal))

    async def _drain(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        undo = flag(request, "undo")
        return json_answer(asdict(await self._management.drain_engine(request.path_params["engine_id"], undo=undo)))

    async def _restart(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        drain, timeout_seconds = flag(request, "drain"), _seconds(request, "timeout_seconds")
        engine_id = request.path_params["engine_id"]
        restart = await self._management.restart_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return json_answer(asdict(restart))

    async def _presets(self, request: Request) -> Response:
        self._credentials.tenant(request.headers)
        data = [{"preset": name, **preset.model_dump()} for name, preset in built_in().items()]
        return json_answer({"object": "list", "data": data})

    async def _logs(self, request: Request) -> Response:
        # What a server writes may quote prompts.
        self._credentials.operator(request.headers)
        lines, follow = count(request, "lines", "lines"), flag(request, "follow")
        logs = self._management.engine_logs(request.path_params["engine_id"], lines=lines, follow=follow)
        # A refusal must come before the head of the answer is sent.
        first = await anext(logs, None)
        return StreamingResponse(_text(first, logs), media_type="text/plain; charset=utf-8")

    async def _load_lora(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        order = await self._bodies.read(request, LoraOrder)
        engine_id = request.path_params["engine_id"]
        return json_answer(asdict(await self._management.load_lora(engine_id, order.name, order.path)), 201)

    async def _unload_lora(self, request: Request) -> Response:
        admit_order(request, self._credentials)
        path = request.path_params
        return json_answer(asdict(await self._management.unload_lora(path["engine_id"], path["name"])))

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


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _seconds(request: Request, name: str) -> float:
    value = request.query_params.get(name)
    if value is None:
        return DRAIN_SECONDS
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MOST_DRAIN_SECONDS:
        raise InvalidRequestError(f"{name} is {value!r}; write seconds, up to {MOST_DRAIN_SECONDS:g}", param=name)
    return seconds
