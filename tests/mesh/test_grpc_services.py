"""A reflection client lists and calls all six services."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from sage_benchmark.isolated_mesh import IsolatedMesh

# One call of each service: method, request fields, and what the answer must hold.
CALLS = {
    "classifier": (
        "sage.classifier.v1.ClassifierService",
        "Classify",
        {"request": {"endpoint": 1, "body": b'{"messages":[{"role":"user","content":"hi"}]}'}},
    ),
    "scheduler": ("sage.scheduler.v1.SchedulerService", "ListEngines", {}),
    "embed-executor": ("sage.embedding.v1.EmbeddingService", "Embed", {"texts": ["hello"]}),
    "llm-coordinator": ("sage.llm.v1.LlmService", "ListEngines", {}),
    "gateway": ("sage.gateway.v1.GatewayService", "Embed", {"model": "minilm", "texts": ["hello", "you"]}),
    "dataflow-worker": ("sage.dataflow.v1.DataflowService", "ListJobs", {}),
}


def address(mesh: IsolatedMesh, service: str) -> str:
    return f"127.0.0.1:{mesh.processes(service)[0].ports['grpc']}"


def call(channel: grpc.Channel, service: str, method: str, fields: dict[str, object]) -> object:
    """Call a unary method knowing nothing but what reflection says."""
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    descriptor = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_factory.GetMessageClass(descriptor.input_type)(**fields)
    answer = message_factory.GetMessageClass(descriptor.output_type)
    stub = channel.unary_unary(
        f"/{service}/{method}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )
    return stub(request, timeout=20)


@pytest.mark.parametrize("service", CALLS)
def test_reflection_lists_the_service_and_a_call_works(mesh: IsolatedMesh, service: str) -> None:
    name, method, fields = CALLS[service]
    with grpc.insecure_channel(address(mesh, service)) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {name, "grpc.health.v1.Health"} <= set(database.get_services())
        answer = call(channel, name, method, fields)
        if service == "classifier":
            assert answer.classification.model == "sage-extractive"  # type: ignore[attr-defined]
        elif service == "gateway":
            vectors = np.frombuffer(answer.vectors, "<f4").reshape(2, answer.dimensions)  # type: ignore[attr-defined]
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
        elif service == "embed-executor":
            assert len(answer.vectors) == 4 * answer.dimensions  # type: ignore[attr-defined]
        elif service == "scheduler":
            assert len(answer.engines) >= 2  # type: ignore[attr-defined]
        elif service == "llm-coordinator":
            assert answer.engines[0].spec.implementation == "extractive"  # type: ignore[attr-defined]


@pytest.mark.parametrize("service", CALLS)
def test_health_says_serving_for_the_whole_and_by_name(mesh: IsolatedMesh, service: str) -> None:
    with grpc.insecure_channel(address(mesh, service)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", CALLS[service][0]):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_an_error_has_its_status_and_machine_code(mesh: IsolatedMesh) -> None:
    with grpc.insecure_channel(address(mesh, "gateway")) as channel, pytest.raises(grpc.RpcError) as caught:
        call(channel, "sage.gateway.v1.GatewayService", "Embed", {"model": "nope", "texts": ["x"]})
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert ("sage-error-code", "model_not_found") in [(k, v) for k, v in caught.value.trailing_metadata()]
