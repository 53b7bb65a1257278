"""Settings of the client."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, SecretStr

from sage_common.config import SectionSettings
from sage_common.ports import SagePorts


class ClientSettings(SectionSettings):
    """Section ``client``."""

    section: ClassVar[str] = "client"

    target: str = Field(
        f"http://127.0.0.1:{SagePorts.GATEWAY_HTTP.value}", description="http://… for a gateway, nats://… for the ring"
    )
    tenant: str = Field("", description="who pays and shares; empty leaves it to the gateway")
    api_key: SecretStr = Field(SecretStr(""), description="key for the gateway")
    timeout_seconds: float = Field(600.0, gt=0, description="longest wait for one answer")
    max_connections: int = Field(256, ge=1, description="HTTP requests that may be on the way at once")
