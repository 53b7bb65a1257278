"""Settings that every service has, beside its own."""

from __future__ import annotations

import os
import socket
from typing import ClassVar

from pydantic import Field

from sage_common.config import SectionSettings
from sage_common.ports import SagePorts


class NatsSettings(SectionSettings):
    """How to reach NATS."""

    section: ClassVar[str] = "nats"

    url: str = Field(f"nats://127.0.0.1:{SagePorts.NATS.value}", description="server URL, or several joined by commas")
    connect_timeout_seconds: float = Field(10.0, gt=0, description="longest wait for the first connection")
    max_payload_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, description="message limit of the server that SAGE starts"
    )


class LogSettings(SectionSettings):
    """How to log."""

    section: ClassVar[str] = "log"

    level: str = Field("info", pattern="^(debug|info|warning|error)$")
    format: str = Field("auto", pattern="^(auto|json|console)$", description="auto: console on a terminal, else JSON")


class ServiceSettings(SectionSettings):
    """Base of the six services' settings. Port 0 takes a free port."""

    host: str = Field("127.0.0.1", description="address that gRPC and metrics bind")
    advertise_host: str = Field("", description="address that others use to reach this instance; host when empty")
    grpc_port: int = Field(0, ge=0, le=65535)
    metrics_port: int = Field(0, ge=0, le=65535)
    drain_timeout_seconds: float = Field(10.0, ge=0, description="longest wait for work in flight when stopping")

    @property
    def reachable_host(self) -> str:
        """Address to register."""
        if self.advertise_host:
            return self.advertise_host
        return socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host


def instance_id(service: str) -> str:
    """Id of this process: ``SAGE_INSTANCE_ID``, or service, host and pid with a random tail."""
    given = os.environ.get("SAGE_INSTANCE_ID")
    return given or f"{service}-{os.getpid()}-{os.urandom(3).hex()}"
