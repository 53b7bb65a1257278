"""A model's files on this machine, as far as its size in memory depends on them. Nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.gguf")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What was found.

    Attributes:
        weight_bytes: of all the files of weights.
        config: the model's ``config.json``; empty when there is none.
    """

    folder: Path
    weight_bytes: int
    config: Mapping[str, Any]


def find_model(model: str, environ: Mapping[str, str] = os.environ) -> ModelFiles | None:
    """Find a model by its folder or its name on the hub, in the hub's cache; None when it is not on this machine."""
    folder = Path(model)
    if not folder.is_dir():
        cached = _cached(model, environ)
        if cached is None:
            return None
        folder = cached
    for pattern in WEIGHT_PATTERNS:
        sizes = [path.stat().st_size for path in folder.glob(pattern)]
        if sizes:
            return ModelFiles(folder, sum(sizes), _config(folder))
    return None


def _cached(model: str, environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HF_HOME") or str(Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    hub = Path(environ.get("HF_HUB_CACHE") or Path(home) / "hub")
    snapshots = hub / f"models--{model.replace('/', '--')}" / "snapshots"
    found = sorted(snapshots.iterdir(), key=lambda path: path.stat().st_mtime) if snapshots.is_dir() else []
    return found[-1] if found else None


def _config(folder: Path) -> Mapping[str, Any]:
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    # Models that also see or hear have the language model's part by itself.
    return {**config, **config.get("text_config", {})} if isinstance(config, dict) else {}
