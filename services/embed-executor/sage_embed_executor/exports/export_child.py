"""The process that makes an export: ``python -m sage_embed_executor.exports.export_child``, see child_process."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from filelock import FileLock

from sage_common import paths
from sage_common.errors import ConfigurationError
from sage_embed_executor.child_process import run_child
from sage_embed_executor.exports.export_cache import (
    ATTEMPTS,
    EXPORT_FAILED,
    export_path,
    is_intact,
    removed_again,
    write_manifest,
)
from sage_embed_executor.exports.export_form import ExportForm, ExportModule, Precision
from sage_embed_executor.exports.export_retention import PARTIAL, hold, write_origin
from sage_embed_executor.models.model_folder import ModelFolder, read_model_folder


def export(folder: ModelFolder, form: ExportForm, precision: Precision) -> Path:
    """Make an export unless it is there, and return its folder.

    Two processes that want the same one take turns. It is renamed to its final name when it is complete: a process that
    is killed before leaves at most a partial folder, which the next one removes.

    Raises:
        ConfigurationError: it cannot be written, code ``export_failed``; or the fp32 export that it is made of was
            removed each time, code ``export_removed``.
    """
    target = export_path(folder, form, precision)
    if precision is Precision.FP32:
        _make_once(folder, form, None, target)
        return target
    for _ in range(ATTEMPTS):
        # Waits for a removal that has begun, which holds the source's lock.
        source = export(folder, form, Precision.FP32)
        if _make_once(folder, form, source, target):
            return target
    raise removed_again(source)


def _make_once(folder: ModelFolder, form: ExportForm, source: Path | None, target: Path) -> bool:
    """Make an export unless it is there; return False where its source was removed."""
    try:
        paths.private_dir(target.parent)
        # Released by the system when its holder dies.
        with FileLock(f"{target}.lock"):
            if is_intact(target):
                return True
            if source is not None and not _hold_source(source):
                return False
            _make(folder, form, source, target)
    except OSError as error:
        raise _failed(target, error) from None
    return True


def _hold_source(source: Path) -> bool:
    """Mark an export as in use until this process ends; return False where it is removed or being removed."""
    try:
        mark = hold(source)
    except BlockingIOError:
        return False
    # Without a mark it is removed, or its file system has no locks, where exports are not removed.
    return mark is not None or source.is_dir()


def _make(folder: ModelFolder, form: ExportForm, source: Path | None, target: Path) -> None:
    for leftover in (target, *target.parent.glob(f"{target.name}{PARTIAL}*")):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}{PARTIAL}", dir=target.parent))
    try:
        module = _module(form.module)
        if source is None:
            module.trace(folder, partial)
        else:
            module.reduce(source, partial)
        write_origin(partial, folder)
        write_manifest(partial)
        for file in partial.iterdir():
            _sync(file)
        partial.rename(target)
    except RuntimeError as error:
        # Raised by the runtimes for a full disk, and for a model that they cannot trace.
        raise _failed(target, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _failed(target: Path, error: Exception) -> ConfigurationError:
    free = shutil.disk_usage(next(path for path in target.parents if path.exists())).free
    return ConfigurationError(
        f"cannot export the model to {target}: {type(error).__name__}: {str(error)[:300]}; "
        f"{free / 1e6:.0f} MB are free there. XDG_CACHE_HOME names another place",
        code=EXPORT_FAILED,
    )


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def run_export(request: dict[str, Any]) -> dict[str, Any]:
    """Make the export that ``export_cache.exported`` requests."""
    form, precision = _module(request["module"]).EXPORT, Precision(request["precision"])
    return {"folder": str(export(read_model_folder(Path(request["folder"])), form, precision))}


def _module(name: str) -> ExportModule:
    return cast(ExportModule, importlib.import_module(name))


if __name__ == "__main__":
    run_child(run_export)
