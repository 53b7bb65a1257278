"""A server under a guardian, as its owner sees it: started or taken over, watched, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sage_common import paths
from sage_common.errors import ConflictError, UnavailableError
from sage_common.logging import get_logger
from sage_platform.supervision import guardian
from sage_platform.supervision.guarded_sweep import kill_marked
from sage_platform.supervision.process_log import open_log

log = get_logger(__name__)

# A guardian starts in tens of milliseconds; on a machine under load in seconds.
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 2.0
POLL_SECONDS = 0.01
# Beyond the grace that the server is given.
STOP_MARGIN_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ServerEnd:
    """How an ownership ended.

    Attributes:
        status: exit status of the server, 128 + n when signal n ended it; None when it is not known.
        replaced: whether another owner has the server now; it runs on.
    """

    status: int | None = None
    replaced: bool = False


class GuardedProcess:
    """One run of a server program. Made by ``start`` or ``adopt``, which return once this process owns it."""

    def __init__(self, socket: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._socket = socket
        self._reader = reader
        self._writer = writer
        self._guardian: asyncio.subprocess.Process | None = None
        self._end: ServerEnd | None = None
        self._reading = asyncio.Lock()
        self.server_pid = 0

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        socket: Path,
        home: Path,
        log_file: Path,
        epoch: int,
        orphan_seconds: float,
    ) -> GuardedProcess:
        """Start a server and own it.

        Args:
            environment: all of it; nothing is inherited.
            home: state directory of the mesh, by which ``end_guarded`` finds what is left of it.
            log_file: where the server's output goes; it outlives this process.
            orphan_seconds: how long the server waits for another owner when this process is gone.

        Raises:
            UnavailableError: the guardian did not come up, or ended at once with the server.
            OSError: no process could be started.
        """
        with open_log(log_file) as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                guardian.__file__,
                str(socket),
                str(home),
                f"{orphan_seconds:g}",
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment),
                # Neither a Ctrl-C at the terminal nor the end of the service's group is for the server.
                start_new_session=True,
            )
        try:
            guarded = await cls._connect(socket, process)
            guarded._guardian = process
            await guarded._own(epoch, force=False)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()
            raise
        return guarded

    @classmethod
    async def adopt(cls, socket: Path, epoch: int, *, force: bool = False) -> GuardedProcess:
        """Own a server that another process has started.

        Args:
            epoch: higher than every owner's before.
            force: take it also from an owner whose connection is open.

        Raises:
            UnavailableError: no guardian is there.
            ConflictError: it has an owner, or one of a higher epoch.
        """
        guarded = await cls._reach(socket)
        try:
            await guarded._own(epoch, force=force)
        except BaseException:
            guarded._writer.close()
            raise
        return guarded

    @classmethod
    async def is_owned(cls, socket: Path) -> bool:
        """Whether the server at ``socket`` has an owner whose connection is open; without a guardian it has none."""
        try:
            guarded = await cls._reach(socket)
        except UnavailableError:
            return False
        try:
            guarded._tell(verb="look")
            answer = await asyncio.wait_for(guarded._read(), ANSWER_SECONDS)
            return answer is not None and bool(answer.get("owned"))
        except asyncio.TimeoutError:
            # It is ending its server, which takes seconds.
            return True
        finally:
            guarded._writer.close()

    async def wait(self) -> ServerEnd:
        """Return when the server has ended, or is another owner's. May be called again, and by several."""
        async with self._reading:
            while self._end is None:
                self._end = await self._next_end()
                self._writer.close()
        if self._guardian is not None:
            if self._end.replaced:
                return self._end
            await self._guardian.wait()
        return self._end

    async def stop(self, grace_seconds: float = guardian.GRACE_SECONDS) -> None:
        """End the server and everything that it started: asked first, killed after ``grace_seconds``."""
        if self._end is None:
            self._tell(verb="stop", grace_seconds=grace_seconds)
        try:
            await asyncio.wait_for(self.wait(), grace_seconds + STOP_MARGIN_SECONDS)
        except asyncio.TimeoutError:
            log.error("guardian did not end; killing what it holds", socket=str(self._socket))
            if self._guardian is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._guardian.kill()
            await asyncio.to_thread(kill_marked, str(self._socket), self.server_pid)

    def abandon(self) -> None:
        """Give the server up as a killed process would: it waits for another owner, and ends without one."""
        self._end = ServerEnd(replaced=True)
        self._writer.close()

    @classmethod
    async def _reach(cls, socket: Path) -> GuardedProcess:
        try:
            return cls(socket, *await asyncio.open_unix_connection(str(socket)))
        except OSError as error:
            raise UnavailableError(f"no guardian at {socket}: {error.strerror}", code="guardian_gone") from None

    @classmethod
    async def _connect(cls, socket: Path, process: asyncio.subprocess.Process) -> GuardedProcess:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CONNECT_SECONDS
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                return cls(socket, *await asyncio.open_unix_connection(str(socket)))
            if process.returncode is not None or loop.time() > deadline:
                raise UnavailableError(f"the guardian at {socket} did not come up; the server's log may say why")
            await asyncio.sleep(POLL_SECONDS)

    async def _own(self, epoch: int, *, force: bool) -> None:
        self._tell(verb="own", epoch=epoch, force=force)
        try:
            answer = await asyncio.wait_for(self._read(), CONNECT_SECONDS)
        except asyncio.TimeoutError:
            answer = None
        if answer is None or answer["event"] == "ended":
            raise UnavailableError(f"the guardian at {self._socket} ended", code="guardian_gone")
        if answer["event"] != "owned":
            raise ConflictError(f"the server at {self._socket} is another's: {answer['reason']}", code="server_owned")
        self.server_pid = int(answer["server_pid"])

    async def _next_end(self) -> ServerEnd | None:
        message = await self._read()
        if message is None:
            # Killed: the kernel has ended the server's first process with it, but no other.
            await asyncio.to_thread(kill_marked, str(self._socket), self.server_pid)
            return ServerEnd()
        if message["event"] == "ended":
            return ServerEnd(int(message["status"]))
        return ServerEnd(replaced=True) if message["event"] == "replaced" else None

    async def _read(self) -> dict[str, Any] | None:
        try:
            line = await self._reader.readline()
        except OSError:
            return None
        return orjson.loads(line) if line.endswith(b"\n") else None

    def _tell(self, **message: object) -> None:
        self._writer.write(orjson.dumps(message) + b"\n")


def socket_path(name: str) -> Path:
    """Where the guardian called ``name`` listens.

    Raises:
        UnavailableError: the directory for sockets is not this user's alone.
    """
    directory = paths.private_dir(paths.runtime_dir())
    found = directory.stat()
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise UnavailableError(
            f"{directory} is open to other users, who could take the engines' servers; `chmod 700` it, or remove it"
        )
    return directory / f"{name}.sock"
