"""A NATS server of ours that can no longer write its files, and starting it again when it could.

JetStream closes a stream on the first write that fails, and keeps it closed when there is room again: only a restart
of the server opens it. Streams in memory and core NATS go on meanwhile, so the restart waits until it helps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path

from sage_common.logging import get_logger

log = get_logger(__name__)

LOOK_SECONDS = 1.0
# A disk that is full again and again must not take the server down each time.
BETWEEN_RESTARTS_SECONDS = 10.0
ANSWER_SECONDS = 2.0
# Room that makes a restart worth while.
PROBE_BYTES = 1024 * 1024
# What the server's health says of a stream that it has closed for writing.
WRITE_ERROR = "write error"


class NatsStorageWatch:
    """Looks at the server's health, reports that it cannot write, and has it started again once it could.

    Args:
        directory: where the server keeps its files.
        monitor_url: root of the server's monitoring, asked for at each look.
        restart: ends the server and returns; whoever supervises it starts it again.
        report: is given what is wrong, None when nothing is.
    """

    def __init__(
        self,
        directory: Path,
        monitor_url: Callable[[], str],
        restart: Callable[[], Awaitable[None]],
        report: Callable[[str | None], None],
    ) -> None:
        self._directory = directory
        self._monitor_url = monitor_url
        self._restart = restart
        self._report = report
        self._restarted_at = float("-inf")

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        error = await asyncio.to_thread(write_error, self._monitor_url())
        if error is None:
            self._report(None)
            return
        self._report(
            f"JetStream cannot write below {self._directory} ({error}): jobs, policies and new engines are not taken, "
            "other requests are; free some space, and it goes on by itself"
        )
        due = time.monotonic() - self._restarted_at >= BETWEEN_RESTARTS_SECONDS
        if due and await asyncio.to_thread(has_room, self._directory):
            log.warning("there is room again; starting NATS again, so that it opens its streams")
            self._restarted_at = time.monotonic()
            await self._restart()


def write_error(monitor_url: str) -> str | None:
    """Return why the server cannot write; None when it can, or does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{monitor_url}/healthz", timeout=ANSWER_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        with error:
            body = error.read(4096)
    except (OSError, ValueError):
        return None
    try:
        text = str(json.loads(body).get("error", ""))
    except (ValueError, AttributeError):
        return None
    # "JetStream stream '…' write error: write /a/path: no space left on device"
    return text.rpartition(": ")[2] or text if WRITE_ERROR in text else None


def has_room(directory: Path, count: int = PROBE_BYTES) -> bool:
    """Whether ``count`` bytes can be written below ``directory`` now. Blocks."""
    probe = directory / f".room.{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(count))
            file.flush()
            os.fsync(file.fileno())
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
