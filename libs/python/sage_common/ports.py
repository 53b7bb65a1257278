"""Well-known ports. Every default port of the system is here."""

from __future__ import annotations

import os
import socket
from enum import IntEnum

from sage_common.errors import ConfigurationError

OFFSET_VARIABLE = "SAGE_PORT_OFFSET"
# Below the least the gRPC ports of two meshes overlap; above the most they leave the range of ports.
LEAST_OFFSET, MOST_OFFSET = 10, 15_000


def port_offset() -> int:
    """Return what is added to every well-known port, for a further mesh on this machine; 0 for the first.

    Raises:
        ConfigurationError: ``SAGE_PORT_OFFSET`` is no such number.
    """
    given = os.environ.get(OFFSET_VARIABLE, "").strip() or "0"
    if given.isdecimal() and (int(given) == 0 or LEAST_OFFSET <= int(given) <= MOST_OFFSET):
        return int(given)
    raise ConfigurationError(
        f"{OFFSET_VARIABLE} (--port-offset) is {given!r}; choose 0, or {LEAST_OFFSET} to {MOST_OFFSET}"
    )


class SagePorts(IntEnum):
    """Default ports, each overridable by the owning service's ``port`` settings."""

    GATEWAY_HTTP = 8888
    STUDIO = 8889
    LLM_ENGINE = 8001
    LLM_ENGINE_SECOND = 8901
    EMBEDDING_ENGINE = 8090
    NATS = 4222
    NATS_MONITOR = 8222
    NATS_CLUSTER = 6222
    GATEWAY_GRPC = 50050
    CLASSIFIER_GRPC = 50051
    SCHEDULER_GRPC = 50052
    EMBED_EXECUTOR_GRPC = 50053
    LLM_COORDINATOR_GRPC = 50054
    DATAFLOW_WORKER_GRPC = 50056

    @property
    def metrics(self) -> int:
        """Prometheus port of a gRPC service: 9100 plus the last digit of its gRPC port."""
        return 9100 + self.value % 10 + port_offset()

    @property
    def here(self) -> int:
        """The port with the offset of the mesh that this process belongs to."""
        return self.value + port_offset()


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Say whether a TCP listener could bind ``host:port`` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that the system says is free. Prefer binding port 0 where the server allows it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def port_taken(port: int, host: str, setting: str) -> ConfigurationError:
    """Return the error for a port in use, with its remedy."""
    return ConfigurationError(
        f"port {port} on {host} is in use by another program; stop it (`sage down` if it is an older SAGE), "
        f"or choose another port with {setting}",
        code="port_in_use",
    )
