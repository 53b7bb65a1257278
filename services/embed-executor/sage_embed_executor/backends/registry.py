"""Backends by name. A backend's module is imported only when it is used: that is where frameworks come in."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

from sage_common.config import nearest
from sage_common.errors import ConfigurationError
from sage_embed_executor.backends.backend import BackendModule, EmbeddingBackend, Precision, Runtime
from sage_embed_executor.models.model_folder import ModelFolder
from sage_embed_executor.thread_priority import lower_priority

AUTO = "auto"
FP32, BF16, INT8 = Precision.FP32, Precision.BF16, Precision.INT8


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """A backend that there is.

    Attributes:
        module: with ``supports`` and ``load``, see BackendModule.
        precisions: what it can compute with.
        packages: what must be installed, as importable names.
        extra: pip extra of this service that installs them.
        reference: needs no export; in fp32 its vectors are what others are compared with.
        own_threads: computes on threads that it starts when a model is loaded, not on the calling thread. Bulk work
            then needs a model of its own, whose threads make way.
        library: runs any model, but is never the fastest: taken only where no other backend runs the model.
    """

    module: str
    precisions: tuple[Precision, ...]
    packages: tuple[str, ...]
    extra: str
    reference: bool = False
    own_threads: bool = False
    library: bool = False


BACKENDS = {
    "torch": BackendEntry(
        "sage_embed_executor.backends.torch_bert", (FP32, BF16), ("torch", "safetensors"), "torch", reference=True
    ),
    "openvino": BackendEntry(
        "sage_embed_executor.backends.openvino_model",
        (FP32, BF16, INT8),
        ("openvino",),
        "openvino",
        own_threads=True,
    ),
    "onnx": BackendEntry("sage_embed_executor.backends.onnx_model", (FP32, INT8), ("onnxruntime",), "onnx"),
    "sentence-transformers": BackendEntry(
        "sage_embed_executor.backends.sentence_transformers_library",
        (FP32,),
        ("torch", "sentence_transformers"),
        "torch",
        reference=True,
        library=True,
    ),
}


def check_backend_name(name: str) -> None:
    """Raise ConfigurationError for a name that is no backend."""
    if name != AUTO and name not in BACKENDS:
        raise ConfigurationError(f"unknown embedding backend {name!r}{nearest(name, [AUTO, *BACKENDS])}")


def missing_packages(name: str) -> list[str]:
    """Packages that the backend needs and that are not installed. Imports none of them."""
    return [package for package in BACKENDS[name].packages if importlib.util.find_spec(package) is None]


def load_backend(name: str, folder: ModelFolder, runtime: Runtime) -> EmbeddingBackend:
    """Load a model with a backend. Blocks.

    Raises:
        ConfigurationError: unknown name, a missing package, or a model or precision that it cannot run.
    """
    check_backend_name(name)
    entry = BACKENDS[name]
    problem = problem_with(name, runtime.precision)
    if not problem:
        module = cast(BackendModule, importlib.import_module(entry.module))
        problem = module.supports(folder, runtime)
        if not problem:
            return module.load(folder, runtime)
    raise no_backend(folder, [f"{name}: {problem}"], [entry.extra])


def load_for_bulk(name: str, folder: ModelFolder, runtime: Runtime) -> EmbeddingBackend | None:
    """Load a model a second time, for bulk work; None where a backend computes on the calling thread. Blocks.

    Its threads make way, since a new thread has the priority of the one that starts it. Each call has one thread, and
    there may be as many calls as ``runtime`` has threads in all: further threads of a call would come from a pool that
    interactive calls share.

    Raises:
        ConfigurationError: as ``load_backend``.
    """
    if not BACKENDS[name].own_threads:
        return None
    alone = replace(runtime, streams=runtime.streams * runtime.threads, threads=1)
    with ThreadPoolExecutor(1, initializer=lower_priority) as making_way:
        return making_way.submit(load_backend, name, folder, alone).result()


def problem_with(name: str, precision: Precision) -> str:
    """Say why a backend cannot run here at a precision, whatever the model; empty when it can."""
    entry = BACKENDS[name]
    if precision not in entry.precisions:
        return f"has no {precision.value}, only {', '.join(p.value for p in entry.precisions)}"
    missing = missing_packages(name)
    return f"needs the package {', '.join(map(repr, missing))}" if missing else ""


def no_backend(folder: ModelFolder, problems: Sequence[str], extras: Sequence[str]) -> ConfigurationError:
    """The error for a model that nothing here runs, with the remedy."""
    wanted = ",".join(dict.fromkeys(extras))
    return ConfigurationError(
        f"no backend can run the model in {folder.path}: {'; '.join(problems)}. "
        f"`pip install 'sage-embed-executor[{wanted}]'` installs what the backends need",
        code="no_backend",
    )
