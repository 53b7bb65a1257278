"""Mutual TLS of gRPC: both sides show a certificate of the mesh's authority."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import grpc

from sage_common.errors import ConfigurationError
from sage_common.logging import get_logger
from sage_common.tls_settings import TlsFiles, internal_name

log = get_logger(__name__)


def server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    """Return what a server shows and asks for; it looks at its files again for each connection.

    Raises:
        ConfigurationError: they cannot be read.
    """
    current = tls.pem()

    def configuration(pem: tuple[bytes, bytes, bytes]) -> grpc.ServerCertificateConfiguration:
        authority, certificate, key = pem
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal current
        try:
            found = tls.pem()
        except ConfigurationError as error:
            log.warning("certificate not read again", error=error.message)
            return None
        if found == current:
            return None
        current = found
        return configuration(found)

    # None says that nothing has changed, which the stubs do not know.
    fetch = cast(Callable[[], grpc.ServerCertificateConfiguration], renewed)
    return grpc.dynamic_ssl_server_credentials(configuration(current), fetch, require_client_authentication=True)


def channel_credentials(tls: TlsFiles) -> grpc.ChannelCredentials:
    """Return what a client shows and trusts. Raises ConfigurationError: the files cannot be read."""
    authority, certificate, key = tls.pem()
    return grpc.ssl_channel_credentials(root_certificates=authority, private_key=key, certificate_chain=certificate)


def name_option(service: str) -> tuple[str, str]:
    """Return the option of a channel by which the server must be ``service``, whatever address it is reached at."""
    return "grpc.ssl_target_name_override", internal_name(service)
