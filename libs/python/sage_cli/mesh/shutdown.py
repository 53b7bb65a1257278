"""Stopping the mesh of this machine, whatever state it is in."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

from sage_platform.supervision.guarded_sweep import end_guarded
from sage_platform.supervision.process_status import ProcessIdentity
from sage_platform.supervision.state_file import SupervisorState, read_state, remove_state

# The supervisor stops three stages, each within the longest stop time-out of a process.
SUPERVISOR_STOP_SECONDS = 75.0
# A process bound to its parent is killed with it by the kernel, but not in the same instant.
BOUND_SECONDS = 1.0
KILLED_SECONDS = 10.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class StoppedProcess:
    """A process that was stopped.

    Attributes:
        killed: whether it had to be killed.
    """

    name: str
    pid: int
    killed: bool = False


def stop_mesh(directory: Path, timeout_seconds: float = SUPERVISOR_STOP_SECONDS) -> list[StoppedProcess]:
    """Stop the supervisor that wrote the state in ``directory`` and everything it runs; return what was running.

    The supervisor is asked first and given time; then it, and whatever is left of its processes, is killed.
    """
    state = read_state(directory)
    if state is None:
        return _end_engines(directory)
    running = _running(state)
    if state.alive:
        _signal(state.supervisor, signal.SIGTERM)
        _wait_ended([state.supervisor], timeout_seconds)
        latest = read_state(directory)
        if latest is not None:
            # It may have started a process again since the state was read.
            running |= _running(latest)
        if state.alive:
            _signal(state.supervisor, signal.SIGKILL)
        running[state.supervisor] = "supervisor"
    left = _wait_ended(running, BOUND_SECONDS)
    for identity in left:
        _signal(identity, signal.SIGKILL)
    _wait_ended(left, KILLED_SECONDS)
    remove_state(directory)
    stopped = [StoppedProcess(name, identity.pid, identity in left) for identity, name in running.items()]
    return [*stopped, *_end_engines(directory)]


def _end_engines(directory: Path) -> list[StoppedProcess]:
    """End the engines' servers that a killed coordinator has left and no other has adopted."""
    return [StoppedProcess(f"engine {server.name}", server.pid, server.killed) for server in end_guarded(directory)]


def _running(state: SupervisorState) -> dict[ProcessIdentity, str]:
    return {
        status.identity: status.name
        for status in state.processes
        if status.identity is not None and status.identity.process() is not None
    }


def _wait_ended(identities: Collection[ProcessIdentity], timeout_seconds: float) -> list[ProcessIdentity]:
    """Wait until the processes have ended; return those that have not in time.

    They are polled, since only a parent is notified. A zombie counts as ended.
    """
    deadline = time.monotonic() + timeout_seconds
    while left := [identity for identity in identities if identity.process() is not None]:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_SECONDS)
    return left


def _signal(identity: ProcessIdentity, number: signal.Signals) -> None:
    process = identity.process()
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
