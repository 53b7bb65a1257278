"""SAGE: LLM and embedding engines as one SLO-aware service, with declarative pipelines on top.

What users need is importable from here. Each name is imported from its package when it is first used, so that
``import sage`` stays light and the wire types below it pull in nothing. Type checkers read
``__init__.pyi``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_EXPORTS = {
    "UnifiedInferenceClient": "sage_client.sync_client",
    "AsyncUnifiedInferenceClient": "sage_client.client",
    "CallOptions": "sage_client.client",
    "ChatResult": "sage_client.results",
    "EmbeddingResult": "sage_client.results",
    "RankedDocument": "sage_client.results",
    "RerankResult": "sage_client.results",
    "ModelInfo": "sage_client.models",
    "TokenUsage": "sage_mesh.reply",
    "TextPiece": "sage_client.results",
    "Hints": "sage_control_plane.request.request",
    "Priority": "sage_control_plane.request.request",
    "ServiceClass": "sage_control_plane.request.request",
    "Pipeline": "sage_apps.pipelines",
    "Tumbling": "sage_kernel.window_kinds",
    "Sliding": "sage_kernel.window_kinds",
    "Session": "sage_kernel.window_kinds",
    # Aggregates; those that Python has a word for end in an underscore.
    **dict.fromkeys(
        (
            "any_value",
            "count",
            "first",
            "last",
            "list_",
            "max_",
            "max_by",
            "mean",
            "min_",
            "min_by",
            "n_unique",
            "std",
            "sum_",
            "var",
        ),
        "sage_kernel.aggregates",
    ),
    "SagePorts": "sage_common.ports",
    **dict.fromkeys(
        (
            "CancelledError",
            "ConfigurationError",
            "ConflictError",
            "ContendedError",
            "DeadlineExceededError",
            "EngineFailedError",
            "ErrorKind",
            "InternalError",
            "InvalidRequestError",
            "NotFoundError",
            "PermissionDeniedError",
            "SageError",
            "TooLargeError",
            "UnauthenticatedError",
            "UnavailableError",
            "UnimplementedError",
            "UnprocessableError",
            "UnsupportedMediaTypeError",
        ),
        "sage_common.errors",
    ),
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        try:
            return version("sage-mesh")
        except PackageNotFoundError:
            return "unknown"
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'sage' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
