"""gRPC set-up: a server with health and reflection, and errors translated once, in an interceptor."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sage_common.api_keys import ApiKeys
from sage_common.errors import ConfigurationError, ErrorKind, SageError
from sage_common.logging import get_logger
from sage_common.ports import port_taken
from sage_common.tls_settings import ANY_SERVICE, FOLDER_VARIABLE, TlsFiles, configured_tls, own_tls
from sage_platform.grpc_access import AccessInterceptor, client_interceptors, orders_of, wrapped
from sage_platform.grpc_revocation import RevokedPeers
from sage_platform.grpc_tls import channel_credentials, name_option, server_credentials
from sage_platform.grpc_tracing import TraceInterceptor
from sage_platform.port_wait import wait_for_port
from sage_platform.registry import Instance

if TYPE_CHECKING:
    from sage_platform.tracing.tracer import Tracer

log = get_logger(__name__)

NO_KEYS = ApiKeys({})
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# Trailing metadata that carries an error's machine code.
CODE_METADATA = "sage-error-code"
# Trailing metadata of a health check that is answered NOT_SERVING: why.
HEALTH_METADATA = "sage-health-reason"
MAX_REASON_CHARACTERS = 1000

GRPC_STATUS: dict[ErrorKind, grpc.StatusCode] = {
    ErrorKind.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorKind.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
    ErrorKind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorKind.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    ErrorKind.TOO_LARGE: grpc.StatusCode.OUT_OF_RANGE,
    ErrorKind.UNSUPPORTED_MEDIA_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorKind.UNPROCESSABLE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorKind.CONTENDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorKind.CANCELLED: grpc.StatusCode.CANCELLED,
    ErrorKind.INTERNAL: grpc.StatusCode.INTERNAL,
    ErrorKind.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    ErrorKind.ENGINE_FAILED: grpc.StatusCode.ABORTED,
    ErrorKind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorKind.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class GrpcServer:
    """A grpc.aio server with health v1 and reflection.

    Usage: ``add`` every servicer, ``start``, and ``stop`` when done.

    Args:
        keys: what callers need; without any, everybody may call.
        tls: the server's certificate; callers then need one of the same authority, too. None for calls in the clear.
        shared_port: whether others of this user that say so too may bind the same port.
    """

    def __init__(self, keys: ApiKeys = NO_KEYS, tls: TlsFiles | None = None, *, shared_port: bool = False) -> None:
        self._tls = tls
        self._orders: set[str] = set()
        self._traces = TraceInterceptor()
        self._server = aio.server(
            interceptors=[
                self._traces,
                ErrorInterceptor(),
                *([RevokedPeers(tls)] if tls is not None else []),
                AccessInterceptor(keys, self._orders),
            ],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", int(shared_port)),
            ],
        )
        self._health = _HealthWithReason()
        self._names: list[str] = []

    def trace(self, tracer: Tracer) -> None:
        """Make a span of each call from now on."""
        self._traces.tracer = tracer

    def add(self, register: Callable[[Any, aio.Server], None], servicer: Any, full_name: str) -> None:
        """Add a servicer with its generated ``add_…_to_server`` function and full service name."""
        register(servicer, self._server)
        self._orders |= orders_of(servicer, full_name)
        self._names.append(full_name)

    async def start(self, host: str, port: int, *, setting: str) -> int:
        """Bind and serve; health says NOT_SERVING until ``set_serving``.

        Args:
            port: 0 takes a free one.
            setting: name of the setting to mention when the port is taken.

        Returns:
            The port bound.

        Raises:
            ConfigurationError: another program listens there.
            UnavailableError: a connection has held the port for a minute.
        """
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, self._server)
        await self.set_serving(False)
        bound = self._bind(host, port)
        if bound is None:
            await wait_for_port(host, port, setting, tell=log.warning)
            bound = self._bind(host, port)
        if bound is None:
            raise port_taken(port, host, setting)
        await self._server.start()
        return bound

    def _bind(self, host: str, port: int) -> int | None:
        """Return the port bound; None where it is not free."""
        try:
            if self._tls is not None:
                return self._server.add_secure_port(f"{host}:{port}", server_credentials(self._tls))
            return self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            return None

    async def set_serving(self, serving: bool, reason: str | None = None) -> None:
        """Set the health of every service on this server; ``reason`` says why it is not serving."""
        self._health.reason = reason
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Refuse new calls and wait up to ``grace_seconds`` for running ones."""
        await self._server.stop(grace_seconds)


class _HealthWithReason(health.aio.HealthServicer):  # type: ignore[misc,name-defined]
    """Health v1 that says in trailing metadata why it is NOT_SERVING."""

    reason: str | None = None

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the contract
        if self.reason:
            text = " ".join(self.reason.split())[:MAX_REASON_CHARACTERS]
            context.set_trailing_metadata(((HEALTH_METADATA, text.encode("ascii", "backslashreplace").decode()),))
        return await super().Check(request, context)


class ErrorInterceptor(aio.ServerInterceptor):
    """Turns a SageError into its status, with the machine code in its trailing metadata."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        return handler if handler is None else wrapped(handler, _guard_unary, _guard_stream)


def _guard_unary(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await method(request, context)
        except SageError as error:
            await _abort(context, error)

    return guarded


def _guard_stream(method: Callable[..., Any]) -> Callable[..., Any]:
    async def guarded(request: Any, context: aio.ServicerContext[Any, Any]) -> Any:
        try:
            async for item in method(request, context):
                yield item
        except SageError as error:
            await _abort(context, error)

    return guarded


async def _abort(context: aio.ServicerContext[Any, Any], error: SageError) -> None:
    await context.abort(GRPC_STATUS[error.kind], error.message, ((CODE_METADATA, error.code),))


def channel(
    address: str,
    options: Iterable[tuple[str, Any]] = (),
    *,
    token: str = "",
    acting_for: str = "",
    tls: TlsFiles | None = None,
    service: str = ANY_SERVICE,
) -> aio.Channel:
    """Open a channel to ``host:port`` with SAGE's message limits.

    Args:
        token: API key or mesh token that every call sends; empty for none.
        acting_for: tenant whose calls they count as; empty for the token's own.
        tls: the certificate to call with; None for calls in the clear.
        service: whose certificate the server must have.

    Raises:
        ConfigurationError: the certificate cannot be read.
    """
    chosen = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        *options,
    ]
    interceptors = client_interceptors(token, acting_for)
    if tls is None:
        return aio.insecure_channel(address, interceptors=interceptors, options=chosen)
    chosen.append(name_option(service))
    return aio.secure_channel(address, channel_credentials(tls), interceptors=interceptors, options=chosen)


def channel_to(
    instance: Instance, options: Iterable[tuple[str, Any]] = (), *, token: str = "", acting_for: str = ""
) -> aio.Channel:
    """Open a channel to a registered instance, as ``channel``, with the certificate that it asks for.

    Raises:
        ConfigurationError: it asks for one, and this process has none.
    """
    # Who has a certificate by its environment, as services have, calls nobody in the clear.
    tls = configured_tls() if instance.tls or FOLDER_VARIABLE in os.environ else None
    if instance.tls:
        tls = tls or own_tls()
    if instance.tls and tls is None:
        raise ConfigurationError(
            f"the {instance.service} at {instance.grpc_address} asks for a certificate of its mesh; set "
            "SAGE_TLS_FOLDER to a folder that `sage mesh secure` has made there, such as 'operator'",
            code="no_certificate",
        )
    address = instance.grpc_address
    return channel(address, options, token=token, acting_for=acting_for, tls=tls, service=instance.service)
