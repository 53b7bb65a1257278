"""Marks on exports that are in use, so that nobody removes them."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def hold(folder: Path) -> int | None:
    """Mark an export as in use by this process until it ends, however it ends; return the descriptor of the mark.

    Closing the descriptor takes the mark back. None where there is no such folder any more, or its file system has no
    locks; on such a file system nothing is removed by ``removing`` either.

    Raises:
        BlockingIOError: it is being removed.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise
        return None
    if not _is_at(folder, descriptor):
        os.close(descriptor)
        return None
    # Of those that are superseded, the one used last is kept. A cache that cannot be written has none removed.
    with contextlib.suppress(OSError):
        os.utime(descriptor)
    return descriptor


def _is_at(folder: Path, descriptor: int) -> bool:
    """Whether the folder is still the one that was opened: a removal may have ended before it was marked."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def removing(folder: Path) -> Iterator[bool]:
    """Keep others from marking an export in the meantime; the value says whether nobody uses it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
