"""Who may call what over gRPC: a key for every call once keys are set, and an operator's for orders.

Health stays open, because probes have no key. So does reflection: it says what the published proto files say.
"""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import grpc
from grpc import aio

from sage_common.api_keys import ANYBODY, ApiKeys, Caller, refuse_if_no_operator
from sage_common.errors import SageError
from sage_common.trace_context import current_traceparent

F = TypeVar("F", bound=Callable[..., Any])

AUTHORIZATION = "authorization"
# With an operator's rights, or the mesh's: the call counts as this tenant's own, with a tenant's rights.
ACTING_FOR = "sage-acting-for"
TRACEPARENT = "traceparent"
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
_MARK = "_for_operators"

_caller: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller", default=ANYBODY)


def current_caller() -> Caller:
    """Return who made the gRPC call that is being handled."""
    return _caller.get()


def for_operators(method: F) -> F:
    """Mark a servicer's method as an order, which only operators may give."""
    setattr(method, _MARK, True)
    return method


def orders_of(servicer: object, full_name: str) -> frozenset[str]:
    """Return the paths of the methods of ``servicer`` that are marked with ``for_operators``."""
    marked = (name for name in dir(type(servicer)) if getattr(getattr(type(servicer), name), _MARK, False))
    return frozenset(f"/{full_name}/{name}" for name in marked)


class AccessInterceptor(aio.ServerInterceptor):
    """Refuses calls without a key, and orders of callers who are no operators; sets ``current_caller``.

    Args:
        orders: paths of the methods that are for operators, looked at with each call.
    """

    def __init__(self, keys: ApiKeys, orders: Collection[str]) -> None:
        self._keys = keys
        self._orders = orders

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or path.startswith(OPEN_SERVICES):
            return handler
        metadata = handler_call_details.invocation_metadata
        # Here nobody may need a key where the gateway's callers do; what one of them has asked for is still theirs.
        acting_for = _single(metadata, ACTING_FOR)
        if not self._keys.required and not acting_for:
            return handler
        try:
            authorization = _single(metadata, AUTHORIZATION)
            await self._keys.prepare(authorization)
            caller = self._keys.caller(authorization)
            if acting_for and caller.operator:
                # What one tenant has asked the gateway for, whose token means nothing here.
                caller = Caller(acting_for, False)
            if path in self._orders:
                refuse_if_no_operator(caller)
        except SageError as error:
            return wrapped(handler, _refusing(error), _refusing_stream(error))
        return wrapped(handler, _calling(caller), _calling_stream(caller))


Method = Callable[..., Any]


def wrapped(
    handler: grpc.RpcMethodHandler, whole: Callable[[Method], Method], stream: Callable[[Method], Method]
) -> grpc.RpcMethodHandler:
    """Return ``handler`` with its method wrapped.

    Args:
        whole: wraps a method that returns an answer.
        stream: wraps one that yields several.
    """
    makers: tuple[tuple[str, Callable[..., grpc.RpcMethodHandler], Callable[[Method], Method]], ...] = (
        ("unary_unary", grpc.unary_unary_rpc_method_handler, whole),
        ("unary_stream", grpc.unary_stream_rpc_method_handler, stream),
        ("stream_unary", grpc.stream_unary_rpc_method_handler, whole),
        ("stream_stream", grpc.stream_stream_rpc_method_handler, stream),
    )
    for attribute, make, wrap in makers:
        method = getattr(handler, attribute)
        if method is not None:
            return make(wrap(method), handler.request_deserializer, handler.response_serializer)
    return handler


def _refusing(error: SageError) -> Callable[[Method], Method]:
    def wrap(_method: Method) -> Method:
        async def refuse(_request: Any, _context: Any) -> Any:
            raise error

        return refuse

    return wrap


def _refusing_stream(error: SageError) -> Callable[[Method], Method]:
    def wrap(_method: Method) -> Method:
        async def refuse(_request: Any, _context: Any) -> AsyncIterator[Any]:
            raise error
            yield  # an asynchronous generator, as gRPC expects of a streaming method

        return refuse

    return wrap


def _calling(caller: Caller) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        async def call(request: Any, context: Any) -> Any:
            _caller.set(caller)
            return await method(request, context)

        return call

    return wrap


def _calling_stream(caller: Caller) -> Callable[[Method], Method]:
    def wrap(method: Method) -> Method:
        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            _caller.set(caller)
            async for item in method(request, context):
                yield item

        return call

    return wrap


def _single(metadata: Any, name: str) -> str | None:
    found = [value for key, value in metadata or () if key == name and isinstance(value, str)]
    # Two of them are one too many to say who calls.
    return found[0] if len(found) == 1 else None


def client_interceptors(token: str, acting_for: str = "") -> Sequence[Any]:
    """Return what sends ``token`` and ``acting_for`` with every call of a channel, and the trace context of who opens
    it; nothing where there is none of them.

    Args:
        acting_for: tenant whose call it counts as; empty for the token's own.
    """
    sent = {AUTHORIZATION: f"Bearer {token}"} if token else {}
    if acting_for:
        sent[ACTING_FOR] = acting_for
    if traceparent := current_traceparent():
        sent[TRACEPARENT] = traceparent
    return (_UnaryMetadata(sent), _StreamMetadata(sent)) if sent else ()


def _with_metadata(details: aio.ClientCallDetails, sent: Mapping[str, str]) -> aio.ClientCallDetails:
    metadata = aio.Metadata(*(details.metadata or ()))
    for name, value in sent.items():
        metadata.add(name, value)
    return aio.ClientCallDetails(details.method, details.timeout, metadata, details.credentials, details.wait_for_ready)


class _UnaryMetadata(aio.UnaryUnaryClientInterceptor):
    def __init__(self, sent: Mapping[str, str]) -> None:
        self._sent = sent

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_metadata(client_call_details, self._sent), request)


class _StreamMetadata(aio.UnaryStreamClientInterceptor):
    def __init__(self, sent: Mapping[str, str]) -> None:
        self._sent = sent

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_with_metadata(client_call_details, self._sent), request)
