"""Reads an upstream's answer as it comes: its form by its first bytes, then its pieces."""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp

from sage_common.errors import EngineFailedError
from sage_llm_coordinator.engines.answer_form import form_of
from sage_mesh.reply import Media

# The largest whole answer that is passed on.
MAX_WHOLE_BYTES: Final = 256 * 1024 * 1024


class AnswerReader:
    """One response of status 200."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        # aiohttp names a type of its own where the header is missing.
        self.content_type = response.content_type if "Content-Type" in response.headers else ""
        self._first: list[bytes] = []

    async def form(self) -> Media | None:
        """Wait until the answer's form is known and return it; None for an answer without a byte."""
        while True:
            piece = await self._content.readany()
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

    async def next(self, seconds: float | None) -> bytes:
        """Return the next piece; empty at the end.

        Args:
            seconds: longest wait; None for the upstream's own limit.

        Raises:
            asyncio.TimeoutError, aiohttp.ClientError, OSError: it did not come, or the connection broke.
        """
        if self._first:
            first, self._first = b"".join(self._first), []
            return first
        if seconds is None:
            return await self._content.readany()
        return await asyncio.wait_for(self._content.readany(), seconds)

    async def whole(self) -> bytes:
        """Return all that is left.

        Raises:
            EngineFailedError: it is over the limit.
        """
        pieces: list[bytes] = []
        size = 0
        while piece := await self.next(None):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_WHOLE_BYTES:
                raise EngineFailedError(f"the engine's answer is over {MAX_WHOLE_BYTES} bytes", code="answer_too_large")
        return b"".join(pieces)
