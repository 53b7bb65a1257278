"""Where the objects of the HTTP application meet."""

from __future__ import annotations

from collections.abc import Callable

from sage_client.edge_factory import OpenEdge
from sage_client.jobs.grpc_jobs import GrpcJobs
from sage_client.knowledge.grpc_knowledge import GrpcKnowledge
from sage_client.management.api_keys import KeyManagement
from sage_client.management.mesh_management import MeshManagement
from sage_client.management.model_routes import model_routes
from sage_client.management.tenants import TenantManagement
from sage_common.clock import MonotonicClock
from sage_control_plane.request.request import Endpoint
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.app import build_app
from sage_gateway.asgi import App
from sage_gateway.batches.batch_assembly import Batches, assemble_batches
from sage_gateway.body_reader import BodyReader, body_limit
from sage_gateway.catalog_routes import CatalogRoutes, ListInstances
from sage_gateway.config import GatewaySettings
from sage_gateway.cors import Cors
from sage_gateway.credentials import Credentials
from sage_gateway.dialects.anthropic_messages import AnthropicMessages
from sage_gateway.dialects.dialect import Dialect
from sage_gateway.dialects.dialect_endpoint import DialectEndpoint
from sage_gateway.dialects.token_count import TokenCountEndpoint
from sage_gateway.dialects.unserved_routes import unserved_routes
from sage_gateway.front_page import FrontPage
from sage_gateway.host_check import checked_hosts
from sage_gateway.inference import InferenceEndpoint
from sage_gateway.job_routes import JobRoutes
from sage_gateway.key_routes import KeyRoutes
from sage_gateway.knowledge_routes import KnowledgeRoutes
from sage_gateway.long_bodies import LongBodies
from sage_gateway.management_routes import ManagementRoutes
from sage_gateway.metrics import GatewayMetrics
from sage_gateway.model_routing.routing_assembly import ModelRouting
from sage_gateway.openapi.served import OpenApiRoute
from sage_gateway.order_bodies import OrderBodies
from sage_gateway.origin_check import OriginCheck
from sage_gateway.probe_routes import ProbeRoutes
from sage_gateway.readiness import Readiness
from sage_gateway.record_kinds import MODEL_ROUTES
from sage_gateway.record_routes import RecordRoutes
from sage_gateway.responses.response_assembly import Responses, assemble_responses
from sage_gateway.scoring.score_routes import ScoreRoutes
from sage_gateway.tenancy.gate import Gate, OpenGate
from sage_gateway.tenancy.tenant_routes import TenantRoutes
from sage_gateway.tokens.token_engines import TokenEngines
from sage_gateway.tokens.token_routes import TokenRoutes
from sage_gateway.traced_http import traced_app
from sage_gateway.while_open import WhileOpen
from sage_mesh.bodies.body_store import BodyStore
from sage_middleware.features import load_feature_extractor
from sage_platform.background import ServiceHealth
from sage_platform.ring import Ring

HTTP_ENDPOINTS = (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.RERANK)


