"""Backends by name, one line each. A framework is imported only when its backend is used."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, cast

from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_common.quick_imports import quick_imports
from sage_embed_executor.backends import onnx_model, openvino_model, sentence_transformers_library, torch_bert
from sage_embed_executor.backends.backend import BackendEntry, BackendModule, EmbeddingBackend, Runtime
from sage_embed_executor.exports.export_form import Precision
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.thread_priority import lower_priority

AUTO = "auto"

BACKENDS: Final[dict[str, BackendEntry]] = {
    "torch": torch_bert.BACKEND,
    "openvino": openvino_model.BACKEND,
    "onnx": onnx_model.BACKEND,
    "sentence-transformers": sentence_transformers_library.BACKEND,
}


def check_backend_name(name: str) -> None:
    """Raise ConfigurationError unless ``name`` is a backend or ``auto``."""
    if name != AUTO and name not in BACKENDS:
        raise ConfigurationError(f"unknown embedding backend {name!r}{nearest(name, [AUTO, *BACKENDS])}")


def missing_packages(name: str) -> list[str]:
    """Return the packages of a backend that are not installed, without importing any."""
    return [package for package in BACKENDS[name].packages if importlib.util.find_spec(package) is None]


def load_backend(name: str, folder: ModelFolder, runtime: Runtime) -> EmbeddingBackend:
    """Load a model with a backend. Blocks.

    Raises:
        ConfigurationError: an unknown name, a missing package, or a model, precision or device that it cannot run.
    """
    check_backend_name(name)
    entry = BACKENDS[name]
    problem = problem_with(name, runtime.precision)
    if not problem:
        with quick_imports():
            module = cast(BackendModule, importlib.import_module(entry.module))
            problem = module.supports(folder, runtime)
            if not problem:
                return module.load(folder, runtime)
    raise no_backend(folder, [f"{name}: {problem}"], [entry.extra])


def load_for_bulk(name: str, folder: ModelFolder, runtime: Runtime) -> EmbeddingBackend | None:
    """Load a model a second time, for bulk work; None for a backend that computes on the calling thread. Blocks.

    Its threads have a lower priority, since a new thread has that of the one that starts it. Each call has one thread,
    and there may be as many calls as ``runtime`` has threads in all: further threads of a call would come from a pool
    that interactive calls share.

    Raises:
        ConfigurationError: as ``load_backend``.
    """
    if not BACKENDS[name].own_threads:
        return None
    one_thread_each = replace(runtime, streams=runtime.streams * runtime.threads, threads=1)
    with ThreadPoolExecutor(1, initializer=lower_priority) as low_priority:
        return low_priority.submit(load_backend, name, folder, one_thread_each).result()


def problem_with(name: str, precision: Precision) -> str:
    """Return why a backend cannot run at a precision on this machine, for any model; empty when it can."""
    entry = BACKENDS[name]
    if precision not in entry.precisions:
        return f"has no {precision.value}, only {', '.join(p.value for p in entry.precisions)}"
    missing = missing_packages(name)
    return f"needs the package {', '.join(map(repr, missing))}" if missing else ""


def no_backend(folder: ModelFolder, problems: Sequence[str], extras: Sequence[str]) -> ConfigurationError:
    """Return the error for a model that no installed backend runs, with the remedy."""
    wanted = ",".join(dict.fromkeys(extras))
    return ConfigurationError(
        f"no backend can run the model in {folder.path}: {'; '.join(problems)}. "
        f"`pip install 'sage-embed-executor[{wanted}]'` installs what the backends need",
        code="no_backend",
    )
