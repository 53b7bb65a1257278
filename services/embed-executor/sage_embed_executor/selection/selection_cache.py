"""Stored selections, one file for each model, processor, set of installed versions and settings."""

from __future__ import annotations

import platform
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from sage_common import paths
from sage_common.logging import get_logger
from sage_embed_executor.backends.registry import BACKENDS
from sage_embed_executor.exports.fingerprint import short_hash, versions
from sage_embed_executor.selection.candidates import Selection

log = get_logger(__name__)

# Raised when a trial measures something different.
REVISION = 2
_SELECTION = TypeAdapter(Selection)


def selection_path(model_fingerprint: str, settings: str) -> Path:
    """Return the file of the selection for a model and settings, with this processor and the installed versions."""
    forms = [entry.export for entry in BACKENDS.values() if entry.export is not None]
    distributions = {form.runtime for form in forms} | {
        name for form in forms for names in form.makers.values() for name in names
    }
    installed = repr(sorted(versions(sorted(distributions)).items()))
    key = short_hash(
        str(REVISION), model_fingerprint, settings, processor_capabilities(), installed, ",".join(BACKENDS)
    )
    return paths.cache_dir() / "embedding-selections" / f"{key}.json"


def read_selection(path: Path) -> Selection | None:
    """Return a stored selection; None when there is none or it cannot be read."""
    try:
        return _SELECTION.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.warning("a stored selection cannot be read; measuring again", path=str(path), error=str(error))
        return None


def write_selection(path: Path, selection: Selection) -> None:
    """Store a selection atomically. One that cannot be written is logged as a warning."""
    temporary = path.with_suffix(f".{short_hash(repr(selection))}.tmp")
    try:
        paths.private_dir(path.parent)
        temporary.write_bytes(orjson.dumps(_SELECTION.dump_python(selection, mode="json"), option=orjson.OPT_INDENT_2))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        log.warning("the selection cannot be stored; the next start measures again", path=str(path), error=str(error))


def processor_capabilities() -> str:
    """Return the processor's name and instruction sets, which decide which backend is the fastest."""
    wanted = ("model name", "flags", "Features")
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    found = {line.partition(":")[0].strip(): line.partition(":")[2] for line in lines}
    return "\n".join(found.get(name, "") for name in wanted)
