"""Where the gateway's objects meet."""

from __future__ import annotations

from sage.gateway.v1 import gateway_pb2, gateway_pb2_grpc, keys_pb2, keys_pb2_grpc, tenants_pb2, tenants_pb2_grpc
from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.edge_factory import OpenEdge, open_edge
from sage_client.jobs.grpc_jobs import GrpcJobs
from sage_client.knowledge.grpc_knowledge import GrpcKnowledge
from sage_client.management.api_keys import KeyManagement
from sage_client.management.mesh_management import MeshManagement
from sage_client.management.tenants import TenantManagement
from sage_client.ring import RingTransport
from sage_common.clock import MonotonicClock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.request import Endpoint
from sage_gateway.allowed_hosts import AllowedHosts, HostCheck
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.app import build_app, cold_routes
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
from sage_gateway.http_server import HttpServer
from sage_gateway.inference import InferenceEndpoint
from sage_gateway.job_routes import JobRoutes
from sage_gateway.key_routes import KeyRoutes
from sage_gateway.key_service import KeyServicer
from sage_gateway.knowledge_routes import KnowledgeRoutes
from sage_gateway.management_routes import ManagementRoutes
from sage_gateway.metrics import GatewayMetrics
from sage_gateway.origin_check import OriginCheck
from sage_gateway.readiness import Readiness
from sage_gateway.responses.response_assembly import Responses, assemble_responses
from sage_gateway.scoring.score_routes import ScoreRoutes
from sage_gateway.service import GatewayServicer
from sage_gateway.tenancy.gate import Gate, OpenGate
from sage_gateway.tenancy.tenancy import open_tenancy
from sage_gateway.tenancy.tenant_routes import TenantRoutes
from sage_gateway.tenancy.tenant_service import TenantServicer
from sage_gateway.tokens.token_engines import TokenEngines
from sage_gateway.tokens.token_routes import TokenRoutes
from sage_gateway.while_open import WhileOpen
from sage_middleware.features import load_feature_extractor
from sage_platform import registry, subjects
from sage_platform.background import ServiceHealth
from sage_platform.kv import open_bucket
from sage_platform.ring import Ring
from sage_platform.service_host import ServiceHost, Stop, run

log = get_logger(__name__)

HTTP_ENDPOINTS = (Endpoint.CHAT_COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS, Endpoint.RERANK)


