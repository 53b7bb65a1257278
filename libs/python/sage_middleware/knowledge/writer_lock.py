"""One ingest into a collection at a time, over all processes of a machine; and one that makes its index."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sage_common.errors import ConflictError, PermissionDeniedError

# Code of the error while another holds the lock.
INGEST_RUNNING = "ingest_running"


class WriterLock:
    """Held while a collection is ingested into. The system releases it when the process ends, however it ends."""

    def __init__(self, path: Path, *, doing: str = "ingesting into") -> None:
        self._path = path
        self._doing = doing
        self._file = path.with_name(f"{path.name}.lock")
        self._descriptor: int | None = None

    def __enter__(self) -> WriterLock:
        """Take the lock.

        Raises:
            ConflictError: another process holds it.
            PermissionDeniedError: the folder cannot be written.
        """
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PermissionDeniedError(
                f"{self._path} cannot be ingested into: {error.strerror} ({self._file.name} beside it)"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder else "another process"
            raise ConflictError(
                f"{who} is {self._doing} {self._path.stem!r}; try again when it has ended",
                code=INGEST_RUNNING,
                retryable=True,
            ) from None
        self._descriptor = descriptor
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError:
            # A full disk: the number of the process is for people only.
            pass
        return self

    def __exit__(self, *_: object) -> None:
        """Release it. The file stays: to remove it would let two processes lock two files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
