"""Asks a running service whether it is well. For container health checks, where no other tool is installed.

    python -m sage_platform.probe 127.0.0.1:50051                    gRPC health v1
    python -m sage_platform.probe service classifier                 the same, on that service's own port
    python -m sage_platform.probe http http://127.0.0.1:8888/ready   any 2xx answer

Exit status 0: well; 1: not well, with the reason on stderr; 2: wrong usage.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sage_common.errors import ConfigurationError, SageError, UnavailableError
from sage_common.ports import SagePorts
from sage_common.tls_settings import ANY_SERVICE, configured_tls
from sage_platform.grpc_server import HEALTH_METADATA
from sage_platform.grpc_tls import channel_credentials, name_option

TIMEOUT_SECONDS = 3.0

EXIT_WELL = 0
EXIT_NOT_WELL = 1
EXIT_USAGE = 2


def check_grpc(address: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Ask the health service at ``host:port`` about the whole server.

    Raises:
        UnavailableError: nothing answers there within ``timeout_seconds``, or it is not serving.
        ConfigurationError: the certificate that is set cannot be read.
    """
    # A proxy in the environment is for the outside; a probe never leaves the machine.
    options: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", 0)]
    tls = configured_tls()
    if tls is not None:
        options.append(name_option(ANY_SERVICE))
        opened = grpc.secure_channel(address, channel_credentials(tls), options=options)
    else:
        opened = grpc.insecure_channel(address, options=options)
    with opened as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer, call = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
        except grpc.RpcError as error:
            raise UnavailableError(f"{address} does not answer: {error.code().name}: {error.details()}") from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        reason = dict(call.trailing_metadata() or ()).get(HEALTH_METADATA, "its log has the reason")
        raise UnavailableError(f"{address} says {status}; {reason}")


def check_http(url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
    """Get ``url``.

    Raises:
        UnavailableError: nothing answers there within ``timeout_seconds``, or with another status than 2xx.
        ConfigurationError: ``url`` is not an http or https URL.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{url!r} is not a URL; it must begin with http:// or https://")
    # What answers on this machine's loopback is asked whether it is well, not who it is.
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https://127.0.0.1:"):
        handlers.append(urllib.request.HTTPSHandler(context=ssl._create_unverified_context()))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url, timeout=timeout_seconds):
            return
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(500).decode("utf-8", "replace")
        raise UnavailableError(f"{url} answers {error.code}: {body}") from None
    except (OSError, ValueError) as error:
        raise UnavailableError(f"{url} does not answer: {error}") from None


def service_address(service: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where a service of this machine serves gRPC: ``SAGE_<SECTION>_GRPC_PORT``, or its well-known port.

    Raises:
        ConfigurationError: there is no such service.
    """
    section = service.upper().replace("-", "_")
    known = {port.name.removesuffix("_GRPC"): port.value for port in SagePorts if port.name.endswith("_GRPC")}
    if section not in known:
        names = ", ".join(sorted(name.lower().replace("_", "-") for name in known))
        raise ConfigurationError(f"there is no service {service!r}; the services are {names}")
    return f"127.0.0.1:{environ.get(f'SAGE_{section}_GRPC_PORT', known[section])}"


def probe(arguments: Sequence[str]) -> int:
    """Run one probe and return its exit status."""
    try:
        if len(arguments) == 1 and ":" in arguments[0]:
            check_grpc(arguments[0])
        elif len(arguments) == 2 and arguments[0] == "service":
            check_grpc(service_address(arguments[1]))
        elif len(arguments) == 2 and arguments[0] == "http":
            check_http(arguments[1])
        else:
            sys.stderr.write("usage: python -m sage_platform.probe HOST:PORT | service NAME | http URL\n")
            return EXIT_USAGE
    except SageError as error:
        sys.stderr.write(f"{error.message}\n")
        return EXIT_USAGE if isinstance(error, ConfigurationError) else EXIT_NOT_WELL
    return EXIT_WELL


if __name__ == "__main__":
    raise SystemExit(probe(sys.argv[1:]))
