"""Settings of the gateway."""

from __future__ import annotations

import socket
from typing import ClassVar

from pydantic import Field

from sage_common.api_keys import ApiKeys, KeyHolder
from sage_common.ports import SagePorts
from sage_common.service_settings import AccessSettings, ServiceSettings, known_api_keys

MEBIBYTE = 1024 * 1024


class GatewaySettings(ServiceSettings):
    """Section ``gateway``."""

    section: ClassVar[str] = "gateway"

    port: int = Field(
        default_factory=lambda: SagePorts.GATEWAY_HTTP.here, ge=0, le=65535, description="HTTP port; 0 takes a free one"
    )
    listener_descriptors: tuple[int, ...] = Field(
        (), description="sockets that the gateway inherits and shares with others on its port; `sage up` sets them"
    )
    max_body_bytes: int = Field(
        64 * MEBIBYTE,
        ge=1024,
        description="largest request body; without its images and the like it is to have inline_body_bytes at most",
    )
    inline_body_bytes: int = Field(
        8 * MEBIBYTE,
        ge=1024,
        description="largest body that goes through the mesh in messages; the mesh's own message limit bounds it too",
    )
    long_bodies_at_once: int = Field(4, ge=1, description="longer bodies that are read at the same time")
    long_bodies_bytes: int = Field(
        2048 * MEBIBYTE, ge=1024, description="what the images and the like of such bodies may have together"
    )
    body_timeout_seconds: float = Field(30.0, gt=0, description="longest wait for the whole body of a request")
    timeout_seconds: float = Field(600.0, gt=0, description="longest wait for an answer when the caller sets no limit")
    max_timeout_seconds: float = Field(3600.0, gt=0, description="longest limit that a caller can set")
    keep_alive_seconds: int = Field(75, ge=1, description="how long an idle connection stays open")
    api_keys: dict[str, str | KeyHolder] = Field(
        default_factory=dict,
        repr=False,
        description="what each API key stands for, a tenant or {tenant, operator}, beside those of section access",
    )
    allowed_hosts: tuple[str, ...] = Field(
        ("host.docker.internal", "host.containers.internal"),
        description="host names that a gateway without API keys answers for, beside localhost, addresses and this "
        "machine's name; *.example.com for all below one, * for any",
    )
    operators: tuple[str, ...] = Field(
        (), description="tenants whose keys may change policies and engines and see every decision; all, without keys"
    )
    ready_wait_seconds: float = Field(
        60.0, ge=0, description="how long /ready waits for models that load once one engine is ready"
    )
    write_timeout_seconds: float = Field(
        30.0, gt=0, description="how long a client may read nothing of what waits for it until its connection is cut"
    )

    def known_keys(self, access: AccessSettings) -> ApiKeys:
        return known_api_keys(access, self.api_keys, self.operators)

    assumed_output_tokens: int = Field(
        512, ge=1, description="reserved of a tenant's limits for an answer whose request sets no max_tokens"
    )
    limits_fail_open: bool = Field(
        False, description="whether tenants' requests pass while NATS is away and nobody can say what is left to them"
    )
    studio_url: str = Field(
        "", pattern=r"^(https?://\S+)?$", description="where the studio is, which the page at / leads to"
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose pages may call this gateway from a browser, such as https://chat.example.com"
    )
    stream_comment_seconds: float | None = Field(
        None,
        gt=0,
        description="after this long a silence a stream gets a comment, so that proxies keep its connection; its "
        "status is then 200 before its engine has answered; empty for no comments",
    )
    https: bool = Field(
        False, description="serve the API over HTTPS with the certificate that `sage mesh secure` has made for it"
    )
    tls_certificate_file: str = Field(
        "", description="PEM certificate to serve the API over HTTPS with, and those above it; with tls_key_file"
    )
    tls_key_file: str = Field("", description="PEM key of tls_certificate_file")
    max_connections: int = Field(10_000, ge=0, description="most HTTP connections at once; 0 for any number")
    max_connections_per_address: int = Field(
        5_000, ge=0, description="most HTTP connections at once from one address; 0 for any number"
    )
    max_file_bytes: int = Field(512 * MEBIBYTE, ge=1024, description="largest file that can be uploaded")
    max_tenant_file_bytes: int = Field(
        4096 * MEBIBYTE, ge=1024, description="what the files of one tenant may have together"
    )
    max_batch_requests: int = Field(1_000_000, ge=1, description="most requests of one batch")
    batches_at_once: int = Field(4, ge=0, description="batches that one gateway runs at the same time; 0 runs none")
    batch_requests_in_flight: int = Field(
        32, ge=1, description="requests of batches that one gateway has in the mesh at the same time"
    )
    batch_retention_days: float = Field(
        30.0, gt=0, le=35, description="how long a batch can be looked up, from its last change on"
    )
    response_retention_days: float = Field(30.0, gt=0, description="how long a stored response can be looked up")
    background_responses_at_once: int = Field(
        64, ge=0, description="responses that one gateway makes in the background at the same time; 0 makes none"
    )

    @property
    def most_inline_bytes(self) -> int:
        """Of a body in messages, before the mesh's own limit."""
        return min(self.max_body_bytes, self.inline_body_bytes)

    @property
    def own_hosts(self) -> tuple[str, ...]:
        """Names that this gateway is called by, whatever is set: the ones it binds and registers, and the machine's.

        Of the machine's name the first label only: a domain behind it, ``.local`` too, is for others on the network to
        answer.
        """
        return (self.host, self.advertise_host, socket.gethostname().partition(".")[0])
