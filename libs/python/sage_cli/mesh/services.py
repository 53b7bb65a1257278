"""The six services, as the command line starts them."""

from __future__ import annotations

from dataclasses import dataclass

from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_common.ports import SagePorts


@dataclass(frozen=True)
class ServiceEntry:
    """One service.

    Attributes:
        grpc_port: port of its first replica; further ones take free ports.
        http: HTTP port of its first replica; None for a service without HTTP.
        edge: whether requests enter the ring there; edges are stopped first, so that they can finish.
    """

    name: str
    grpc_port: SagePorts
    http: SagePorts | None = None
    edge: bool = False

    @property
    def section(self) -> str:
        """Its section of the settings."""
        return self.name.replace("-", "_")

    @property
    def module(self) -> str:
        """Its package, runnable with ``python -m``."""
        return f"sage_{self.section}"


SERVICES = (
    ServiceEntry("gateway", SagePorts.GATEWAY_GRPC, SagePorts.GATEWAY_HTTP, edge=True),
    ServiceEntry("classifier", SagePorts.CLASSIFIER_GRPC),
    ServiceEntry("scheduler", SagePorts.SCHEDULER_GRPC),
    ServiceEntry("llm-coordinator", SagePorts.LLM_COORDINATOR_GRPC),
    ServiceEntry("embed-executor", SagePorts.EMBED_EXECUTOR_GRPC),
    ServiceEntry("dataflow-worker", SagePorts.DATAFLOW_WORKER_GRPC, edge=True),
)
NATS = "nats"
MAX_REPLICAS = 64


def service(name: str) -> ServiceEntry:
    """Return the service ``name``; underscores pass for hyphens. Raises ConfigurationError for an unknown one."""
    wanted = name.strip().lower().replace("_", "-")
    for entry in SERVICES:
        if entry.name == wanted:
            return entry
    raise ConfigurationError(f"no service {name!r}{nearest(wanted, [entry.name for entry in SERVICES])}")


def replica_counts(given: dict[str, int]) -> dict[str, int]:
    """Return how many processes of each service to run: 1 where ``given`` says nothing.

    Raises:
        ConfigurationError: an unknown service or a count outside 0 … MAX_REPLICAS.
    """
    counts = {entry.name: 1 for entry in SERVICES}
    for name, count in given.items():
        if not 0 <= count <= MAX_REPLICAS:
            raise ConfigurationError(f"{count} replicas of {name}: choose 0 to {MAX_REPLICAS}")
        counts[service(name).name] = count
    return counts
