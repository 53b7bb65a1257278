"""What is known of supervised processes, as written to the state file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import psutil

# Both readings of a start time come from the same kernel counter; psutil rounds to clock ticks.
SAME_START_SECONDS = 1.0
# What the name of a process ends with while another takes its place, or it takes another's.
NEXT, LEAVING = " (next)", " (leaving)"


class ProcessPhase(str, Enum):
    """Where a supervised process is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing-off"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, identified by pid and start time, since pids come again."""

    pid: int
    created_unix_seconds: float

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Identify a running process. Raises ``psutil.NoSuchProcess``."""
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process if it still runs, else None. A zombie has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created_unix_seconds) < SAME_START_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


@dataclass(frozen=True)
class ProcessStatus:
    """One supervised process now.

    Attributes:
        identity: the running process; None between starts and at the end.
        ports: ports it listens on by name (``grpc``, ``metrics``, ``http``, ``nats``, ``monitor``).
        restarts: how often it was started again.
        message: why it is not running, if it is not.
        log: path of its log file.
    """

    name: str
    service: str
    phase: ProcessPhase
    log: str
    identity: ProcessIdentity | None = None
    ports: Mapping[str, int] = field(default_factory=dict)
    restarts: int = 0
    message: str = ""
