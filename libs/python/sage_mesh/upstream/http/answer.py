"""One answer of a server, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Protocol

from sage_mesh.upstream.http.content_coding import IDENTITY, ContentDecoder
from sage_mesh.upstream.http.http_error import HttpClosedError

# What waits here for its reader before the connection is read no further.
HIGH_WATER_BYTES = 128 * 1024


class AnswerSource(Protocol):
    """What an answer needs of the connection that it comes over."""

    def pause(self) -> None:
        """Read no further for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def limit_silence(self, seconds: float) -> float:
        """Let no silence be longer from now on, unless the limit was lower; return the limit."""
        ...

    def abort(self, error: Exception) -> None:
        """Break the connection; the answer fails with the error."""
        ...


class Headers(Mapping[str, str]):
    """Headers by name, in any case; of several of one name the first counts."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in raw:
            self._values.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class HttpAnswer:
    """An answer: its head, then its body in pieces. Read by one task.

    Attributes:
        status: 0 until the head is complete.
        content_type: the media type, without its parameters and in lower case; empty where none is named.
        complete: whether all of it has come. What has come may still wait to be read.
    """

    __slots__ = (
        "_buffered_bytes",
        "_decoder",
        "_failure",
        "_on_end",
        "_paused",
        "_pieces",
        "_source",
        "_waiter",
        "complete",
        "content_type",
        "raw_headers",
        "status",
    )

    def __init__(self, source: AnswerSource) -> None:
        self.status = 0
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.content_type = ""
        self.complete = False
        self._source: AnswerSource | None = source
        self._pieces: list[bytes] = []
        self._buffered_bytes = 0
        self._paused = False
        self._decoder: ContentDecoder | None = None
        self._failure: Exception | None = None
        self._on_end: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    # For who reads it.

    @property
    def headers(self) -> Headers:
        """The headers."""
        return Headers(self.raw_headers)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes: it is complete, or has failed."""
        return self._source is None

    async def head(self) -> None:
        """Wait for the head. Raises as ``next``."""
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    def next(self) -> Awaitable[bytes]:
        """Return what waits for more of the body and results in all that has come since then; empty at the end.

        Raises:
            HttpError: the connection broke, or was closed here.
            asyncio.TimeoutError: it was silent for too long.
        """
        return self._next() if self._decoder is None else self._next_decoded(self._decoder)

    async def read(self) -> bytes:
        """Return all that is left. Raises as ``next``."""
        pieces = []
        while piece := await self.next():
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def read_up_to(self, limit_bytes: int) -> bytes:
        """Return what is left, up to a limit; the rest is lost. Raises as ``next``."""
        pieces = []
        missing = limit_bytes
        while missing > 0 and (piece := await self.next()):
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)[:limit_bytes]

    def on_end(self, call: Callable[[], None]) -> None:
        """Call when nothing more comes; at once where that is so."""
        if self._source is None:
            call()
        else:
            self._on_end = call

    def limit_silence(self, seconds: float) -> float:
        """Have ``next`` raise asyncio.TimeoutError where nothing comes for so long; return the limit.

        Args:
            seconds: the limit from here on, unless the one before was less.
        """
        return seconds if self._source is None else self._source.limit_silence(seconds)

    def close(self) -> None:
        """Close the connection, unless the answer has ended; who waits for more of it gets an HttpError."""
        if self._source is not None:
            self._source.abort(HttpClosedError())

    # For the connection.

    def begin(self, status: int) -> None:
        """Take in that the head is complete. Raises HttpError where the body is coded in a way not known here."""
        coding = b""
        for name, value in self.raw_headers:
            lower = name.lower()
            if lower == b"content-type":
                self.content_type = value.partition(b";")[0].strip().lower().decode("latin-1")
            elif lower == b"content-encoding":
                coding = value.strip().lower()
        if coding and coding != IDENTITY:
            self._decoder = ContentDecoder(coding)
        self.status = status
        self._wake()

    def feed(self, data: bytes) -> None:
        """Take in a piece of the body."""
        self._pieces.append(data)
        self._buffered_bytes += len(data)
        if self._buffered_bytes > HIGH_WATER_BYTES and not self._paused and self._source is not None:
            self._paused = True
            self._source.pause()
        self._wake()

    def end(self) -> None:
        """Take in that all has come."""
        self.complete = True
        self._leave()

    def fail(self, error: Exception) -> None:
        """Take in that the rest does not come."""
        self._failure = error
        self._leave()

    def _leave(self) -> None:
        self._source = None
        self._wake()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def _next(self) -> bytes:
        pieces = self._pieces
        while not pieces:
            if self._failure is not None:
                raise self._failure
            if self.complete:
                return b""
            # As ``_wait``, without its coroutine: this is done for every token.
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._buffered_bytes = 0
        if self._paused:
            self._paused = False
            if self._source is not None:
                self._source.resume()
        return data

    async def _next_decoded(self, decoder: ContentDecoder) -> bytes:
        while True:
            decoded = decoder.step() if decoder.has_more else b""
            if not decoded:
                data = await self._next()
                if not data:
                    decoder.check_end()
                    return b""
                decoded = decoder.step(data)
            if decoded:
                return decoded
