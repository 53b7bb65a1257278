"""Which exports stay: those in use, and the latest of each model; the superseded ones are removed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from sage_common.logging import get_logger
from sage_embed_executor.models.model_folder import ModelFolder

log = get_logger(__name__)

# In the folder of an export: where the model was that it was made of.
ORIGIN = "origin.json"
PARTIAL = ".partial-"
# Superseded exports to keep of each model, form and precision: for an upgrade that is reverted, or another installation
# with the same cache.
KEPT = 1
_HUB_SNAPSHOTS = "snapshots"


def hold(folder: Path) -> int | None:
    """Mark an export as in use until this process ends; return the descriptor of the mark.

    Closing the descriptor removes the mark. None where the folder does not exist, or its file system has no locks; on
    such a file system ``removing`` does not allow a removal either.

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
    # The superseded one used last is kept. In a cache that cannot be written none are removed.
    with contextlib.suppress(OSError):
        os.utime(descriptor)
    return descriptor


def _is_at(folder: Path, descriptor: int) -> bool:
    """Return whether the folder is the one that was opened: a removal may have ended before it was marked."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def removing(folder: Path) -> Iterator[bool]:
    """Keep other processes from marking an export as in use; the value is whether no process uses it."""
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


def write_origin(target: Path, folder: ModelFolder) -> None:
    """Write into a new export where its model is."""
    (target / ORIGIN).write_bytes(orjson.dumps({"model": model_place(folder.path)}))


def remove_superseded(current: Path, folder: ModelFolder) -> list[Path]:
    """Remove earlier exports of the same model, form and precision than ``current``; return the folders removed.

    The ``KEPT`` that were used last stay, as do those in use and those without an origin. Partial folders that killed
    processes left are removed too. One that cannot be removed is logged as a warning.
    """
    place, kind = model_place(folder.path), _kind(current)
    folders = [path for path in sorted(current.parent.iterdir()) if path.is_dir() and path != current]
    older = [path for path in folders if PARTIAL not in path.name and _kind(path) == kind and _origin(path) == place]
    older.sort(key=_last_used, reverse=True)
    partial = [path for path in folders if PARTIAL in path.name]
    return [path for path in (*partial, *older[KEPT:]) if _remove(path)]


def model_place(path: Path) -> str:
    """Return what stays the same when a model is updated: its folder, or its repository in the hub's cache."""
    real = path.resolve()
    return str(real.parent.parent if real.parent.name == _HUB_SNAPSHOTS else real)


def _kind(path: Path) -> list[str]:
    """Return form and precision: an export's name is model, form, precision and two hashes."""
    return path.name.rsplit("-", 4)[1:3]


def _origin(path: Path) -> str:
    try:
        stated = orjson.loads((path / ORIGIN).read_bytes())
    except (OSError, ValueError):
        # Made before origins were written.
        return ""
    return str(stated.get("model", "")) if isinstance(stated, dict) else ""


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> bool:
    name = path.name.partition(PARTIAL)[0]
    megabytes = 0
    try:
        # The process that makes it holds the file lock, those that use it hold the mark.
        with FileLock(path.with_name(f"{name}.lock"), timeout=0), removing(path) as unused:
            if not unused:
                log.info("a superseded export is still in use and stays", folder=str(path))
                return False
            megabytes = sum(file.stat().st_size for file in path.iterdir()) // 1_000_000
            # Renamed first, so that it is not found while its files are removed.
            doomed = path if PARTIAL in path.name else path.rename(path.with_name(f"{name}{PARTIAL}removed"))
            shutil.rmtree(doomed)
    except Timeout:
        return False
    except OSError as error:
        log.warning("a superseded export cannot be removed", folder=str(path), error=str(error))
        return False
    log.info("removed a superseded export", folder=str(path), megabytes=megabytes)
    return True
