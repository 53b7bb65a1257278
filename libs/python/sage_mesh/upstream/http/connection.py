"""One connection to a server, which carries one request and its answer at a time (RFC 9112)."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol, cast

import httptools

from sage_mesh.upstream.http.answer import HttpAnswer
from sage_mesh.upstream.http.http_error import HttpError, StaleConnectionError

MAX_HEAD_BYTES: Final = 64 * 1024
# What of a body is given to the transport at once: over TLS, to encrypt megabytes would hold everything up.
WRITE_BYTES: Final = 256 * 1024
# A server that closes a kept connection later than this after a request was sent has read the request.
STALE_SECONDS: Final = 1.0
_NOT_HTTP: Final = "the server answered with something that is not HTTP/1.1"


class ConnectionOwner(Protocol):
    """Who keeps connections."""

    def on_free(self, connection: HttpConnection) -> None:
        """An answer is complete and the connection can carry another request."""
        ...

    def on_lost(self, connection: HttpConnection) -> None:
        """The connection is closed."""
        ...


class HttpConnection(asyncio.Protocol):
    """An open connection.

    Args:
        owner: is told when it is free, and when it is closed.
        loop: the running event loop.

    Attributes:
        freed_at: when its last answer was complete, by the loop's clock; 0 before the first.
    """

    def __init__(self, owner: ConnectionOwner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        # As browsers and curl read answers.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport | None = None
        self._answer: HttpAnswer | None = None
        self._unsent = memoryview(b"")
        self._writable = True
        self._paused = False
        self._reusable = True
        # Of the request that is under way: whether a byte of its answer has come, and how much of the head.
        self._heard = False
        self._head_bytes = 0
        self._sent_at = 0.0
        self._heard_at = 0.0
        self._silence_seconds = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.freed_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, head: bytes, body: bytes, silence_seconds: float) -> HttpAnswer:
        """Send a request; return its answer, of which nothing has come.

        Args:
            silence_seconds: longest time without a byte, either way.
        """
        answer = HttpAnswer(self)
        if self._transport is None or self._transport.is_closing():
            answer.fail(HttpError("the server closed the connection before a request was sent"))
            return answer
        self._answer = answer
        self._heard = False
        self._head_bytes = 0
        self._sent_at = self._heard_at = self._loop.time()
        self._silence_seconds = silence_seconds
        if self._timer is None:
            self._timer = self._loop.call_later(silence_seconds, self._on_time)
        if len(body) <= WRITE_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._unsent = memoryview(body)
            self._write_on()
        return answer

    def close(self) -> None:
        """Close it. No request is under way."""
        self._reusable = False
        if self._transport is not None:
            # Not ``close``: over TLS that waits for the server's word.
            self._transport.abort()

    # An answer calls what follows.

    def pause(self) -> None:
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        self._heard_at = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._silence_seconds, self._on_time)
        if self._transport is not None:
            self._transport.resume_reading()

    def limit_silence(self, seconds: float) -> float:
        if seconds < self._silence_seconds:
            self._silence_seconds = seconds
            if self._timer is not None:
                self._timer.cancel()
                self._timer = self._loop.call_later(seconds, self._on_time)
        return self._silence_seconds

    def abort(self, error: Exception) -> None:
        self._reusable = False
        answer, self._answer = self._answer, None
        if self._transport is not None:
            self._transport.abort()
        if answer is not None:
            answer.fail(error)

    # asyncio calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None:
            # Without a request there is nothing to answer: a server says so that it will close.
            self.close()
            return
        self._heard = True
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.abort(HttpError("the server answered with another protocol than HTTP/1.1"))
        except httptools.HttpParserError as error:
            # What follows a complete answer, in the same piece, is no part of it.
            self._reusable = False
            if not answer.complete:
                cause = error.__context__
                self.abort(cause if isinstance(cause, HttpError) else HttpError(f"{_NOT_HTTP}: {data[:80]!r}"))
        if answer.complete:
            self._free()
        elif not (answer.status or answer.ended):
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.abort(HttpError(f"the server answered with a head of more than {MAX_HEAD_BYTES} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._end(answer, exc)
        self._owner.on_lost(self)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._heard_at = self._loop.time()
        self._write_on()

    # httptools calls what follows.

    def on_message_begin(self) -> None:
        if self._answer is None or self._answer.complete:
            raise HttpError("the server answered more than was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        answer = self._answer
        # After the head come a chunked body's trailers, which nobody reads.
        if answer is not None and not answer.status:
            answer.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        answer = self._answer
        assert answer is not None
        status = self._parser.get_status_code()
        if status < 200:
            # 100 and 103 announce the answer, which follows.
            answer.raw_headers.clear()
        else:
            answer.begin(status)

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is not None and answer.status:
            if not self._parser.should_keep_alive():
                self._reusable = False
            answer.end()

    def _free(self) -> None:
        """Let go of an answer that is complete."""
        self._answer = None
        transport = self._transport
        if transport is None:
            return
        # Where a server has answered before it has read the request, what it reads next would be the rest of that.
        if not self._reusable or self._unsent or transport.get_write_buffer_size():
            transport.abort()
            return
        if self._paused:
            self.resume()
        self.freed_at = self._loop.time()
        self._owner.on_free(self)

    def _end(self, answer: HttpAnswer, error: Exception | None) -> None:
        """Tell an answer that its connection is closed."""
        if answer.status and error is None and not self._is_framed(answer):
            answer.end()
            return
        how = "the server closed the connection" if error is None else f"the connection broke ({error})"
        if answer.status:
            answer.fail(HttpError(f"{how} in the middle of its answer"))
        elif self._heard:
            answer.fail(HttpError(f"{how} in the middle of its answer's head"))
        elif self.freed_at and self._loop.time() - self._sent_at < STALE_SECONDS:
            answer.fail(StaleConnectionError(f"{how} without an answer"))
        else:
            answer.fail(HttpError(f"{how} without an answer"))

    def _is_framed(self, answer: HttpAnswer) -> bool:
        """Return whether the answer says itself where it ends, rather than with its connection."""
        names = {name.lower(): value.lower() for name, value in answer.raw_headers}
        coding = names.get(b"transfer-encoding")
        return coding.rstrip().endswith(b"chunked") if coding is not None else b"content-length" in names

    def _write_on(self) -> None:
        while self._unsent and self._writable and self._transport is not None:
            piece, self._unsent = self._unsent[:WRITE_BYTES], self._unsent[WRITE_BYTES:]
            self._transport.write(piece)

    def _on_time(self) -> None:
        self._timer = None
        if self._answer is None or self._paused:
            return
        left = self._heard_at + self._silence_seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._on_time)
        else:
            self.abort(asyncio.TimeoutError())
