"""A process that reads pipelines: one that takes too long, or too much memory, costs that process its life."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import Any

import orjson

from sage_common.errors import UnavailableError, describe
from sage_common.logging import get_logger
from sage_dataflow_worker.validation_child import LENGTH
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_platform.supervision import bound_to_parent

log = get_logger(__name__)

# For one that uses no processor: its reader is stopped, or the machine is.
WALL_SECONDS = 60.0
# For the child's imports, on a machine under load.
START_SECONDS = 60.0
# A reader that is killed from outside is the machine's trouble, and may pass. Or its pipeline is what it is killed for.
_MOST_READS = 2
READER_NOT_STARTED = "validation_unavailable"
READER_KILLED = "validation_killed"


class _KilledError(Exception):
    """The child got SIGKILL from outside: its own limits end it by other signals."""


class PipelineReader:
    """Has pipelines read by a child process, one at a time.

    Args:
        given: what the child checks pipelines against; see ``validation_child``.
    """

    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the child, so that the next pipeline need not wait for it. Raises UnavailableError."""
        await self._running_child()

    async def stop(self) -> None:
        """End the child."""
        await self._end_child()

    async def read(self, data: bytes) -> dict[str, Any]:
        """Return the child's answer. A child that is killed from outside is started again, once.

        Raises:
            PipelineInvalidError: the pipeline ended the child, or took too long.
            UnavailableError: with the code ``READER_NOT_STARTED`` or, where it was killed again, ``READER_KILLED``.
        """
        for _ in range(_MOST_READS):
            with contextlib.suppress(_KilledError):
                return await self._read(data)
            log.warning("what reads pipelines was killed", bytes=len(data))
        raise UnavailableError(
            f"the process that reads pipelines was killed {_MOST_READS} times while it read this one, as the system "
            "does where memory is short; try again, or make room",
            code=READER_KILLED,
            retryable=True,
        )

    async def _read(self, data: bytes) -> dict[str, Any]:
        child = await self._running_child()
        assert child.stdin is not None
        try:
            child.stdin.write(LENGTH.pack(len(data)) + data)
            return await asyncio.wait_for(_receive(child), WALL_SECONDS)
        except asyncio.TimeoutError:
            message = f"it could not be read within {WALL_SECONDS:g} s"
        except (OSError, EOFError):
            message = "what read it ended, for want of memory or by a fault"
            signalled = -await child.wait()
            if signalled == signal.SIGKILL:
                await self._end_child()
                raise _KilledError from None
            if signalled == signal.SIGPROF:
                message = f"it could not be read within {self._given['processor_seconds']:g} s of processor time"
        except asyncio.CancelledError:
            await self._end_child()
            raise
        log.error("pipeline given up", reason=message, bytes=len(data))
        await self._end_child()
        raise PipelineInvalidError([Problem("", "", message, "make it smaller, or split it into several pipelines")])

    async def _running_child(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        setting = orjson.dumps(self._given).decode()
        program = [sys.executable, "-m", "sage_dataflow_worker.validation_process", setting]
        try:
            self._child = await asyncio.create_subprocess_exec(
                *bound_to_parent.command(program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            await asyncio.wait_for(_receive(self._child), START_SECONDS)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            await self._end_child()
            raise UnavailableError(
                f"the process that reads pipelines did not start ({describe(error)}); try again",
                code=READER_NOT_STARTED,
                retryable=True,
            ) from None
        except asyncio.CancelledError:
            await self._end_child()
            raise
        return self._child

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _receive(child: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the child's next message. Raises EOFError when it has ended."""
    assert child.stdout is not None
    (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
    message: dict[str, Any] = orjson.loads(await child.stdout.readexactly(length))
    return message
