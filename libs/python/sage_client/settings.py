"""Settings of the client."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field, SecretStr

from sage_common import paths
from sage_common.config import SectionSettings, read_yaml
from sage_common.ports import SagePorts

# What the settings take for a truth.
_TRUE = frozenset({"true", "1", "yes", "on", "y", "t"})


def own_gateway() -> str:
    """Return the URL of this machine's gateway: the port and the scheme that the gateway's own settings name."""
    path = paths.config_file()
    section = read_yaml(path).get("gateway") if path.exists() else None
    configured = section if isinstance(section, dict) else {}

    def setting(name: str) -> str:
        return os.environ.get(f"SAGE_GATEWAY_{name.upper()}") or str(configured.get(name) or "")

    # 0 is a port that only the running gateway knows; `sage` asks its supervisor for it.
    port = setting("port")
    secure = setting("https").lower() in _TRUE or setting("tls_certificate_file")
    scheme = "https" if secure else "http"
    return f"{scheme}://127.0.0.1:{port if port and port != '0' else SagePorts.GATEWAY_HTTP.here}"


class ClientSettings(SectionSettings):
    """Section ``client``."""

    section: ClassVar[str] = "client"

    target: str = Field(
        default_factory=lambda: own_gateway(), description="http://… for a gateway, nats://… for the ring"
    )
    tenant: str = Field("", description="who pays and shares; empty leaves it to the gateway")
    api_key: SecretStr = Field(SecretStr(""), description="key for the gateway")
    ca_file: str = Field(
        "", description="authority of an https gateway's certificate; empty for the system's and this user's own mesh's"
    )
    timeout_seconds: float = Field(600.0, gt=0, description="longest wait for one answer")
    max_connections: int = Field(256, ge=1, description="HTTP requests that may be on the way at once")
