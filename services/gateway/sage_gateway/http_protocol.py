"""One HTTP connection, within bounds: how long its head may be, and how long it may keep the gateway waiting."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sage_common.errors import InvalidRequestError, SageError, UnavailableError
from sage_gateway.admission import request_id_of
from sage_gateway.asgi import Scope
from sage_gateway.body_writer import BodyFlow, BodyWriter
from sage_gateway.connection_limit import ConnectionLimit
from sage_gateway.dialects.error_shape import id_headers, shaped_error
from sage_gateway.http_1_0 import end_with_connection
from sage_gateway.joined_writes import JoinedWrites
from sage_gateway.writing_watch import WritingWatch

MAX_HEAD_BYTES = 64 * 1024
WRITE_TIMEOUT_SECONDS = 30.0
LINGER_SECONDS = 1.0
LINGER_BYTES = 4 * 1024 * 1024
# How long a connection without a request stays open while its server leaves: its client may be about to send one.
LEAVING_SECONDS = 1
# They name who is asked and who asks: of two, the gateway and what stands before it could take different ones.
ONCE_ONLY = (b"host", b"authorization")
_METHODS = (b"POST ", b"GET ", b"PUT ", b"DELETE ")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
_REASONS = {400: b"Bad Request", 431: b"Request Header Fields Too Large", 503: b"Service Unavailable"}


class _RefusedError(Exception):
    """Ends the parsing of a head that is refused."""


class HttpProtocol(HttpToolsProtocol):
    """Refuses what is not HTTP in the shape of the path's API too, and heads that are too long while they arrive.

    It waits for a request only as long as an idle connection may stay open: uvicorn's own timer covers the time after
    an answer, not a head or a body that never comes.

    Args:
        write_timeout_seconds: how long a client may read nothing of what waits for it.
        limit: counts the connections of all.
    """

    _waiting: asyncio.TimerHandle | None = None
    _refusal: tuple[int, SageError] | None = None
    # Whether the next byte belongs to a head, whether the latest bytes hold others too, and how many of it have come.
    _in_head = True
    _outside_head = False
    _head_bytes = 0
    _piece_bytes = 0
    _writing: WritingWatch
    flow: BodyFlow
    # Whether the server leaves, and each answer tells its client to take another connection for the next request.
    is_leaving = False
    # How much has come since the connection was refused; None before.
    _refused_bytes: int | None = None

    def __init__(
        self,
        *arguments: Any,
        write_timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
        limit: ConnectionLimit | None = None,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self._write_timeout_seconds = write_timeout_seconds
        self._limit = limit
        self._address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport = JoinedWrites(transport, self.loop)
        super().connection_made(transport)
        self.flow = BodyFlow(transport)
        self._writing = WritingWatch(transport, self.loop, self._write_timeout_seconds)
        self._wait()
        if self._limit is not None:
            self._address = str((transport.get_extra_info("peername") or ("",))[0])
            if reason := self._limit.opened(self._address):
                message = f"{reason}; use connections again, or send the request later"
                self._refusal = 503, UnavailableError(message, code="too_many_connections", retryable=True)
                self.send_400_response("")

    def data_received(self, data: bytes) -> None:
        if self._refused_bytes is not None:
            self._discard(len(data))
            return
        # RFC 9110 lets a server ignore Upgrade; Java's client offers h2c with its first request. The parser stops at
        # the end of such a head and the body would be lost, so the offer is taken out before it sees it.
        if data.startswith(_METHODS) and (self.cycle is None or not self.cycle.more_body):
            head, separator, rest = data.partition(b"\r\n\r\n")
            if b"\r\nupgrade:" in head.lower():
                data = _UPGRADE.sub(b"", head) + separator + rest
        self._outside_head = not self._in_head
        self._piece_bytes = len(data)
        super().data_received(data)
        if not self._outside_head and self._refused_bytes is None and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_long_head()
                self.send_400_response("")

    def connection_lost(self, exc: Exception | None) -> None:
        self._waited()
        self._writing.stop()
        if self._limit is not None:
            self._limit.closed(self._address)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing.start()

    def resume_writing(self) -> None:
        self._writing.on_progress()
        super().resume_writing()

    def on_response_complete(self) -> None:
        # What is left of the answer waits in the transport, below the mark at which writing pauses.
        self._writing.start()
        super().on_response_complete()

    def on_message_begin(self) -> None:
        self._wait()
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._outside_head = True
        # Only a head that came in few pieces, with much else in them, has to be measured.
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES:
            self._measure_head()
        self._head_bytes = 0
        names = [name for name, _ in self.headers]
        for once in ONCE_ONLY:
            if names.count(once) > 1:
                message = f"the header {once.decode()} is there {names.count(once)} times; send it once"
                self._refusal = 400, InvalidRequestError(message, code="duplicate_header", param=once.decode())
                raise _RefusedError
        super().on_headers_complete()
        if self.cycle is not None:
            BodyWriter(self.cycle, self.flow).offer(cast(Scope, self.scope))
        if self.is_leaving and self.cycle is not None:
            self.cycle.keep_alive = False
        if self.scope["http_version"] == "1.0" and self.cycle is not None:
            end_with_connection(self.cycle)

    def on_body(self, body: bytes) -> None:
        # From here on the body reader's timeout counts.
        self._waited()
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._waited()
        self._in_head = True
        super().on_message_complete()

    def leave(self) -> None:
        """End with the request under way, or soon where there is none, and never under one that its client is sending.

        Closing at once, as ``shutdown`` does, would meet requests of clients that have not seen it yet.
        """
        self.is_leaving = True
        self.timeout_keep_alive = min(self.timeout_keep_alive, LEAVING_SECONDS)
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._unset_keepalive_if_required()
            self._wait()
        elif not cycle.response_started:
            cycle.keep_alive = False

    def _measure_head(self) -> None:
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse_long_head()
            raise _RefusedError

    def _refuse_long_head(self) -> None:
        message = f"the request line and headers have more than {MAX_HEAD_BYTES} bytes; send less"
        self._refusal = 431, InvalidRequestError(message, code="head_too_large")

    def _wait(self) -> None:
        self._waited()
        self._waiting = self.loop.call_later(self.timeout_keep_alive, self._give_up)

    def _waited(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        cycle = self.cycle
        # A whole request whose answer is under way is not cut off for what its client has begun to send after it.
        if cycle is None or cycle.response_complete or cycle.more_body:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        status, error = self._refusal or (400, InvalidRequestError(msg, code="invalid_http"))
        path, request_id = self._path_so_far(), request_id_of({})
        _, headers, body = shaped_error(path, error, request_id)
        headers += [*id_headers(path, request_id), (b"connection", b"close"), (b"content-length", b"%d" % len(body))]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n" % (status, _REASONS[status], head) + body)
        # What is on its way is thrown away for a moment: a connection closed with bytes unread is reset, and its client
        # would not get to read why.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._waited()
        self._refused_bytes = 0
        self._waiting = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def _path_so_far(self) -> str:
        """The path that was asked, as far as it has been read; empty before."""
        url = getattr(self, "url", b"")
        return url.partition(b"?")[0].decode("latin-1")

    def _discard(self, size: int) -> None:
        assert self._refused_bytes is not None
        self._refused_bytes += size
        if self._refused_bytes > LINGER_BYTES:
            self.transport.abort()

    def eof_received(self) -> None:
        if self._refused_bytes is not None:
            self.transport.close()
        super().eof_received()
