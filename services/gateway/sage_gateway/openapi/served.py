"""Every operation that the gateway serves, and the description of them."""

from __future__ import annotations

import asyncio
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sage_gateway.batches.batch_routes import BatchRoutes
from sage_gateway.catalog_routes import CatalogRoutes
from sage_gateway.files.file_routes import FileRoutes
from sage_gateway.front_page import FrontPage
from sage_gateway.job_routes import JobRoutes
from sage_gateway.key_routes import KeyRoutes
from sage_gateway.knowledge_routes import KnowledgeRoutes
from sage_gateway.management_routes import ManagementRoutes
from sage_gateway.openapi.document import build_document
from sage_gateway.openapi.inference_operations import INFERENCE_OPERATIONS
from sage_gateway.openapi.operation import Access, Operation, operation, operations_of, routes_of
from sage_gateway.probe_routes import ProbeRoutes
from sage_gateway.query_parameters import ANY
from sage_gateway.record_kinds import RECORD_KINDS
from sage_gateway.responses.response_routes import ResponseRoutes
from sage_gateway.scoring.score_routes import ScoreRoutes
from sage_gateway.tenancy.tenant_routes import TenantRoutes
from sage_gateway.tokens.token_routes import TokenRoutes


class OpenApiRoute:
    """Serves the description; it is made when it is first asked for, since that takes a tenth of a second."""

    def __init__(self) -> None:
        self._document: bytes | None = None

    def routes(self) -> list[Route]:
        """Return the routes to mount."""
        return routes_of(self)

    @operation("GET", "/openapi.json", "Describe this API", answer=dict[str, Any], query=ANY, access=Access.OPEN)
    async def _get(self, _request: Request) -> Response:
        if self._document is None:
            self._document = await asyncio.to_thread(document_json)
        return Response(self._document, media_type="application/json")


_SERVED = (
    ProbeRoutes,
    FrontPage,
    OpenApiRoute,
    CatalogRoutes,
    ManagementRoutes,
    KeyRoutes,
    TenantRoutes,
    JobRoutes,
    KnowledgeRoutes,
    FileRoutes,
    BatchRoutes,
    ResponseRoutes,
    ScoreRoutes,
    TokenRoutes,
)


def served_operations() -> list[Operation]:
    """Return the operations of every handler of the gateway."""
    declared = [one for kind in _SERVED for one in operations_of(kind)]
    return [*INFERENCE_OPERATIONS, *declared, *(one for kind in RECORD_KINDS for one in kind.operations)]


def document_json() -> bytes:
    """Return the description as JSON."""
    try:
        mesh_version = version("sage-mesh")
    except PackageNotFoundError:
        mesh_version = ""
    return orjson.dumps(build_document(served_operations(), mesh_version), option=orjson.OPT_INDENT_2)
