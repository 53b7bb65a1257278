"""Where the dataflow worker's objects meet."""

from __future__ import annotations

import asyncio
import time

from nats.errors import Error as NatsError
from prometheus_client import Counter, Gauge

from sage.dataflow.v1 import dataflow_pb2, dataflow_pb2_grpc
from sage_apps.client_models import ClientModels
from sage_client.client import AsyncUnifiedInferenceClient, CallOptions
from sage_client.edge_factory import open_edge
from sage_client.ring import RingTransport
from sage_common import paths
from sage_common.clock import MonotonicClock
from sage_common.logging import get_logger
from sage_control_plane.request.request import Hints, ServiceClass
from sage_dataflow_worker.config import DataflowWorkerSettings
from sage_dataflow_worker.job_api import JobApi
from sage_dataflow_worker.job_run import RunTools
from sage_dataflow_worker.job_store import JobStore
from sage_dataflow_worker.job_streams import JobStreams
from sage_dataflow_worker.pipeline_admission import PipelineAdmission
from sage_dataflow_worker.results import ResultPublisher
from sage_dataflow_worker.service import DataflowServicer
from sage_dataflow_worker.worker import JobWorker
from sage_kernel.file_access import FileAccess
from sage_kernel.runtime.local import LocalRunner
from sage_platform import subjects
from sage_platform.kv import open_bucket
from sage_platform.service_host import ServiceHost, Stop, run

# A request that was on its way when NATS went down is lost; it must not take long to find out.
JETSTREAM_TIMEOUT_SECONDS = 2.0
_DAY_SECONDS = 86_400

log = get_logger(__name__)


async def start(host: ServiceHost[DataflowWorkerSettings]) -> Stop:
    """Wire the service."""
    settings = host.settings
    clock = MonotonicClock()
    edge = await open_edge(host.ring, host.instance_id, clock=clock)
    client = AsyncUnifiedInferenceClient(RingTransport(edge))
    files = FileAccess(settings.allowed_roots, setting="dataflow_worker.allowed_roots")
    cache_dir = paths.cache_dir() if settings.keep_vectors else None

    def runner_for(tenant: str) -> LocalRunner:
        options = CallOptions(hints=Hints(service_class=ServiceClass.BULK), tenant=tenant)
        return LocalRunner(ClientModels(client, options), files=files, cache_dir=cache_dir, clock=clock)

    js = host.ring.connection.jetstream(timeout=JETSTREAM_TIMEOUT_SECONDS)
    streams = JobStreams(js, settings)
    try:
        await streams.ensure()
    except (NatsError, asyncio.TimeoutError) as error:
        # On a full disk, for one. Whoever pulls jobs tries it again.
        log.warning("streams of jobs not set up yet", error=str(error) or repr(error))
    retention_seconds = settings.job_retention_days * _DAY_SECONDS
    store = JobStore(await open_bucket(js, subjects.BUCKET_JOBS, ttl_seconds=retention_seconds, history=8))
    admission = PipelineAdmission(files)
    tools = RunTools(
        runner_for=runner_for,
        store=store,
        publisher=ResultPublisher(js),
        ack_wait_seconds=settings.ack_wait_seconds,
        interval_seconds=settings.progress_interval_seconds,
        clock=clock,
        now_ms=_now_ms,
    )
    worker = JobWorker(
        host.ring,
        streams,
        admission,
        tools,
        settings,
        host.instance_id,
        Counter("sage_dataflow_jobs", "Jobs that left this worker.", ["outcome"]),
        Gauge("sage_dataflow_jobs_running", "Jobs that run now."),
    )
    api = JobApi(host.ring.connection, streams, store, admission, _now_ms, int(retention_seconds * 1000))
    descriptor = dataflow_pb2.DESCRIPTOR.services_by_name["DataflowService"]
    host.grpc.add(dataflow_pb2_grpc.add_DataflowServiceServicer_to_server, DataflowServicer(api), descriptor.full_name)
    host.on_reconnect(store.reconnected)
    await admission.start()
    await store.start()
    await worker.start()

    async def stop() -> None:
        await worker.stop()
        await store.stop()
        await admission.stop()
        await edge.close()

    return stop


def main() -> None:
    """Run the service."""
    run("dataflow-worker", DataflowWorkerSettings, start)


def _now_ms() -> int:
    return int(time.time() * 1000)


if __name__ == "__main__":
    main()
