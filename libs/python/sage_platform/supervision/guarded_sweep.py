"""Ending what runs under guardians when their owners are gone, by the list of processes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from sage_platform.supervision import guardian

GUARDIAN_PROGRAM = Path(guardian.__file__).name
# Beyond the grace that a guardian gives its server.
MARGIN_SECONDS = 3.0
KILLED_SECONDS = 5.0
POLL_SECONDS = 0.02
_LOST = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


@dataclass(frozen=True)
class EndedServer:
    """A server that was running and has been ended; ``pid`` is its guardian's, or its own without one."""

    name: str
    pid: int
    killed: bool


def end_guarded(home: Path) -> list[EndedServer]:
    """End every guardian of the mesh whose state directory is ``home``, with what it holds, and what guardians that
    were killed have left; return what was running. Blocks until they are gone."""
    guardians = dict(_guardians(home))
    for process in guardians:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    late = _wait_ended(list(guardians), guardian.GRACE_SECONDS + MARGIN_SECONDS)
    for process in late:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    left = _kill(_marked(guardian.HOME_MARK, str(home)))
    ended = [EndedServer(name, process.pid, process in late) for process, name in guardians.items()]
    return [*ended, *(EndedServer("engine process", process.pid, True) for process in left)]


def kill_marked(socket: str, server_pid: int = 0) -> None:
    """Kill everything that was started under the guardian at ``socket``, which has ended; blocks until it is gone.

    Removes the socket: a guardian that was killed has left it.

    Args:
        server_pid: of the server that it started, whether that still runs or not, if it is known.
    """
    _kill(_marked(guardian.SOCKET_MARK, socket, {server_pid} - {0}))
    Path(socket).unlink(missing_ok=True)


def _marked(name: str, value: str, sessions: Collection[int] = ()) -> list[psutil.Process]:
    """The processes whose environment has a mark, and all others of their sessions.

    The session, because a process that shows a title of its own, as vLLM's do, has overwritten its environment.
    """
    processes = list(_processes())
    marked = [process for process in processes if _mark(process, name) == value]
    wanted = {_session(process.pid) for process in marked} | set(sessions)
    return [process for process in processes if process in marked or _session(process.pid) in wanted - {None}]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def _guardians(home: Path) -> Iterator[tuple[psutil.Process, str]]:
    for process in _processes():
        try:
            command = process.cmdline()
        except _LOST:
            continue
        # python -I -S …/guardian.py SOCKET HOME …
        if len(command) > 5 and Path(command[3]).name == GUARDIAN_PROGRAM and command[5] == str(home):
            yield process, Path(command[4]).stem


def _processes() -> Iterator[psutil.Process]:
    yield from psutil.process_iter()


def _mark(process: psutil.Process, name: str) -> str:
    try:
        return str(process.environ().get(name, ""))
    except (*_LOST, OSError):
        return ""


def _kill(processes: list[psutil.Process]) -> list[psutil.Process]:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _wait_ended(processes, KILLED_SECONDS)
    return processes


def _wait_ended(processes: list[psutil.Process], timeout_seconds: float) -> list[psutil.Process]:
    """Return those that have not ended in time. Polled, since only a parent is notified; a zombie has ended."""
    deadline = time.monotonic() + timeout_seconds
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
