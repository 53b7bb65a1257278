from __future__ import annotations

import json

from sage_cli.mesh.environment import chosen_ports, service_environment
from sage_cli.mesh.plan import MeshPlan
from sage_cli.mesh.services import SERVICES, replica_counts, service
from sage_common.ports import SagePorts

PLAN = MeshPlan(replica_counts({}))
NATS = "nats://127.0.0.1:4222"


def test_the_first_replica_takes_the_well_known_ports_and_no_two_services_share_one() -> None:
    ports = [
        port
        for entry in SERVICES
        for port in chosen_ports(entry, service_environment(entry, 1, PLAN, NATS, {}, {})).values()
    ]
    assert SagePorts.GATEWAY_HTTP in ports
    assert SagePorts.SCHEDULER_GRPC in ports
    assert len(ports) == len(set(ports)) == 2 * len(SERVICES) + 1


def test_a_further_replica_takes_free_ports_whatever_is_configured() -> None:
    gateway = service("gateway")
    variables = service_environment(gateway, 2, PLAN, NATS, {"port": 7000}, {"SAGE_GATEWAY_GRPC_PORT": "7001"})
    assert variables["SAGE_GATEWAY_PORT"] == "0"
    assert variables["SAGE_GATEWAY_GRPC_PORT"] == "0"
    assert chosen_ports(gateway, variables) == {}


def test_ports_that_the_user_chose_in_the_environment_or_the_file_are_kept() -> None:
    variables = service_environment(
        service("gateway"), 1, PLAN, NATS, {"port": 7000}, {"SAGE_GATEWAY_GRPC_PORT": "7001"}
    )
    assert "SAGE_GATEWAY_PORT" not in variables
    assert "SAGE_GATEWAY_GRPC_PORT" not in variables
    assert variables["SAGE_GATEWAY_METRICS_PORT"] == str(SagePorts.GATEWAY_GRPC.metrics)


def test_a_url_becomes_an_openai_engine_and_a_name_a_vllm_engine() -> None:
    coordinator = service("llm-coordinator")
    for llm, engine in (
        ("http://127.0.0.1:8001/v1", {"kind": "openai", "url": "http://127.0.0.1:8001/v1"}),
        # What runs it the coordinator knows.
        ("some/model", {"model": "some/model"}),
    ):
        variables = service_environment(coordinator, 1, MeshPlan({}, llm=llm), NATS, {}, {})
        assert json.loads(variables["SAGE_LLM_COORDINATOR_ENGINES"]) == [engine]
        assert "SAGE_LLM_COORDINATOR_ENGINES" not in service_environment(
            service("gateway"), 1, MeshPlan({}, llm=llm), NATS, {}, {}
        )


def test_the_engine_choice_is_what_the_services_own_settings_read() -> None:
    from sage_embed_executor.config import EmbedExecutorSettings
    from sage_llm_coordinator.config import LlmCoordinatorSettings

    assert "engines" in LlmCoordinatorSettings.model_fields
    variables = service_environment(service("embed-executor"), 1, MeshPlan({}, embed="minilm"), NATS, {}, {})
    assert variables["SAGE_EMBED_EXECUTOR_MODEL"] == "minilm"
    assert "model" in EmbedExecutorSettings.model_fields


def test_threads_are_left_to_the_services_that_compute_and_to_the_user() -> None:
    assert service_environment(service("gateway"), 1, PLAN, NATS, {}, {})["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in service_environment(service("embed-executor"), 1, PLAN, NATS, {}, {})
    assert "OMP_NUM_THREADS" not in service_environment(service("gateway"), 1, PLAN, NATS, {}, {"OMP_NUM_THREADS": "3"})


def test_gateways_on_one_port_have_the_first_ones_port_and_their_own_for_the_rest() -> None:
    gateway = service("gateway")
    plan = MeshPlan(replica_counts({}), gateways=2)
    first, second = (service_environment(gateway, replica, plan, NATS, {}, {}) for replica in (1, 2))
    assert first["SAGE_GATEWAY_PORT"] == second["SAGE_GATEWAY_PORT"] == str(SagePorts.GATEWAY_HTTP.here)
    assert second["SAGE_GATEWAY_GRPC_PORT"] == "0"
