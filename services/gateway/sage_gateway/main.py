"""Where the gateway's objects meet."""

from __future__ import annotations

import asyncio

from sage.gateway.v1 import (
    gateway_pb2,
    gateway_pb2_grpc,
    keys_pb2,
    keys_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    tenants_pb2,
    tenants_pb2_grpc,
)
from sage_client.client import AsyncUnifiedInferenceClient
from sage_client.edge_factory import open_edge
from sage_client.ring import RingTransport
from sage_common.clock import MonotonicClock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_gateway.answers_by_key import AnswersByKey
from sage_gateway.batches.batch_assembly import assemble_batches
from sage_gateway.config import GatewaySettings
from sage_gateway.credentials import Credentials
from sage_gateway.front_server import front_server
from sage_gateway.http_application import http_app
from sage_gateway.key_service import KeyServicer
from sage_gateway.metrics import GatewayMetrics
from sage_gateway.model_routing.route_service import ModelServicer
from sage_gateway.model_routing.routing_assembly import ModelRouting, assemble_routing
from sage_gateway.oidc.opening import open_token_gate
from sage_gateway.responses.response_assembly import assemble_responses
from sage_gateway.service import GatewayServicer
from sage_gateway.tenancy.tenancy import Tenancy, open_tenancy
from sage_gateway.tenancy.tenant_service import TenantServicer
from sage_mesh.first_heartbeats import hear_executors
from sage_platform import registry, subjects
from sage_platform.background import keep_running
from sage_platform.kv import open_bucket
from sage_platform.service_host import ServiceHost, Stop, run

log = get_logger(__name__)


async def start(host: ServiceHost[GatewaySettings]) -> Stop:
    """Wire the service."""
    settings = host.settings
    credentials = Credentials(host.keys)
    answers = AnswersByKey(host.keys.ended_because)
    watching = keep_running(answers.watch, name="answers-by-key")
    host.issued_keys.on_invalid(answers.end)
    tokens = open_token_gate(host.keys, answers)
    edge = await open_edge(host.ring, host.instance_id)
    log.info("feature extractor chosen", implementation=edge.feature_extractor)
    bucket = await open_bucket(host.js, subjects.BUCKET_SERVICES, ttl_seconds=registry.TTL_SECONDS)
    metrics = GatewayMetrics()
    fail_open = settings.limits_fail_open
    routing = assemble_routing(host.js, edge, MonotonicClock(), metrics.count_fallback, fail_open=fail_open)
    opening = open_tenancy(
        host.ring.connection,
        host.instance_id,
        edge,
        routing.router,
        metrics.count_usage,
        MonotonicClock(),
        assumed_output_tokens=settings.assumed_output_tokens,
        fail_open=fail_open,
    )
    tenancy, _ = await asyncio.gather(opening, routing.start())
    host.on_reconnect(tenancy.reconnected)
    host.on_reconnect(routing.reconnected)
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
        routing,
        lambda: "" if fail_open else unread_records(tenancy, routing),
    )
    transport = RingTransport(edge, answers.held(tenancy.gate.submit))
    client = AsyncUnifiedInferenceClient(transport, timeout_seconds=settings.timeout_seconds)
    host.grpc.add(
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server,
        GatewayServicer(
            client, edge.directory, credentials, routing.router, max_timeout_seconds=settings.max_timeout_seconds
        ),
        gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"].full_name,
    )
    host.grpc.add(
        keys_pb2_grpc.add_KeyServiceServicer_to_server,
        KeyServicer(host.issued_keys, has_mesh_token=bool(host.mesh_token)),
        keys_pb2.DESCRIPTOR.services_by_name["KeyService"].full_name,
    )
    host.grpc.add(
        tenants_pb2_grpc.add_TenantServiceServicer_to_server,
        TenantServicer(tenancy.tenants, tenancy.prices, tenancy.sums, tenancy.keeper),
        tenants_pb2.DESCRIPTOR.services_by_name["TenantService"].full_name,
    )
    host.grpc.add(
        models_pb2_grpc.add_ModelServiceServicer_to_server,
        ModelServicer(routing.routes),
        models_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
    )
    http = front_server(tokens.over(app), settings, host.tls)
    # Requests come from the first moment where another gateway has listened here before.
    await hear_executors(edge.directory, bucket)
    host.http_port = await http.start(
        settings.host, settings.port, setting="SAGE_GATEWAY_PORT", descriptors=settings.listener_descriptors
    )
    host.http_tls = http.secure

    workers = [made.worker(host.instance_id, MonotonicClock()) for made in (batches, responses)]
    for worker in workers:
        host.on_reconnect(worker.reconnected)
    sweeper = batches.sweeper()

    async def stop() -> None:
        await tokens.stop()
        for worker in workers:
            await worker.stop()
        await end_tasks(sweeper, watching)
        # No call that comes late may find an edge that has ended; nor a client's next request a closed connection, also
        # where a balancer, and not a supervisor, sends its requests elsewhere from now on.
        await asyncio.gather(http.stop(host.drain_seconds, gently=True), host.grpc.stop(host.drain_seconds))
        await edge.edge.drained(host.drain_seconds)
        await edge.close()
        await routing.stop()
        await tenancy.stop()

    return stop


def unread_records(tenancy: Tenancy, routing: ModelRouting) -> str:
    """Return which records that requests are let in by have not been read since the start; empty for none."""
    stores = (("the tenants", tenancy.tenants), ("the model routes", routing.routes))
    return " and ".join(name for name, store in stores if not store.is_read)


def main() -> None:
    """Run the service."""
    run("gateway", GatewaySettings, start)


if __name__ == "__main__":
    main()
