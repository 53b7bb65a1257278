"""Cutting off a client that does not read what is written to it."""

from __future__ import annotations

import asyncio
import socket
import struct

# A client that takes less than this in the whole time-out counts as one that reads nothing.
LEAST_PROGRESS_BYTES = 4096
_NO_LINGER = struct.pack("ii", 1, 0)


class WritingWatch:
    """Watches one connection while bytes wait in it, and aborts it when its client has taken none of them for too long.

    What has been written and not read stays in memory: for a stream as much as the transport takes before it pauses
    writing, for a whole answer all of it.

    Args:
        timeout_seconds: how long a client may read nothing.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, timeout_seconds: float) -> None:
        self._transport = transport
        self._loop = loop
        self._timeout_seconds = timeout_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._waiting_bytes = 0
        self._progressed = False

    def start(self) -> None:
        """Watch from now on, if bytes wait; nothing where it watches already."""
        if self._timer is None and self._transport.get_write_buffer_size():
            self._watch()

    def on_progress(self) -> None:
        """Note that the client has read until writing could go on."""
        self._progressed = True

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        self._waiting_bytes = self._transport.get_write_buffer_size()
        self._progressed = False
        self._timer = self._loop.call_later(self._timeout_seconds, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timer = None
        waiting_bytes = self._transport.get_write_buffer_size()
        if not waiting_bytes:
            return
        if self._progressed or waiting_bytes <= self._waiting_bytes - LEAST_PROGRESS_BYTES:
            self._watch()
        else:
            self._cut_off()

    def _cut_off(self) -> None:
        connection = self._transport.get_extra_info("socket")
        if connection is not None:
            # Reset: the kernel would otherwise keep what it holds, some megabytes, for a client that may never read it.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()
