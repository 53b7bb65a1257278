"""Removing exports that newer ones of the same model have taken the place of."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
from filelock import FileLock, Timeout

from sage_common.logging import get_logger
from sage_embed_executor.exports.export_use import removing
from sage_embed_executor.models.model_folder import ModelFolder

log = get_logger(__name__)

# Beside the export's own files: where the model was that it was made of.
ORIGIN = "origin.json"
PARTIAL = ".partial-"
# Of each model, form and precision: an upgrade that is taken back, or another installation with the same cache, finds
# its export again.
KEPT = 1
_HUB_SNAPSHOTS = "snapshots"


def write_origin(target: Path, folder: ModelFolder) -> None:
    """Note in a new export which model it is of."""
    (target / ORIGIN).write_bytes(orjson.dumps({"model": model_place(folder.path)}))


def remove_superseded(current: Path, folder: ModelFolder) -> list[Path]:
    """Remove what was exported of the same model, in the same form and precision, before ``current``; return it.

    The ``KEPT`` that were used last stay, as does what a process uses, and what does not say which model it is of. What
    killed processes left half made or half removed goes too. What cannot be removed is a warning.
    """
    place, kind = model_place(folder.path), _kind(current)
    others = [path for path in sorted(current.parent.iterdir()) if path.is_dir() and path != current]
    older = [path for path in others if PARTIAL not in path.name and _kind(path) == kind and _origin(path) == place]
    older.sort(key=_last_used, reverse=True)
    left = [path for path in others if PARTIAL in path.name]
    return [path for path in (*left, *older[KEPT:]) if _remove(path)]


def model_place(path: Path) -> str:
    """What stays the same when a model is brought up to date: its folder, or its repository in the hub's cache."""
    real = path.resolve()
    return str(real.parent.parent if real.parent.name == _HUB_SNAPSHOTS else real)


def _kind(path: Path) -> list[str]:
    """Form and precision: an export's name is model, form, precision and two hashes."""
    return path.name.rsplit("-", 4)[1:3]


def _origin(path: Path) -> str:
    try:
        stated = orjson.loads((path / ORIGIN).read_bytes())
    except (OSError, ValueError):
        # Made before this was noted.
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
        # Whoever makes it holds the one, whoever uses it the other.
        with FileLock(path.with_name(f"{name}.lock"), timeout=0), removing(path) as unused:
            if not unused:
                log.info("a superseded export is still in use and stays", folder=str(path))
                return False
            megabytes = sum(file.stat().st_size for file in path.iterdir()) // 1_000_000
            # Under another name it is not found any more while its files go.
            doomed = path if PARTIAL in path.name else path.rename(path.with_name(f"{name}{PARTIAL}removed"))
            shutil.rmtree(doomed)
    except Timeout:
        return False
    except OSError as error:
        log.warning("a superseded export cannot be removed", folder=str(path), error=str(error))
        return False
    log.info("removed a superseded export", folder=str(path), megabytes=megabytes)
    return True
