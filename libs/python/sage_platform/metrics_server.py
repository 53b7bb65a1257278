"""Prometheus' page of a process, and what an orchestrator asks of it, on a port that its successor may bind too."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from sage_common.errors import ConfigurationError
from sage_common.tls_settings import TlsFiles, identity_in, read_generations
from sage_platform.probe_pages import ProbePages

# A client that says nothing holds its thread no longer than this.
SILENT_SECONDS = 30.0


def serve_metrics(
    host: str, port: int, *, shared: bool = False, probes: ProbePages | None = None, tls: TlsFiles | None = None
) -> int:
    """Serve ``/metrics`` in a thread until the process ends; return the port bound.

    Args:
        port: 0 takes a free one.
        shared: whether others of this user that say so too may bind the same port.
        probes: answers ``/livez`` and ``/readyz``; None where nobody asks for them.
        tls: the server's certificate; who asks then shows one of the same authority. None for answers in the clear.

    Raises:
        OSError: the address cannot be bound.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]

    class Server(_Server):
        address_family = family
        shares_port = shared
        certificate = tls

    metrics = make_wsgi_app()
    application = metrics if probes is None else probes.before(metrics)
    server = make_server(str(address[0]), port, application, Server, _SilentHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return int(server.server_port)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    shares_port = False
    certificate: TlsFiles | None = None

    def server_bind(self) -> None:
        if self.shares_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer in the thread of the request, which the handshake may hold up and nobody else."""
        tls = self.certificate
        if tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(SILENT_SECONDS)
        # Read for each connection, so that a renewed certificate is shown to the next.
        with contextlib.closing(tls.server_context().wrap_socket(request, server_side=True)) as secured:
            if not _is_revoked(secured.getpeercert() or {}, tls):
                super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what fails here; a client without a certificate, or that went away, is no event."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def _is_revoked(certificate: Any, tls: TlsFiles) -> bool:
    names = [identity_in(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "URI"]
    try:
        generations = read_generations(tls.generations)
    except ConfigurationError:
        return True
    return any(generation < generations.get(identity, 0) for identity, generation in filter(None, names))


class _SilentHandler(WSGIRequestHandler):
    timeout = SILENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no event."""