def http_app(
    settings: GatewaySettings,
    ring: Ring,
    edge: OpenEdge,
    edge_id: str,
    metrics: GatewayMetrics,
    list_instances: ListInstances,
    credentials: Credentials | None = None,
    mesh_token: str = "",
    health: ServiceHealth | None = None,
    answers: AnswersByKey | None = None,
    batches: Batches | None = None,
    gate: Gate | None = None,
    responses: Responses | None = None,
    routing: ModelRouting | None = None,
    unread: Callable[[], str] = lambda: "",
) -> App:
    """Return the HTTP application. Raises ConfigurationError for a host that is not understood.

    Args:
        credentials: what callers need; by default what the settings say.
        mesh_token: what the services of the mesh are called with.
        health: what keeps the gateway from its work; it is not ready meanwhile.
        answers: where the answers are counted that holders of issued keys are getting.
        batches, responses: stored requests and answers; by default those of the settings, with nobody here who works on
            what is open.
        gate: lets requests into the mesh; by default all of them.
        routing: the model routes that ``gate`` goes by, for lists of models; by default none.
        unread: which records that requests are let in by have not been read yet; empty for none.
    """
    credentials = credentials or Credentials(settings.api_keys, settings.operators)
    answers = answers or AnswersByKey()
    gate = gate or OpenGate(edge.edge)
    responses = responses or assemble_responses(settings, ring, gate)
    batches = batches or assemble_batches(settings, ring, gate, responses.dialect)
    inline_bytes = body_limit(settings.most_inline_bytes, ring.max_item_bytes)
    bodies = BodyReader(
        settings.max_body_bytes,
        settings.body_timeout_seconds,
        inline_bytes=inline_bytes,
        long_at_once=settings.long_bodies_at_once,
    )
    short_bodies = BodyReader(inline_bytes, settings.body_timeout_seconds)
    store = BodyStore(ring.connection.jetstream(), settings.long_bodies_bytes)
    answered = LongBodies(gate, store, inline_bytes)
    clock = MonotonicClock()
    hot: dict[str, App] = {
        endpoint.path: InferenceEndpoint(
            endpoint,
            answered,
            credentials,
            answers,
            bodies,
            metrics.endpoint(endpoint.name.lower()),
            clock,
            timeout_seconds=settings.timeout_seconds,
            max_timeout_seconds=settings.max_timeout_seconds,
            comment_seconds=settings.stream_comment_seconds,
        )
        for endpoint in HTTP_ENDPOINTS
    }
    router = None if routing is None else routing.router
    served_name = str if router is None else router.served_name
    messages = AnthropicMessages()
    extract_features, _ = load_feature_extractor()
    dialects: tuple[Dialect, ...] = (messages, responses.dialect)
    for dialect in dialects:
        hot[dialect.path] = DialectEndpoint(
            dialect,
            answered,
            credentials,
            answers,
            bodies,
            metrics.endpoint(dialect.name),
            clock,
            timeout_seconds=settings.timeout_seconds,
            max_timeout_seconds=settings.max_timeout_seconds,
            comment_seconds=settings.stream_comment_seconds,
        )
        counting = metrics.endpoint(f"{dialect.name}_tokens")
        hot[dialect.count_path] = TokenCountEndpoint(
            dialect, edge.directory, served_name, extract_features, credentials, bodies, counting, clock
        )
    readiness = Readiness(ring, edge.directory, clock, settings.ready_wait_seconds, health, unread)
    catalog = CatalogRoutes(edge_id, edge, readiness, credentials, list_instances, router)
    management = ManagementRoutes(
        MeshManagement(list_instances, mesh_token), edge.directory, credentials, settings.body_timeout_seconds
    )

    def jobs_for(key: str | None, acting_for: str) -> GrpcJobs:
        return GrpcJobs(list_instances, mesh_token if key is None else key, acting_for=acting_for)

    def knowledge_for(key: str | None, tenant: str, acting_for: str) -> GrpcKnowledge:
        token = mesh_token if key is None else key
        return GrpcKnowledge(list_instances, token, tenant=tenant, acting_for=acting_for)

    keys = KeyRoutes(KeyManagement(list_instances, mesh_token), credentials, settings.body_timeout_seconds)
    tenants = TenantRoutes(TenantManagement(list_instances, mesh_token), credentials, settings.body_timeout_seconds)
    orders = OrderBodies(settings.body_timeout_seconds)
    models = RecordRoutes(MODEL_ROUTES, model_routes(list_instances, mesh_token), credentials, orders)
    jobs = JobRoutes(jobs_for, credentials, settings.body_timeout_seconds)
    knowledge = KnowledgeRoutes(knowledge_for, credentials, settings.body_timeout_seconds)
    scores = ScoreRoutes(
        gate,
        credentials,
        short_bodies,
        timeout_seconds=settings.timeout_seconds,
        max_timeout_seconds=settings.max_timeout_seconds,
    )
    tokens = TokenRoutes(
        TokenEngines(edge.directory, list_instances, mesh_token, served_name), credentials, short_bodies
    )
    app: App = build_app(
        hot,
        [
            *ProbeRoutes(readiness, metrics.registry).routes(),
            *OpenApiRoute().routes(),
            FrontPage(readiness, edge.directory, credentials, settings.studio_url).route(),
            *catalog.routes(),
            *management.routes(),
            *keys.routes(),
            *tenants.routes(),
            *models.routes(),
            *jobs.routes(),
            *knowledge.routes(),
            *batches.routes(credentials),
            *responses.routes(credentials, answers),
            *scores.routes(),
            *tokens.routes(),
            *unserved_routes(),
        ],
    )
    checked = checked_hosts(OriginCheck(app), settings.allowed_hosts, settings.own_hosts)
    app = traced_app(WhileOpen(app, checked, credentials), ring.tracer)
    return Cors(app, settings.cors_origins) if settings.cors_origins else app
