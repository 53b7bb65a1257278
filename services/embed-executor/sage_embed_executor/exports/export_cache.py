"""Exported models in the user's cache: found whole, or made."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Any

import orjson

from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_common.logging import get_logger
from sage_embed_executor.backends.backend import Precision
from sage_embed_executor.child_process import ChildRunner
from sage_embed_executor.exports.export_form import ExportForm
from sage_embed_executor.exports.export_use import hold
from sage_embed_executor.exports.fingerprint import file_digest, model_fingerprint, short_hash, versions
from sage_embed_executor.exports.superseded import PARTIAL, remove_superseded
from sage_embed_executor.models.model_folder import ModelFolder

log = get_logger(__name__)

MANIFEST = "manifest.json"
EXPORT_SECONDS = 900.0
EXPORT_FAILED = "export_failed"
EXPORT_REMOVED = "export_removed"
# Of an export that others remove as soon as it is made, or before it is read.
ATTEMPTS = 3
_CHILD = "sage_embed_executor.exports.export_child"


class _Found(enum.Enum):
    WHOLE = enum.auto()
    DAMAGED = enum.auto()
    GONE = enum.auto()


def cache_folder() -> Path:
    """Where exports are. Anything in it may be deleted at any time; it is made again."""
    return paths.cache_dir() / "embedding-exports"


def exported(folder: ModelFolder, form: ExportForm, precision: Precision, children: ChildRunner) -> Path:
    """Return the folder of an export, made first if it is not there, whole, for these files and versions. Blocks.

    It is marked as in use until this process ends. What a new one supersedes is removed. Where the packages that make
    exports are not installed, an export made with any version of them is taken.

    Raises:
        ConfigurationError: it cannot be made; code ``export_failed`` where the disk is the cause, ``export_removed``
            where others kept removing it.
    """
    target = export_path(folder, form, precision)
    if _usable(target):
        return target
    makers = form.makers[precision]
    missing = [name for name in makers if name not in versions(makers)]
    if missing:
        stem = target.name.rsplit("-", 1)[0]
        others = sorted(path for path in target.parent.glob(f"{stem}-*") if path.is_dir() and PARTIAL not in path.name)
        found = next(filter(_usable, others), None)
        if found is None:
            raise ConfigurationError(
                f"no {form.name} export of {folder.path} in {target.parent}, and {', '.join(missing)} to make it "
                "are not installed"
            )
        return found
    log.info("exporting the model", form=form.name, precision=precision.value, to=str(target))
    request = {"folder": str(folder.path), "form": form.name, "precision": precision.value}
    for _ in range(ATTEMPTS):
        children.run(_CHILD, request, EXPORT_SECONDS)
        found_now = _take(target)
        if found_now is not _Found.GONE:
            break
    if found_now is _Found.GONE:
        raise removed_again(target)
    if found_now is _Found.DAMAGED:
        raise ConfigurationError(
            f"the export in {target} is damaged just after it was made; check the disk", code=EXPORT_FAILED
        )
    remove_superseded(target, folder)
    if precision is not Precision.FP32:
        # What it was made of.
        remove_superseded(export_path(folder, form, Precision.FP32), folder)
    return target


def _usable(path: Path) -> bool:
    return _take(path) is _Found.WHOLE


def _take(path: Path) -> _Found:
    """Say whether an export is there, whole and not about to be removed; mark it as in use if so."""
    try:
        mark = hold(path)
    except BlockingIOError:
        return _Found.GONE
    if is_whole(path):
        return _Found.WHOLE
    if mark is not None:
        os.close(mark)
    return _Found.DAMAGED if path.exists() else _Found.GONE


def removed_again(path: Path) -> ConfigurationError:
    """The error of an export that was made and was gone again each time it was needed."""
    return ConfigurationError(
        f"the export in {path} was removed {ATTEMPTS} times before it could be used; another process or a clean-up job "
        "removes what is in this cache. Start again when that is over, or give this process a cache of its own with "
        "XDG_CACHE_HOME",
        code=EXPORT_REMOVED,
    )


def export_path(folder: ModelFolder, form: ExportForm, precision: Precision) -> Path:
    """Where an export belongs: its name tells model, form and precision, and two hashes tell versions."""
    read_by = versions([form.runtime])
    made_by = versions(form.makers[precision])
    content = short_hash(model_fingerprint(folder.path), repr(sorted(read_by.items())), str(form.revision))
    makers = short_hash(repr(sorted(made_by.items())))
    return cache_folder() / f"{folder.path.name}-{form.name}-{precision.value}-{content}-{makers}"


def write_manifest(folder: Path) -> None:
    """Note the size and hash of each file; a folder without this is not whole."""
    files = {file.name: _note(file) for file in sorted(folder.iterdir()) if file.is_file()}
    (folder / MANIFEST).write_bytes(orjson.dumps(files))


def is_whole(folder: Path) -> bool:
    """Say whether each file of an export is as it was written."""
    try:
        files = orjson.loads((folder / MANIFEST).read_bytes())
        return bool(files) and all(_note(folder / name) == note for name, note in files.items())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError) as error:
        log.warning("an export cannot be read and is made again", folder=str(folder), error=str(error))
        return False


def _note(file: Path) -> list[Any]:
    return [file.stat().st_size, file_digest(file)]
