"""What a supervised process is, said declaratively."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

# Asks a process to finish what it has under way, for as long as that takes: another has taken its place.
LEAVE_SIGNAL = signal.SIGUSR1


class ReadyCheck(Protocol):
    """Waits until a process can do its work."""

    async def __call__(self, pid: int) -> Mapping[str, int]:
        """Return once process ``pid`` is ready, with the ports it listens on by name.

        It is cancelled when the process ends or its time is up, so it needs no time limit of its own.
        """
        ...


async def ready_at_once(pid: int) -> Mapping[str, int]:
    """The check for a process that is ready as soon as it runs."""
    return {}


@dataclass(frozen=True)
class RestartPolicy:
    """When a process that ended is started again.

    Attributes:
        initial_seconds: delay before the first restart.
        max_seconds: longest delay; each failure doubles it up to here.
        jitter: share of the delay that is random, 0 to 1, so that many processes do not restart in step.
        stable_seconds: a process that was ready this long has recovered: its next delay is the initial one.
        attempts_before_first_ready: starts allowed until it is ready for the first time; after that, no limit.
    """

    initial_seconds: float = 0.2
    max_seconds: float = 30.0
    jitter: float = 0.5
    stable_seconds: float = 10.0
    attempts_before_first_ready: int = 3


@dataclass(frozen=True)
class ProcessSpec:
    """One process to supervise.

    Attributes:
        name: unique, e.g. ``classifier-2``; also the name of its log file.
        service: what it is an instance of, e.g. ``classifier``.
        argv: program and arguments.
        environment: variables on top of the supervisor's own.
        descriptors: open files of the supervisor that the process inherits under the same numbers.
        ready: how to tell that it is ready.
        start_stage: processes of a stage start together once every earlier stage is ready.
        stop_stage: processes of a stage are asked to stop once every earlier stage has ended.
        ready_timeout_seconds: a start that takes longer counts as failed.
        stop_timeout_seconds: time between SIGTERM and SIGKILL.
    """

    name: str
    service: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    descriptors: tuple[int, ...] = ()
    ready: ReadyCheck = ready_at_once
    start_stage: int = 0
    stop_stage: int = 0
    ready_timeout_seconds: float = 120.0
    stop_timeout_seconds: float = 15.0
    restart: RestartPolicy = RestartPolicy()
