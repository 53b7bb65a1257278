"""The supervisor's state for others to read: one JSON file, replaced as a whole, beside a lock that it holds.

The lock says whether a supervisor lives; the file says what it runs. A file whose supervisor is dead is a leftover.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

import orjson

from sage_common.errors import ConflictError
from sage_common.paths import private_dir
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus

STATE_FILE = "supervisor.json"
LOCK_FILE = "supervisor.lock"


class SupervisorPhase(str, Enum):
    """Where the whole is."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    FAILED = "failed"


class AlreadySupervisedError(ConflictError):
    """Another supervisor holds the lock."""

    default_code = "already_supervised"


@dataclass(frozen=True)
class SupervisorState:
    """A supervisor and its processes.

    Attributes:
        message: what it waits for, or why it failed.
        output: last lines of the process that failed.
        facts: what others need in order to reach the whole, e.g. ``nats_url``.
    """

    supervisor: ProcessIdentity
    phase: SupervisorPhase
    started_unix_seconds: float
    processes: tuple[ProcessStatus, ...] = ()
    message: str = ""
    output: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        """Whether that supervisor still runs."""
        return self.supervisor.process() is not None


def write_state(directory: Path, state: SupervisorState) -> None:
    """Replace the state file; a reader sees the old one or the new one."""
    path = private_dir(directory) / STATE_FILE
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    # The facts may hold the URL of a NATS server with credentials in it.
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2))
    scratch.replace(path)


def read_state(directory: Path) -> SupervisorState | None:
    """Return the state on file, or None when there is none.

    Raises:
        ConflictError: the file is not one that this version writes.
    """
    path = directory / STATE_FILE
    try:
        record = orjson.loads(path.read_bytes())
        return SupervisorState(
            supervisor=ProcessIdentity(**record["supervisor"]),
            phase=SupervisorPhase(record["phase"]),
            started_unix_seconds=record["started_unix_seconds"],
            processes=tuple(_status(item) for item in record["processes"]),
            message=record["message"],
            output=tuple(record["output"]),
            facts=record["facts"],
        )
    except FileNotFoundError:
        return None
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConflictError(
            f"{path} is not a state file of this version ({error!r}); stop the SAGE that wrote it, then remove the file"
        ) from None


def remove_state(directory: Path) -> None:
    """Remove the state file, if there is one."""
    (directory / STATE_FILE).unlink(missing_ok=True)


@contextlib.contextmanager
def supervisor_lock(directory: Path) -> Iterator[None]:
    """Hold the lock that makes a supervisor the only one for ``directory``; the kernel drops it when we die.

    Raises:
        AlreadySupervisedError: another process holds it.
    """
    path = private_dir(directory) / LOCK_FILE
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadySupervisedError(f"another supervisor holds {path}; `sage status` shows it") from None
        yield


def _status(record: Mapping[str, object]) -> ProcessStatus:
    values = dict(record)
    identity = values.pop("identity")
    phase = ProcessPhase(values.pop("phase"))
    return ProcessStatus(
        phase=phase,
        identity=ProcessIdentity(**identity) if isinstance(identity, dict) else None,
        **values,  # type: ignore[arg-type]
    )
