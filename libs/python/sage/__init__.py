"""SAGE: LLM and embedding engines as one SLO-aware service, with declarative pipelines on top.

What users need is importable from here. Each name is imported from its package when it is first used, so that
``import sage`` stays light and the wire types below it pull in nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # For type checkers, which do not see what __getattr__ imports. The same names as in _EXPORTS.
    from sage_client.client import AsyncUnifiedInferenceClient as AsyncUnifiedInferenceClient
    from sage_client.client import CallOptions as CallOptions
    from sage_client.models import ModelInfo as ModelInfo
    from sage_client.results import ChatResult as ChatResult
    from sage_client.results import EmbeddingResult as EmbeddingResult
    from sage_client.results import RankedDocument as RankedDocument
    from sage_client.results import RerankResult as RerankResult
    from sage_client.results import TextPiece as TextPiece
    from sage_client.sync_client import UnifiedInferenceClient as UnifiedInferenceClient
    from sage_common.errors import CancelledError as CancelledError
    from sage_common.errors import ConfigurationError as ConfigurationError
    from sage_common.errors import ConflictError as ConflictError
    from sage_common.errors import ContendedError as ContendedError
    from sage_common.errors import DeadlineExceededError as DeadlineExceededError
    from sage_common.errors import EngineFailedError as EngineFailedError
    from sage_common.errors import ErrorKind as ErrorKind
    from sage_common.errors import InternalError as InternalError
    from sage_common.errors import InvalidRequestError as InvalidRequestError
    from sage_common.errors import NotFoundError as NotFoundError
    from sage_common.errors import PermissionDeniedError as PermissionDeniedError
    from sage_common.errors import SageError as SageError
    from sage_common.errors import TooLargeError as TooLargeError
    from sage_common.errors import UnauthenticatedError as UnauthenticatedError
    from sage_common.errors import UnavailableError as UnavailableError
    from sage_common.errors import UnimplementedError as UnimplementedError
    from sage_common.errors import UnprocessableError as UnprocessableError
    from sage_common.errors import UnsupportedMediaTypeError as UnsupportedMediaTypeError
    from sage_common.ports import SagePorts as SagePorts
    from sage_control_plane.request.request import Hints as Hints
    from sage_control_plane.request.request import Priority as Priority
    from sage_control_plane.request.request import ServiceClass as ServiceClass
    from sage_kernel.builder import Pipeline as Pipeline
    from sage_mesh.reply import TokenUsage as TokenUsage

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
    "Pipeline": "sage_kernel.builder",
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
