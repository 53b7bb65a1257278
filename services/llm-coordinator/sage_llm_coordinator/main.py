"""Where the llm-coordinator's objects meet."""

from __future__ import annotations

from prometheus_client import REGISTRY
from pydantic import SecretStr

import sage_platform.grpc_without_forks  # noqa: F401 - before gRPC
from sage.inference.v1 import tokens_pb2, tokens_pb2_grpc
from sage.llm.v1 import llm_pb2, llm_pb2_grpc
from sage_client.edge_factory import open_edge
from sage_common import paths
from sage_common.clock import MonotonicClock
from sage_common.config import load
from sage_common.service_settings import LogSettings, secret_of
from sage_common.tasks import end_tasks
from sage_llm_coordinator import adapter_records
from sage_llm_coordinator.adapter_records import AdapterRecords
from sage_llm_coordinator.adoption import Adoption
from sage_llm_coordinator.config import LlmCoordinatorSettings
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engines.engine_kind import EngineParts
from sage_llm_coordinator.engines.registry import engine_kind
from sage_llm_coordinator.engines.sentence_embedder import MeshEmbedder
from sage_llm_coordinator.kv_cache.account_sender import CacheReports
from sage_llm_coordinator.kv_cache.following import CacheFollowing
from sage_llm_coordinator.pods.pod_discovery import PodDiscovery, discover_pods
from sage_llm_coordinator.pods.pod_engines import PodEngines
from sage_llm_coordinator.registrations import BUCKET, Registrations
from sage_llm_coordinator.servers import record
from sage_llm_coordinator.servers.record import ServerRecords
from sage_llm_coordinator.servers.servers import Servers
from sage_llm_coordinator.service import LlmServicer
from sage_llm_coordinator.start_rules import StartRules
from sage_mesh.directory import EngineDirectory
from sage_mesh.executor.executor import Executor
from sage_mesh.executor.executor_gauges import ExecutorGauges
from sage_mesh.executor.token_service import TokenServicer
from sage_platform.background import keep_running
from sage_platform.kv import open_bucket
from sage_platform.machine import machine_id
from sage_platform.service_host import ServiceHost, Stop, run
from sage_platform.supervision.process_log import LogLimits, LogRotation


async def start(host: ServiceHost[LlmCoordinatorSettings]) -> Stop:
    """Wire the service. Engines go on starting after it is up; their phases say how far they are."""
    settings = host.settings
    for engine in settings.engines:
        engine_kind(engine)
    clock = MonotonicClock()
    # The extractive engine is itself a caller of the mesh.
    edge = await open_edge(host.ring, host.instance_id, clock=clock)

    def embedder(model: str, timeout_seconds: float) -> MeshEmbedder:
        return MeshEmbedder(edge.edge, edge.directory, model, timeout_seconds)

    executor = Executor(host.ring, host.instance_id, host.name, clock)
    REGISTRY.register(ExecutorGauges(executor.states))
    records = ServerRecords(await open_bucket(host.js, record.BUCKET))
    servers = Servers(settings.servers, records, host.instance_id, machine_id())
    kept_adapters = AdapterRecords(await open_bucket(host.js, adapter_records.BUCKET), machine_id())
    caches = CacheReports(host.ring)
    parts = EngineParts(settings.of_kinds(), embedder, clock, servers, CacheFollowing(caches))
    coordinator = ExecutionCoordinator(executor, parts, kept_adapters, host.instance_id)
    adoption = Adoption(
        servers,
        coordinator,
        edge.directory,
        clock,
        executor_id=host.instance_id,
        replica=settings.replica,
        successor_of=settings.successor_of,
    )
    bucket = await open_bucket(host.js, BUCKET)
    registrations = Registrations(
        bucket,
        coordinator,
        edge.directory,
        host.instance_id,
        adoption.origins,
        successor_of=settings.successor_of,
    )
    # Of engines' servers, whose output goes to files of theirs; where a supervisor runs, it does the same.
    rotation = LogRotation(paths.log_dir() / "engines", LogLimits.of(load(LogSettings)))
    rotating = keep_running(rotation.run, name="log-rotation")
    await executor.start()
    await caches.start()
    with_servers = [engine for engine in settings.engines if engine_kind(engine).program]
    for engine in settings.engines:
        if engine not in with_servers:
            await coordinator.add(engine)
    await adoption.start(with_servers)
    if settings.restore_registered:
        registrations.start()
    pods = await _discover(host, coordinator, edge.directory, clock)
    host.on_reconnect(executor.beat)
    rules = StartRules(settings.allowed_arguments, settings.allowed_environment)
    servicer = LlmServicer(coordinator, registrations, settings.drain_timeout_seconds, rules)
    descriptor = llm_pb2.DESCRIPTOR.services_by_name["LlmService"]
    host.grpc.add(llm_pb2_grpc.add_LlmServiceServicer_to_server, servicer, descriptor.full_name)

    tokens = tokens_pb2.DESCRIPTOR.services_by_name["TokenService"]
    token_servicer = TokenServicer(lambda: coordinator.engines)
    host.grpc.add(tokens_pb2_grpc.add_TokenServiceServicer_to_server, token_servicer, tokens.full_name)

    async def stop() -> None:
        if pods is not None:
            await pods.stop()
        await registrations.stop()
        await adoption.stop()
        # An engine that is being removed must not be removed twice at once; both share one time-out.
        began = clock.now()
        await coordinator.orders.stop(host.drain_seconds)
        await executor.stop(max(0.0, host.drain_seconds - (clock.now() - began)))
        await caches.stop()
        await edge.close()
        await end_tasks(rotating)

    return stop


async def _discover(
    host: ServiceHost[LlmCoordinatorSettings],
    coordinator: ExecutionCoordinator,
    directory: EngineDirectory,
    clock: MonotonicClock,
) -> PodDiscovery | None:
    """Look for engines that are pods, where the settings say which; None where they do not."""
    wanted = host.settings.kubernetes
    if not wanted.pod_selector:
        return None
    engines = PodEngines(
        coordinator,
        directory,
        host.instance_id,
        clock,
        # Read for each engine: the file of a Secret changes with it.
        api_key=lambda: secret_of(SecretStr(""), wanted.api_key_file),
        drain_seconds=wanted.drain_seconds,
    )
    return await discover_pods(wanted, engines, REGISTRY)


def main() -> None:
    """Run the service."""
    run("llm-coordinator", LlmCoordinatorSettings, start)


if __name__ == "__main__":
    main()