async def start(host: ServiceHost[GatewaySettings]) -> Stop:
    """Wire the service."""
    settings = host.settings
    credentials = Credentials(host.keys)
    answers = AnswersByKey()
    host.issued_keys.on_invalid(answers.end)
    edge = await open_edge(host.ring, host.instance_id)
    log.info("feature extractor chosen", implementation=edge.feature_extractor)
    bucket = await open_bucket(host.js, subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS)
    metrics = GatewayMetrics()
    tenancy = await open_tenancy(
        host.ring.connection,
        host.instance_id,
        edge,
        metrics.count_usage,
        MonotonicClock(),
        assumed_output_tokens=settings.assumed_output_tokens,
        fail_open=settings.limits_fail_open,
    )
    host.on_reconnect(tenancy.reconnected)
    responses = assemble_responses(settings, host.ring, tenancy.gate)
    batches = assemble_batches(settings, host.ring, tenancy.gate, responses.dialect)
    app = http_app(
        settings,
        host.ring,
        edge,
        host.instance_id,
        metrics,
        lambda: registry.list_instances(bucket),
        credentials,
        host.mesh_token,
        host.health,
        answers,
        batches,
        tenancy.gate,
        responses,
    )
    transport = RingTransport(edge, tenancy.gate.submit)
    client = AsyncUnifiedInferenceClient(transport, timeout_seconds=settings.timeout_seconds)
    host.grpc.add(
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server,
        GatewayServicer(client, edge.directory, credentials, max_timeout_seconds=settings.max_timeout_seconds),
        gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name,
    )
    host.grpc.add(
        keys_pb2_grpc.add_KeyServiceServicer_to_server,
        KeyServicer(host.issued_keys, has_mesh_token=bool(host.mesh_token)),
        keys_pb2.DESCRIPTOR.services_by_name["KeyService"].full_name,
    )
    host.grpc.add(
        tenants_pb2_grpc.add_TenantServiceServicer_to_server,
        TenantServicer(tenancy.tenants, tenancy.prices, tenancy.sums),
        tenants_pb2.DESCRIPTOR.services_by_name["TenantService"].full_name,
    )
    http = HttpServer(
        app,
        keep_alive_seconds=settings.keep_alive_seconds,
        drain_timeout_seconds=settings.drain_timeout_seconds,
        write_timeout_seconds=settings.write_timeout_seconds,
    )
    host.http_port = await http.start(settings.host, settings.port, setting="SAGE_GATEWAY_PORT")

    workers = [made.worker(host.instance_id, MonotonicClock()) for made in (batches, responses)]
    for worker in workers:
        host.on_reconnect(worker.reconnected)
    sweeper = batches.sweeper()

    async def stop() -> None:
        for worker in workers:
            await worker.stop()
        await end_tasks(sweeper)
        await http.stop()
        await edge.edge.drained(settings.drain_timeout_seconds)
        await edge.close()
        await tenancy.stop()

    return stop


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
    """
    credentials = credentials or Credentials(settings.api_keys, settings.operators)
    answers = answers or AnswersByKey()
    gate = gate or OpenGate(edge.edge)
    responses = responses or assemble_responses(settings, ring, gate)
    batches = batches or assemble_batches(settings, ring, gate, responses.dialect)
    bodies = BodyReader(body_limit(settings.max_body_bytes, ring.max_item_bytes), settings.body_timeout_seconds)
    clock = MonotonicClock()
    hot: dict[str, App] = {
        endpoint.path: InferenceEndpoint(
            endpoint,
            gate,
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
    messages = AnthropicMessages()
    extract_features, _ = load_feature_extractor()
    dialects: tuple[Dialect, ...] = (messages, responses.dialect)
    for dialect in dialects:
        hot[dialect.path] = DialectEndpoint(
            dialect,
            gate,
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
            dialect, edge.directory, extract_features, credentials, bodies, counting, clock
        )
    readiness = Readiness(ring, edge.directory, clock, settings.ready_wait_seconds, health)
    catalog = CatalogRoutes(edge_id, edge, readiness, credentials, list_instances)
    management = ManagementRoutes(
        MeshManagement(list_instances, mesh_token), edge.directory, credentials, settings.body_timeout_seconds
    )

    def jobs_for(key: str | None) -> GrpcJobs:
        return GrpcJobs(list_instances, mesh_token if key is None else key)

    def knowledge_for(key: str | None, tenant: str) -> GrpcKnowledge:
        return GrpcKnowledge(list_instances, mesh_token if key is None else key, tenant=tenant)

    keys = KeyRoutes(KeyManagement(list_instances, mesh_token), credentials, settings.body_timeout_seconds)
    tenants = TenantRoutes(TenantManagement(list_instances, mesh_token), credentials, settings.body_timeout_seconds)
    jobs = JobRoutes(jobs_for, credentials, settings.body_timeout_seconds)
    knowledge = KnowledgeRoutes(knowledge_for, credentials, settings.body_timeout_seconds)
    scores = ScoreRoutes(
        gate,
        credentials,
        bodies,
        timeout_seconds=settings.timeout_seconds,
        max_timeout_seconds=settings.max_timeout_seconds,
    )
    tokens = TokenRoutes(TokenEngines(edge.directory, list_instances, mesh_token), credentials, bodies)
    app: App = build_app(
        hot,
        [
            *cold_routes(readiness, metrics.registry),
            FrontPage(readiness, edge.directory, credentials).route(),
            *catalog.routes(),
            *management.routes(),
            *keys.routes(),
            *tenants.routes(),
            *jobs.routes(),
            *knowledge.routes(),
            *batches.routes(credentials),
            *responses.routes(credentials),
            *scores.routes(),
            *tokens.routes(),
            *unserved_routes(),
        ],
    )
    checked = HostCheck(OriginCheck(app), AllowedHosts(settings.allowed_hosts, settings.own_hosts))
    app = WhileOpen(app, checked, credentials)
    return Cors(app, settings.cors_origins) if settings.cors_origins else app


def main() -> None:
    """Run the service."""
    run("gateway", GatewaySettings, start)


if __name__ == "__main__":
    main()
