"""The supervisor's state for others to read: one JSON file, replaced as a whole, beside a lock that it holds.

The lock says whether a supervisor lives; the file says what it runs. A file whose supervisor is dead is a leftover.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

import orjson

from sage_common.errors import ConflictError
from sage_common.logging import get_logger
from sage_common.paths import private_dir
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus

log = get_logger(__name__)

STATE_FILE = "supervisor.json"
LOCK_FILE = "supervisor.lock"
# The other of two files that change places, see StateWriter.
SPARE_FILE = ".supervisor.json.spare"
# Room that a StateWriter takes for each; a state of twenty processes has about 10 kB.
STATE_BYTES = 64 * 1024
AT_FDCWD = -100
RENAME_EXCHANGE = 2


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


class StateWriter:
    """Writes the state file of one supervisor, also while the disk is full.

    It takes room for two files with its first write. From then on a write needs no further room: the state goes into
    the spare file, in place, and the two change their names. On file systems that never write in place, and where two
    names cannot be exchanged, a write on a full disk fails; then the state is kept, and ``write_pending`` writes it.

    No method raises OSError: what a supervisor does for its processes does not depend on its being written down.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._has_room = False
        self._pending: SupervisorState | None = None

    @property
    def pending(self) -> bool:
        """Whether the latest state is not on file."""
        return self._pending is not None

    def write(self, state: SupervisorState) -> None:
        """Replace the state file; a reader sees the old one or the new one."""
        try:
            self._replace(state)
        except OSError as error:
            log.error("state file not written; trying again", directory=str(self._directory), error=str(error))
            self._pending = state
        else:
            self._pending = None

    def write_pending(self) -> None:
        """Write the state that could not be written before, if there is one."""
        if self._pending is not None:
            self.write(self._pending)

    def _replace(self, state: SupervisorState) -> None:
        # Spaces at the end of JSON mean nothing.
        content = _encoded(state).ljust(STATE_BYTES)
        if self._has_room and len(content) == STATE_BYTES:
            spare = self._directory / SPARE_FILE
            with spare.open("r+b") as file:
                file.write(content)
            try:
                _exchange(spare, self._directory / STATE_FILE)
                return
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOENT):
                    raise
        _write(self._directory, content)
        _write_private(self._directory / SPARE_FILE, bytes(STATE_BYTES))
        self._has_room = True


def write_state(directory: Path, state: SupervisorState) -> None:
    """Replace the state file; a reader sees the old one or the new one. Raises OSError."""
    _write(directory, _encoded(state))


def _encoded(state: SupervisorState) -> bytes:
    return orjson.dumps(asdict(state), option=orjson.OPT_INDENT_2)


def _write(directory: Path, content: bytes) -> None:
    path = private_dir(directory) / STATE_FILE
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_private(scratch, content)
        scratch.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def _write_private(path: Path, content: bytes) -> None:
    """Make a file that its owner alone can read: the facts may hold a URL of NATS with credentials in it."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _exchange(one: Path, other: Path) -> None:
    """Have two files change their names, in one step (renameat2(2), Linux). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "no renameat2")
    if libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


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
    """Remove the state file, if there is one, and the spare beside it."""
    (directory / STATE_FILE).unlink(missing_ok=True)
    (directory / SPARE_FILE).unlink(missing_ok=True)


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
