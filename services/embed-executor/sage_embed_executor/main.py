"""Where the embed-executor's objects are made and connected."""

from __future__ import annotations

import os

from prometheus_client import REGISTRY

from sage.embedding.v1 import embedding_pb2, embedding_pb2_grpc
from sage.inference.v1 import tokens_pb2, tokens_pb2_grpc
from sage_common.clock import MonotonicClock
from sage_embed_executor.config import EmbedExecutorSettings
from sage_embed_executor.engines.engine_type import EngineContext
from sage_embed_executor.engines.registry import make_engines
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.service import EmbeddingServicer
from sage_mesh.executor.executor import Executor
from sage_mesh.executor.executor_gauges import ExecutorGauges
from sage_mesh.executor.token_service import TokenServicer
from sage_platform.service_host import ServiceHost, Stop, run


async def start(host: ServiceHost[EmbedExecutorSettings]) -> Stop:
    """Wire the service. The models go on loading after it is up; an engine's phase says how far it is."""
    clock = MonotonicClock()
    executor = Executor(host.ring, host.instance_id, "embed-executor", clock)
    REGISTRY.register(ExecutorGauges(executor.states))
    engines = make_engines(EngineContext(host.settings, host.instance_id, clock, EmbedMetrics()))
    await executor.start()
    for engine in engines:
        await executor.host(engine)
    descriptor = embedding_pb2.DESCRIPTOR.services_by_name["EmbeddingService"]
    host.grpc.add(
        embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server, EmbeddingServicer(executor), descriptor.full_name
    )

    tokens = tokens_pb2.DESCRIPTOR.services_by_name["TokenService"]
    servicer = TokenServicer(lambda: executor.engines)
    host.grpc.add(tokens_pb2_grpc.add_TokenServiceServicer_to_server, servicer, tokens.full_name)

    async def stop() -> None:
        await executor.stop(host.drain_seconds)

    return stop


def main() -> None:
    """Run the service."""
    # The tokenizer's own thread pool would compete with the inference streams; one thread does 0.8M tokens/s.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    run("embed-executor", EmbedExecutorSettings, start)


if __name__ == "__main__":
    main()
