# What __getattr__ of __init__.py imports when it is first used: type checkers read it here.
from sage_apps.pipelines import Pipeline as Pipeline
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
from sage_kernel.aggregates import any_value as any_value
from sage_kernel.aggregates import count as count
from sage_kernel.aggregates import first as first
from sage_kernel.aggregates import last as last
from sage_kernel.aggregates import list_ as list_
from sage_kernel.aggregates import max_ as max_
from sage_kernel.aggregates import max_by as max_by
from sage_kernel.aggregates import mean as mean
from sage_kernel.aggregates import min_ as min_
from sage_kernel.aggregates import min_by as min_by
from sage_kernel.aggregates import n_unique as n_unique
from sage_kernel.aggregates import std as std
from sage_kernel.aggregates import sum_ as sum_
from sage_kernel.aggregates import var as var
from sage_kernel.window_kinds import Session as Session
from sage_kernel.window_kinds import Sliding as Sliding
from sage_kernel.window_kinds import Tumbling as Tumbling
from sage_mesh.reply import TokenUsage as TokenUsage

__version__: str
__all__: list[str]
_EXPORTS: dict[str, str]
