"""gRPC set-up: a server with health and reflection, and errors translated once, in an interceptor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sage_common.api_keys import ApiKeys
from sage_common.errors import ErrorKind, SageError
from sage_common.logging import get_logger
from sage_common.ports import port_taken
from sage_platform.grpc_access import AccessInterceptor, client_interceptors, orders_of, wrapped
from sage_platform.port_wait import wait_for_port

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
    """

    def __init__(self, keys: ApiKeys = NO_KEYS) -> None:
        self._orders: set[str] = set()
        self._server = aio.server(
            interceptors=[ErrorInterceptor(), AccessInterceptor(keys, self._orders)],
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = _HealthWithReason()
        self._names: list[str] = []

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


def channel(address: str, options: Iterable[tuple[str, Any]] = (), *, token: str = "") -> aio.Channel:
    """Open an insecure channel to ``host:port`` with SAGE's message limits.

    Args:
        token: API key or mesh token that every call sends; empty for none.
    """
    return aio.insecure_channel(
        address,
        interceptors=client_interceptors(token),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            *options,
        ],
    )
