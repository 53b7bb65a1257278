"""Exported models in the user's cache: found intact, or made."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import orjson

from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_common.logging import get_logger
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_form import ExportForm, Precision
from sage_embed_executor.exports.export_retention import PARTIAL, hold, remove_superseded
from sage_embed_executor.exports.fingerprint import file_digest, model_fingerprint, short_hash, versions
from sage_embed_executor.models.model_folder import ModelFolder

log = get_logger(__name__)

MANIFEST = "manifest.json"
EXPORT_SECONDS = 900.0
EXPORT_FAILED = "export_failed"
EXPORT_REMOVED = "export_removed"
# How often an export is made that other processes remove before it is used.
ATTEMPTS = 3
_CHILD = "sage_embed_executor.exports.export_child"


class _ExportState(enum.Enum):
    INTACT = enum.auto()
    DAMAGED = enum.auto()
    GONE = enum.auto()


def cache_folder() -> Path:
    """Return the folder of all exports. Anything in it may be deleted at any time; it is made again."""
    return paths.cache_dir() / "embedding-exports"


def exported(folder: ModelFolder, form: ExportForm, precision: Precision, children: ChildRunner) -> Path:
    """Return the folder of an export, made first unless an intact one is there for these files and versions. Blocks.

    It is marked as in use until this process ends. Exports that a new one supersedes are removed. Where the packages
    that make exports are not installed, an export made with any version of them is used.

    Raises:
        ConfigurationError: it cannot be made; code ``export_failed`` where the disk is the cause, ``export_removed``
            where other processes keep removing it.
    """
    target = export_path(folder, form, precision)
    if _acquire(target) is _ExportState.INTACT:
        return target
    makers = form.makers[precision]
    missing = [name for name in makers if name not in versions(makers)]
    if missing:
        stem = target.name.rsplit("-", 1)[0]
        others = sorted(path for path in target.parent.glob(f"{stem}-*") if path.is_dir() and PARTIAL not in path.name)
        found = next((path for path in others if _acquire(path) is _ExportState.INTACT), None)
        if found is None:
            raise ConfigurationError(
                f"no {form.name} export of {folder.path} in {target.parent}, and {', '.join(missing)} to make it "
                "are not installed"
            )
        return found
    log.info("exporting the model", form=form.name, precision=precision.value, to=str(target))
    request = {"folder": str(folder.path), "module": form.module, "precision": precision.value}
    for _ in range(ATTEMPTS):
        children.run(_CHILD, request, EXPORT_SECONDS)
        state = _acquire(target)
        if state is not _ExportState.GONE:
            break
    if state is _ExportState.GONE:
        raise removed_again(target)
    if state is _ExportState.DAMAGED:
        raise ConfigurationError(
            f"the export in {target} is damaged just after it was made; check the disk", code=EXPORT_FAILED
        )
    remove_superseded(target, folder)
    if precision is not Precision.FP32:
        # The fp32 export that it was made of supersedes others, too.
        remove_superseded(export_path(folder, form, Precision.FP32), folder)
    return target


def _acquire(path: Path) -> _ExportState:
    """Return the state of an export, and mark an intact one as in use."""
    try:
        mark = hold(path)
    except BlockingIOError:
        return _ExportState.GONE
    if is_intact(path):
        return _ExportState.INTACT
    if mark is not None:
        os.close(mark)
    return _ExportState.DAMAGED if path.exists() else _ExportState.GONE


def removed_again(path: Path) -> ConfigurationError:
    """Return the error of an export that was removed each time between being made and being used."""
    return ConfigurationError(
        f"the export in {path} was removed {ATTEMPTS} times before it could be used; another process or a clean-up job "
        "removes what is in this cache. Start again when that is over, or give this process a cache of its own with "
        "XDG_CACHE_HOME",
        code=EXPORT_REMOVED,
    )


def export_path(folder: ModelFolder, form: ExportForm, precision: Precision) -> Path:
    """Return the folder of an export: its name has model, form and precision, and a hash each of readers and makers."""
    read_by = versions([form.runtime])
    made_by = versions(form.makers[precision])
    content = short_hash(model_fingerprint(folder.path), repr(sorted(read_by.items())), str(form.revision))
    makers = short_hash(repr(sorted(made_by.items())))
    return cache_folder() / f"{folder.path.name}-{form.name}-{precision.value}-{content}-{makers}"


def write_manifest(folder: Path) -> None:
    """Write the size and hash of each file; an export without this manifest is not intact."""
    files = {file.name: _size_and_hash(file) for file in sorted(folder.iterdir()) if file.is_file()}
    (folder / MANIFEST).write_bytes(orjson.dumps(files))


def is_intact(folder: Path) -> bool:
    """Return whether each file of an export is as it was written."""
    try:
        files = orjson.loads((folder / MANIFEST).read_bytes())
        return bool(files) and all(_size_and_hash(folder / name) == note for name, note in files.items())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError) as error:
        log.warning("an export cannot be read and is made again", folder=str(folder), error=str(error))
        return False


def _size_and_hash(file: Path) -> list[Any]:
    return [file.stat().st_size, file_digest(file)]
