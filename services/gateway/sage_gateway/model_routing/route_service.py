"""gRPC ↔ domain: model routes set, listed and removed."""

from __future__ import annotations

from typing import Any

from grpc import aio

from sage.gateway.v1 import models_pb2 as pb
from sage.gateway.v1 import models_pb2_grpc
from sage_common.model_routes import ModelRoute, check_routes
from sage_gateway.stored_records import StoredRecords
from sage_platform.grpc_access import for_operators
from sage_platform.record_store import RecordStore

Context = aio.ServicerContext[Any, Any]


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """The calls of operators about model routes."""

    def __init__(self, routes: RecordStore[ModelRoute]) -> None:
        self._routes = StoredRecords(routes, ModelRoute, pb.ModelRoute, check_routes)

    @for_operators
    async def SetModelRoute(  # noqa: N802 - the name in the contract
        self, request: pb.SetModelRouteRequest, context: Context
    ) -> pb.SetModelRouteResponse:
        return pb.SetModelRouteResponse(route=await self._routes.set(request.route))

    @for_operators
    async def ListModelRoutes(  # noqa: N802
        self, request: pb.ListModelRoutesRequest, context: Context
    ) -> pb.ListModelRoutesResponse:
        return pb.ListModelRoutesResponse(routes=await self._routes.all())

    @for_operators
    async def RemoveModelRoute(  # noqa: N802
        self, request: pb.RemoveModelRouteRequest, context: Context
    ) -> pb.RemoveModelRouteResponse:
        return pb.RemoveModelRouteResponse(route=await self._routes.remove(request.name))
