"""Settings that every service has, beside its own."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from pydantic import Field, SecretStr

from sage_common import paths
from sage_common.api_keys import ApiKeys, KeyHolder
from sage_common.config import SectionSettings, load
from sage_common.errors import ConfigurationError
from sage_common.oidc_settings import OidcSettings
from sage_common.ports import SagePorts
from sage_common.secret_text import without_credentials

_LOOPBACK = re.compile(r"nats://(127\.0\.0\.1|localhost|\[::1\])(:\d*)?/?", re.IGNORECASE)


class NatsSettings(SectionSettings):
    """How to reach NATS."""

    section: ClassVar[str] = "nats"

    url: str = Field(
        repr=False,  # it may hold credentials
        default_factory=lambda: f"nats://127.0.0.1:{SagePorts.NATS.here}",
        description="server URL, or several joined by commas",
    )
    connect_timeout_seconds: float = Field(10.0, gt=0, description="longest wait for the first connection")
    max_payload_bytes: int = Field(
        16 * 1024 * 1024, ge=1024, description="message limit of the server that SAGE starts"
    )
    token: SecretStr = Field(SecretStr(""), description="token of the server, where its URL holds no credentials")
    token_file: str = Field("", description="file that holds the token; read at each connection")

    @property
    def shown_url(self) -> str:
        """The URL without the credentials in it, for people and logs."""
        return without_credentials(self.url)

    @property
    def is_loopback(self) -> bool:
        """Whether the URL is a server of this machine, without credentials of its own."""
        return _LOOPBACK.fullmatch(self.url) is not None

    def current_token(self) -> str:
        """Return the token; empty for none.

        The URL's own credentials come first. Where nothing says otherwise, it is the token of the mesh that ``sage up``
        has started on this machine for this user. Raises ConfigurationError for a file that cannot be read.
        """
        if "@" in self.url:
            return ""
        given = secret_of(self.token, self.token_file)
        # Another machine's server is not shown what this one's is to know.
        return given or (mesh_token_here() if self.is_loopback else "")


class LogSettings(SectionSettings):
    """How to log."""

    section: ClassVar[str] = "log"

    level: str = Field("info", pattern="^(debug|info|warning|error)$")
    format: str = Field("auto", pattern="^(auto|json|console)$", description="auto: console on a terminal, else JSON")
    repeat_seconds: float = Field(
        1.0, ge=0, description="a fault that comes again within this time is counted, not written; 0 writes all"
    )
    max_file_bytes: int = Field(16 * 1024 * 1024, ge=4096, description="a process's log file is rotated beyond this")
    kept_files: int = Field(3, ge=0, description="rotated files kept of each log")
    max_total_bytes: int = Field(256 * 1024 * 1024, ge=4096, description="cap on all log files, engines' included")


class AccessSettings(SectionSettings):
    """Who may call the mesh; the same for every service."""

    section: ClassVar[str] = "access"

    api_keys: dict[str, str | KeyHolder] = Field(
        default_factory=dict,
        repr=False,
        description="what each API key stands for, a tenant or {tenant, operator}; with any, HTTP and gRPC need one",
    )
    operators: tuple[str, ...] = Field((), description="tenants all of whose keys may give orders")
    require_keys: bool = Field(
        False, description="ask every caller for an API key even before there is one; `sage key create` makes keys"
    )
    mesh_token: SecretStr = Field(
        SecretStr(""), description="what the services call each other with; `sage up` makes it"
    )
    mesh_token_file: str = Field("", description="file that holds the mesh token")
    insecure: bool = Field(False, description="let every service bind another address than loopback without API keys")

    def token(self) -> str:
        """Return the mesh token; empty for none. Raises ConfigurationError for a file that cannot be read."""
        return secret_of(self.mesh_token, self.mesh_token_file)


class _GatewayAccess(SectionSettings):
    """Where keys are set for the gateway alone: they hold for every service."""

    section: ClassVar[str] = "gateway"
    partial: ClassVar[bool] = True

    api_keys: dict[str, str | KeyHolder] = Field(default_factory=dict, repr=False)
    operators: tuple[str, ...] = ()


def known_api_keys(
    access: AccessSettings, keys: Mapping[str, str | KeyHolder] = MappingProxyType({}), operators: Collection[str] = ()
) -> ApiKeys:
    """Return the keys of the sections ``access`` and ``gateway``, and those given beside. Raises ConfigurationError."""
    gateway = load(_GatewayAccess)
    return ApiKeys(
        {**gateway.api_keys, **access.api_keys, **keys},
        (*gateway.operators, *access.operators, *operators),
        access.token(),
        always_required=access.require_keys or bool(load(OidcSettings).issuer),
    )


def secret_of(value: SecretStr, file: str) -> str:
    """Return a secret that is given as such or in a file. Raises ConfigurationError for a file that cannot be read."""
    if not file:
        return value.get_secret_value()
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the token in {file}: {error}") from None


def mesh_token_here() -> str:
    """Return the token of the mesh that ``sage up`` runs on this machine for this user; empty where there is none."""
    try:
        return paths.mesh_token_file().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class ServiceSettings(SectionSettings):
    """Base of the six services' settings. Port 0 takes a free port."""

    host: str = Field("127.0.0.1", description="address that gRPC and metrics bind")
    advertise_host: str = Field("", description="address that others use to reach this instance; host when empty")
    grpc_port: int = Field(0, ge=0, le=65535)
    metrics_port: int = Field(0, ge=0, le=65535)
    drain_timeout_seconds: float = Field(10.0, ge=0, description="longest wait for work in flight when stopping")
    replaced_drain_seconds: float = Field(
        3600.0, ge=0, description="the same where another process has taken this one's place, as in `sage restart`"
    )
    share_ports: bool = Field(
        False, description="let a successor bind the same gRPC and metrics ports; `sage up` sets it"
    )
    insecure: bool = Field(False, description="bind another address than loopback without API keys")

    def known_keys(self, access: AccessSettings) -> ApiKeys:
        """Return the keys that this service asks for. Raises ConfigurationError."""
        return known_api_keys(access)

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
