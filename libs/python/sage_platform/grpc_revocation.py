"""Refuses gRPC calls of peers whose certificates were revoked; TLS sees only that the authority signed them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio

from sage_common.errors import SageError, UnauthenticatedError
from sage_common.tls_settings import TlsFiles, identity_in, read_generations
from sage_platform.grpc_access import wrapped

# gRPC's names for the URIs in a peer's certificate.
_URIS = ("peer_spiffe_id", "peer_uri")
# Between two looks at the peers of streams that are open.
LOOK_SECONDS = 1.0

Identity = tuple[str, int]


class RevokedPeers(aio.ServerInterceptor):
    """Looks at the certificate of each call's peer, also of connections and streams that were there before it was
    revoked.

    What was revoked is read again from this process's own folder when the file there changes.

    Args:
        look_seconds: longest time that a stream goes on for after its peer's certificate was revoked.
    """

    def __init__(self, tls: TlsFiles, look_seconds: float = LOOK_SECONDS) -> None:
        self._path = tls.generations
        self._look_seconds = look_seconds
        self._seen: tuple[int, int] | None = None
        self._generations: dict[str, int] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        return handler if handler is None else wrapped(handler, self._whole, self._stream)

    def _check(self, peer: list[Identity]) -> None:
        """Raise UnauthenticatedError for a peer whose certificate was revoked. Raises ConfigurationError."""
        generations = self._current()
        for identity, generation in peer:
            if generation < generations.get(identity, 0):
                raise UnauthenticatedError(
                    f"the certificate of {identity} was revoked; give it the new one of `sage mesh revoke`",
                    code="certificate_revoked",
                )

    def _current(self) -> dict[str, int]:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            # Where it was there, it is missing by mistake: what was revoked stays so.
            return self._generations
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            self._generations = read_generations(self._path)
            self._seen = seen
        return self._generations

    def _whole(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def checked(request: Any, context: Any) -> Any:
            peer = _peer_of(context)
            self._check(peer)
            async with self._ending(peer):
                answer = await method(request, context)
            self._check(peer)
            return answer

        return checked

    def _stream(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def checked(request: Any, context: Any) -> AsyncIterator[Any]:
            peer = _peer_of(context)
            self._check(peer)
            async with self._ending(peer):
                async for item in method(request, context):
                    # It may have waited for the item, or for the one before to be sent.
                    self._check(peer)
                    yield item

        return checked

    @asynccontextmanager
    async def _ending(self, peer: list[Identity]) -> AsyncIterator[None]:
        """Raise as ``_check`` does as soon as a look finds what it raises for, whatever the task waits for by then."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        found: list[SageError] = []
        next_look = loop.call_later(self._look_seconds, lambda: look())

        def look() -> None:
            nonlocal next_look
            try:
                self._check(peer)
            except SageError as error:
                found.append(error)
                task.cancel()
            else:
                next_look = loop.call_later(self._look_seconds, look)

        try:
            yield
        except asyncio.CancelledError:
            if not found:
                raise
            # From Python 3.11 on a task counts how often it was cancelled.
            getattr(task, "uncancel", int)()
            raise found[0] from None
        finally:
            next_look.cancel()


def _peer_of(context: Any) -> list[Identity]:
    """Return whom the certificate of a call's peer names."""
    told = context.auth_context()
    uris = [uri.decode("ascii", "replace") for name in _URIS for uri in told.get(name, ())]
    return [identity for identity in map(identity_in, uris) if identity is not None]
