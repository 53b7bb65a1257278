"""A server that SAGE starts as a child process: its log, its end, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from sage_common.logging import get_logger

log = get_logger(__name__)

GUARD = Path(__file__).with_name("child_guard.py")
LOG_LINES_KEPT = 40
# One line of a log; longer ones are cut where the limit falls.
MAX_LINE_BYTES = 64 * 1024
# Longer than the guard itself waits between asking and killing.
STOP_SECONDS = 8.0


class ServerProcess:
    """One run of a server program, in a process group of its own under ``child_guard``."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = name
        self._command = list(command)
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES_KEPT)

    @property
    def last_line(self) -> str:
        """The last line of its log."""
        return self._lines[-1] if self._lines else ""

    @property
    def log_tail(self) -> str:
        """The last lines of its log."""
        return "\n".join(self._lines)

    async def start(self) -> None:
        """Start it. Raises OSError when the guard cannot be started."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-S",
            str(GUARD),
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            # A Ctrl-C at the terminal is for the service, which then stops the server in order.
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )

    async def wait(self) -> int:
        """Follow the log until the program ends; return its exit status."""
        process = self._running
        assert process.stdout is not None
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                # Longer than the limit; what was read of it is gone, the next line is not.
                continue
            if not line:
                break
            text = line.decode("utf-8", "replace").rstrip()
            if text:
                self._lines.append(text)
                log.info("server says", server=self._name, line=text)
        return await process.wait()

    async def stop(self) -> None:
        """End the program and everything that it started."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        # The log is read on meanwhile: a full pipe would keep asyncio from noticing the end.
        if not await self._ended_within(STOP_SECONDS):
            log.error("server guard did not end; killing it", server=self._name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await self._ended_within(STOP_SECONDS)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except asyncio.TimeoutError:
            return False
        return True

    @property
    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process
