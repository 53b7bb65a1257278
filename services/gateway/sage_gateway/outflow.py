"""Passing on what arrives of many replies: once a turn of the event loop, without a step of a task for each piece."""

from __future__ import annotations

import asyncio

from sage_gateway.body_writer import BodyWriter
from sage_gateway.keep_alive_comments import COMMENT
from sage_mesh.reply import Reply


class Outflow:
    """The replies of one endpoint that are being written to their connections."""

    def __init__(self) -> None:
        self._due: list[_Flow] = []

    async def pass_on(self, reply: Reply, writer: BodyWriter, comment_seconds: float | None = None) -> None:
        """Write the pieces of a reply as they come; return when it has ended, in whatever way, and all is written.

        Args:
            comment_seconds: after this long a silence a comment is written; None for none.
        """
        flow = _Flow(reply, writer, self._due, comment_seconds)
        try:
            await flow.ended
        finally:
            flow.close()


class _Flow:
    """One reply on its way to its client. Pieces that come in one turn of the event loop are written as one."""

    __slots__ = ("_comment_seconds", "_due", "_is_due", "_loop", "_reply", "_timer", "_writer", "_written_at", "ended")

    def __init__(self, reply: Reply, writer: BodyWriter, due: list[_Flow], comment_seconds: float | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._reply = reply
        self._writer = writer
        self._due = due
        self._is_due = False
        self._comment_seconds = comment_seconds
        self._written_at = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        if comment_seconds is not None:
            self._timer = self._loop.call_later(comment_seconds, self._on_silence, comment_seconds)
        reply.on_arrival = writer.flow.on_writable = self._on_arrival
        self._on_arrival()

    def close(self) -> None:
        self._reply.on_arrival = self._writer.flow.on_writable = None
        if self._timer is not None:
            self._timer.cancel()

    def _on_arrival(self) -> None:
        if self._is_due:
            return
        self._is_due = True
        if not self._due:
            self._loop.call_soon(_write_all, self._due)
        self._due.append(self)

    def write(self) -> None:
        """Write what has arrived, as much as the client takes."""
        self._is_due = False
        reply, writer = self._reply, self._writer
        while not writer.flow.write_paused:
            data = reply.take()
            if data:
                writer.write(data)
                if self._comment_seconds is not None:
                    self._written_at = self._loop.time()
            else:
                if reply.ended and not self.ended.done():
                    self.ended.set_result(None)
                return

    def _on_silence(self, seconds: float) -> None:
        """Write a comment where nothing was written for so long; look again when that may be so the next time."""
        now = self._loop.time()
        left = self._written_at + seconds - now
        if left <= 0:
            left, self._written_at = seconds, now
            if not self._writer.flow.write_paused:
                self._writer.write(COMMENT)
        self._timer = self._loop.call_later(left, self._on_silence, seconds)


def _write_all(due: list[_Flow]) -> None:
    flows = due[:]
    due.clear()
    for flow in flows:
        try:
            flow.write()
        except Exception as error:
            if not flow.ended.done():
                flow.ended.set_exception(error)
