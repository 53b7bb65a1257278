"""Reads an upstream's answer as it comes: its form by its first bytes, then its pieces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from sage_common.errors import EngineFailedError
from sage_llm_coordinator.engines.answer_form import form_of
from sage_mesh.reply import Media
from sage_mesh.upstream.http.answer import HttpAnswer
from sage_mesh.upstream.http.http_error import HttpClosedError

# The largest whole answer that is passed on.
MAX_WHOLE_BYTES: Final = 256 * 1024 * 1024


class AnswerReader:
    """One response of status 200."""

    def __init__(self, response: HttpAnswer) -> None:
        self._response = response
        self.content_type = response.content_type
        self._first: list[bytes] = []
        self._gather_seconds = 0.0
        self._gathering: asyncio.Future[None] | None = None

    async def form(self) -> Media | None:
        """Wait until the answer's form is known and return it; None for an answer without a byte."""
        while True:
            piece = await self._response.next()
            if piece:
                self._first.append(piece)
            # What precedes an answer, to keep its connection open, is white space; it must not be looked at each time.
            start = b"".join(self._first).lstrip() if len(self._first) < 8 else self._first[-1].lstrip()
            form = form_of(start, self.content_type)
            if form is not None:
                return form
            if not piece:
                return Media.JSON if start else None
            if not start:
                self._first.clear()

    def first(self) -> bytes:
        """Return what was read to know the form; empty the second time."""
        first, self._first = b"".join(self._first), []
        return first

    def next(self) -> Awaitable[bytes]:
        """Return what waits for the next piece, after ``first``, and results in it; empty at the end.

        Raises:
            asyncio.TimeoutError, OSError: it did not come, or the connection broke.
        """
        return self._gathered() if self._gather_seconds else self._response.next()

    def gather(self, seconds: float) -> None:
        """Have ``next`` wait until the next multiple of so long, or the end, and then return all that has come.

        The same moments for every stream: what they give then leaves in one message.
        """
        self._gather_seconds = seconds
        self._response.on_end(self._end_gathering)

    async def _gathered(self) -> bytes:
        if not self._response.ended:
            loop = asyncio.get_running_loop()
            self._gathering = loop.create_future()
            tick = (loop.time() // self._gather_seconds + 1) * self._gather_seconds
            timer = loop.call_at(tick, self._end_gathering)
            try:
                await self._gathering
            finally:
                timer.cancel()
        return await self._response.next()

    def _end_gathering(self) -> None:
        if self._gathering is not None and not self._gathering.done():
            self._gathering.set_result(None)

    async def next_within(self, seconds: float) -> bytes:
        """Return the next piece; empty at the end, and where none comes in time, for which the connection is closed.

        Raises:
            asyncio.TimeoutError, OSError: as ``next``.
        """
        # As ``asyncio.wait_for`` without its task, which costs as much as twenty events.
        closing = asyncio.get_running_loop().call_later(seconds, self._response.close)
        try:
            return await self._response.next()
        except HttpClosedError:
            return b""
        finally:
            closing.cancel()

    def limit_silence(self, seconds: float) -> float:
        """Have ``next`` raise asyncio.TimeoutError where nothing comes for so long; return the limit.

        Args:
            seconds: the limit from here on, unless the one before was less.
        """
        return self._response.limit_silence(seconds)

    def close(self) -> None:
        """Close the connection; who waits for the next piece gets an HttpError."""
        self._response.close()

    async def whole(self) -> bytes:
        """Return all that is left.

        Raises:
            EngineFailedError: it is over the limit.
        """
        pieces = [self.first()]
        size = len(pieces[0])
        while piece := await self.next():
            pieces.append(piece)
            size += len(piece)
            if size > MAX_WHOLE_BYTES:
                raise EngineFailedError(f"the engine's answer is over {MAX_WHOLE_BYTES} bytes", code="answer_too_large")
        return b"".join(pieces)
