"""The server of the HTTP API, as the settings want it: its limits, and its certificate."""

from __future__ import annotations

from sage_common.tls_settings import TlsFiles
from sage_gateway.asgi import App
from sage_gateway.config import GatewaySettings
from sage_gateway.connection_limit import ConnectionLimit
from sage_gateway.front_certificate import front_certificate
from sage_gateway.http_server import HttpServer


def front_server(app: App, settings: GatewaySettings, mesh_tls: TlsFiles | None) -> HttpServer:
    """Return the server, not started.

    Args:
        mesh_tls: the gateway's certificate in a secured mesh; None elsewhere.

    Raises:
        ConfigurationError: HTTPS is wanted, and there is no certificate for it.
    """
    front = front_certificate(settings, mesh_tls.folder if mesh_tls else None)
    return HttpServer(
        app,
        limit=ConnectionLimit(settings.max_connections, settings.max_connections_per_address),
        context=front.context() if front else None,
        keep_alive_seconds=settings.keep_alive_seconds,
        drain_timeout_seconds=settings.drain_timeout_seconds,
        write_timeout_seconds=settings.write_timeout_seconds,
    )
