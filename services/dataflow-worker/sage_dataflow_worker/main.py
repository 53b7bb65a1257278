"""Where the dataflow worker's objects meet."""

from __future__ import annotations

import asyncio

from nats.errors import Error as NatsError

import sage_platform.grpc_without_forks  # noqa: F401 - before gRPC
from sage.dataflow.v1 import dataflow_pb2, dataflow_pb2_grpc
from sage.knowledge.v1 import knowledge_pb2, knowledge_pb2_grpc
from sage_apps.client_models import ClientModels
from sage_client.client import AsyncUnifiedInferenceClient, CallOptions
from sage_client.edge_factory import open_edge
from sage_client.ring import RingTransport
from sage_common.clock import MonotonicClock
from sage_common.logging import get_logger
from sage_control_plane.request.request import Hints, ServiceClass
from sage_dataflow_worker.assembly import JETSTREAM_TIMEOUT_SECONDS, assemble
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_dataflow_worker.knowledge_service import KnowledgeServicer
from sage_dataflow_worker.service import DataflowServicer
from sage_platform.service_host import ServiceHost, Stop, run

log = get_logger(__name__)


async def start(host: ServiceHost[DataflowWorkerSettings]) -> Stop:
    """Wire the service."""
    edge = await open_edge(host.ring, host.instance_id, clock=MonotonicClock())
    client = AsyncUnifiedInferenceClient(RingTransport(edge))

    def models_for(tenant: str) -> ClientModels:
        return ClientModels(client, CallOptions(hints=Hints(service_class=ServiceClass.BULK), tenant=tenant))

    js = host.ring.connection.jetstream(timeout=JETSTREAM_TIMEOUT_SECONDS)
    assembly = await assemble(host.ring, js, host.settings, host.instance_id, models_for)
    try:
        await assembly.streams.ensure()
    except (NatsError, asyncio.TimeoutError) as error:
        # On a full disk, for one. Whoever pulls jobs tries it again.
        log.warning("streams of jobs not set up yet", error=str(error) or repr(error))
    descriptor = dataflow_pb2.DESCRIPTOR.services_by_name["DataflowService"]
    servicer = DataflowServicer(assembly.api, assembly.control, assembly.records, assembly.history)
    host.grpc.add(dataflow_pb2_grpc.add_DataflowServiceServicer_to_server, servicer, descriptor.full_name)
    host.grpc.add(
        knowledge_pb2_grpc.add_KnowledgeServiceServicer_to_server,
        KnowledgeServicer(assembly.knowledge),
        knowledge_pb2.DESCRIPTOR.services_by_name["KnowledgeService"].full_name,
    )
    host.on_reconnect(assembly.reconnected)
    await assembly.start()

    async def stop() -> None:
        await assembly.stop()
        await edge.close()

    return stop


def main() -> None:
    """Run the service."""
    run("dataflow-worker", DataflowWorkerSettings, start)


if __name__ == "__main__":
    main()
