"""Backends by name. A backend's module is imported only when it is used: that is where frameworks come in."""

from __future__ import annotations

import importlib
from typing import Any

from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import EmbeddingBackend
from sage_embed_executor.model_folder import ModelFolder

AUTO = "auto"

# In the order in which "auto" tries them. Each module has ``supports(folder)``, ``load`` and the extra it needs.
BACKENDS = {
    "torch-bert": "sage_embed_executor.backends.torch_bert",
    "sentence-transformers": "sage_embed_executor.backends.sentence_transformers_library",
}


def check_backend_name(name: str) -> None:
    """Raise ConfigurationError for a name that is no backend."""
    if name != AUTO and name not in BACKENDS:
        raise ConfigurationError(f"unknown embedding backend {name!r}{nearest(name, [AUTO, *BACKENDS])}")


def load_backend(name: str, folder: ModelFolder, threads: int) -> EmbeddingBackend:
    """Load a model with the backend ``name``, or with the first that supports it for ``"auto"``. Blocks.

    Args:
        threads: threads that one call of ``embed`` may use.

    Raises:
        ConfigurationError: unknown name, a missing package, or a model that no backend can run.
    """
    check_backend_name(name)
    names = list(BACKENDS) if name == AUTO else [name]
    problems = []
    for candidate in names:
        try:
            module = _module(candidate)
        except ModuleNotFoundError as error:
            problems.append(f"{candidate} needs the package {error.name!r}")
            continue
        problem = module.supports(folder)
        if not problem:
            backend: EmbeddingBackend = module.load(folder, threads)
            return backend
        problems.append(f"{candidate}: {problem}")
    raise ConfigurationError(
        f"no backend can run the model in {folder.path}: {'; '.join(problems)}. "
        "`pip install 'sage-embed-executor[torch]'` installs what the backends need",
        code="no_backend",
    )


def _module(name: str) -> Any:
    return importlib.import_module(BACKENDS[name])
