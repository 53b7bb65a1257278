"""The management API: policies, engines and decisions over REST, through the services that answer for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_client.management.mesh_management import DRAIN_SECONDS, MOST_DRAIN_SECONDS, MeshManagement
from sage_client.management.results import EngineRegistration
from sage_client.management.translation import engine_view
from sage_common.errors import (
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
)
from sage_gateway.credentials import Credentials
from sage_mesh.directory import EngineDirectory

MAX_BODY_BYTES = 64 * 1024
_TRUTH = {"": False, "true": True, "1": True, "false": False, "0": False}


class PolicyOrder(BaseModel):
    """Body of ``PUT /v1/management/policy``; no pool means every pool."""

    model_config = ConfigDict(extra="forbid", strict=True)

    policy: str
    pool: str = ""


class EngineOrder(BaseModel):
    """Body of ``POST /v1/management/engines``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: str = Field(min_length=1)
    engine_id: str = ""
    api_key: str = ""
    pool: str = ""
    max_concurrency: int = Field(0, ge=0, le=2**32 - 1)


class LoraOrder(BaseModel):
    """Body of ``POST /v1/management/engines/{engine_id}/lora``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(min_length=1)
    path: str = Field(min_length=1)


class ManagementRoutes:
    """Orders and questions of operators. Tenants may ask about their own requests."""

    def __init__(self, management: MeshManagement, directory: EngineDirectory, credentials: Credentials) -> None:
        self._management = management
        self._directory = directory
        self._credentials = credentials

    def routes(self) -> list[Route]:
        """The routes to mount."""
        # An id may hold a slash; the longer path comes first, so that it is not taken for one.
        engine = "/v1/management/engines/{engine_id:path}"
        return [
            Route("/v1/management/policy", self._policy, methods=["GET", "PUT"]),
            Route("/v1/management/engines", self._engines, methods=["GET", "POST"]),
            Route(f"{engine}/drain", self._drain, methods=["POST"]),
            Route(f"{engine}/lora", self._load_lora, methods=["POST"]),
            Route(f"{engine}/lora/{{name}}", self._unload_lora, methods=["DELETE"]),
            Route(engine, self._remove, methods=["DELETE"]),
            Route("/v1/management/decisions/{request_id:path}", self._decision, methods=["GET"]),
        ]

    def _admit_order(self, request: Request) -> None:
        """Refuse who may not give orders. Raises PermissionDeniedError, UnauthenticatedError."""
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            # A page of any site can have a browser on this machine post to a gateway that asks for no key.
            raise PermissionDeniedError(f"orders from a page of {origin} are not taken", code="cross_origin")
        self._credentials.operator(request.headers)

    async def _policy(self, request: Request) -> Response:
        if request.method != "PUT":
            self._credentials.tenant(request.headers)
            return _json(asdict(await self._management.policy(request.query_params.get("pool", ""))))
        self._admit_order(request)
        order = await _order(request, PolicyOrder)
        return _json(asdict(await self._management.set_policy(order.policy, order.pool)))

    async def _engines(self, request: Request) -> Response:
        if request.method != "POST":
            self._credentials.tenant(request.headers)
            return _json({"object": "list", "data": await self._listed()})
        self._admit_order(request)
        order = await _order(request, EngineOrder)
        engine = await self._management.register_engine(EngineRegistration(**order.model_dump()))
        return _json(asdict(engine), 201)

    async def _listed(self) -> list[dict[str, Any]]:
        try:
            return [asdict(engine) for engine in await self._management.engines()]
        except UnavailableError:
            # Without a scheduler there are no books, but the engines are heard all the same.
            age = self._directory.heartbeat_age_seconds
            engines = sorted(self._directory.engines.items())
            return [asdict(engine_view(e, heartbeat_age_seconds=age(e.executor_id))) for _, e in engines]

    async def _remove(self, request: Request) -> Response:
        self._admit_order(request)
        drain, timeout_seconds = _flag(request, "drain"), _seconds(request, "timeout_seconds")
        engine_id = request.path_params["engine_id"]
        removal = await self._management.remove_engine(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return _json(asdict(removal))

    async def _drain(self, request: Request) -> Response:
        self._admit_order(request)
        undo = _flag(request, "undo")
        return _json(asdict(await self._management.drain_engine(request.path_params["engine_id"], undo=undo)))

    async def _load_lora(self, request: Request) -> Response:
        self._admit_order(request)
        order = await _order(request, LoraOrder)
        engine_id = request.path_params["engine_id"]
        return _json(asdict(await self._management.load_lora(engine_id, order.name, order.path)), 201)

    async def _unload_lora(self, request: Request) -> Response:
        self._admit_order(request)
        path = request.path_params
        return _json(asdict(await self._management.unload_lora(path["engine_id"], path["name"])))

    async def _decision(self, request: Request) -> Response:
        tenant = self._credentials.tenant(request.headers)
        request_id = request.path_params["request_id"]
        explanations = await self._management.explain(request_id)
        if not self._credentials.operates(request.headers):
            explanations = [explanation for explanation in explanations if explanation.tenant == tenant]
            if not explanations:
                # Whether another tenant has such a request is nobody's business.
                raise NotFoundError(f"no scheduler remembers a request {request_id!r}", code="request_not_found")
        return _json({"request_id": request_id, "decisions": [asdict(one) for one in explanations]})


async def _order(request: Request, model: type[Any]) -> Any:
    """Read the body as ``model``. Raises InvalidRequestError, TooLargeError."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise TooLargeError(f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(model.model_fields)
        raise InvalidRequestError(f"{where or 'body'}: {first['msg']}; fields: {known}", param=where or None) from None


def _flag(request: Request, name: str) -> bool:
    value = request.query_params.get(name, "")
    if value.lower() not in _TRUTH:
        raise InvalidRequestError(f"{name} is {value!r}; write {name}=true or {name}=false", param=name)
    return _TRUTH[value.lower()]


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


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")
