from sage.inference.v1 import request_pb2 as _request_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Media(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEDIA_UNSPECIFIED: _ClassVar[Media]
    MEDIA_JSON: _ClassVar[Media]
    MEDIA_EVENT_STREAM: _ClassVar[Media]
    MEDIA_VECTORS_FLOAT: _ClassVar[Media]
    MEDIA_VECTORS_BASE64: _ClassVar[Media]

class ErrorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_KIND_UNSPECIFIED: _ClassVar[ErrorKind]
    ERROR_KIND_INVALID_REQUEST: _ClassVar[ErrorKind]
    ERROR_KIND_UNAUTHENTICATED: _ClassVar[ErrorKind]
    ERROR_KIND_PERMISSION_DENIED: _ClassVar[ErrorKind]
    ERROR_KIND_NOT_FOUND: _ClassVar[ErrorKind]
    ERROR_KIND_CONFLICT: _ClassVar[ErrorKind]
    ERROR_KIND_TOO_LARGE: _ClassVar[ErrorKind]
    ERROR_KIND_UNSUPPORTED_MEDIA_TYPE: _ClassVar[ErrorKind]
    ERROR_KIND_UNPROCESSABLE: _ClassVar[ErrorKind]
    ERROR_KIND_CONTENDED: _ClassVar[ErrorKind]
    ERROR_KIND_CANCELLED: _ClassVar[ErrorKind]
    ERROR_KIND_INTERNAL: _ClassVar[ErrorKind]
    ERROR_KIND_UNIMPLEMENTED: _ClassVar[ErrorKind]
    ERROR_KIND_ENGINE_FAILED: _ClassVar[ErrorKind]
    ERROR_KIND_UNAVAILABLE: _ClassVar[ErrorKind]
    ERROR_KIND_DEADLINE_EXCEEDED: _ClassVar[ErrorKind]
MEDIA_UNSPECIFIED: Media
MEDIA_JSON: Media
MEDIA_EVENT_STREAM: Media
MEDIA_VECTORS_FLOAT: Media
MEDIA_VECTORS_BASE64: Media
ERROR_KIND_UNSPECIFIED: ErrorKind
ERROR_KIND_INVALID_REQUEST: ErrorKind
ERROR_KIND_UNAUTHENTICATED: ErrorKind
ERROR_KIND_PERMISSION_DENIED: ErrorKind
ERROR_KIND_NOT_FOUND: ErrorKind
ERROR_KIND_CONFLICT: ErrorKind
ERROR_KIND_TOO_LARGE: ErrorKind
ERROR_KIND_UNSUPPORTED_MEDIA_TYPE: ErrorKind
ERROR_KIND_UNPROCESSABLE: ErrorKind
ERROR_KIND_CONTENDED: ErrorKind
ERROR_KIND_CANCELLED: ErrorKind
ERROR_KIND_INTERNAL: ErrorKind
ERROR_KIND_UNIMPLEMENTED: ErrorKind
ERROR_KIND_ENGINE_FAILED: ErrorKind
ERROR_KIND_UNAVAILABLE: ErrorKind
ERROR_KIND_DEADLINE_EXCEEDED: ErrorKind

class Attempt(_message.Message):
    __slots__ = ("submission", "dispatch")
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    DISPATCH_FIELD_NUMBER: _ClassVar[int]
    submission: int
    dispatch: int
    def __init__(self, submission: _Optional[int] = ..., dispatch: _Optional[int] = ...) -> None: ...

class Dispatch(_message.Message):
    __slots__ = ("request", "classification", "engine_id", "attempt", "tries", "queue_us", "beside")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    request: _request_pb2.InferenceRequest
    classification: _request_pb2.Classification
    engine_id: str
    attempt: Attempt
    tries: int
    queue_us: int
    beside: int
    def __init__(self, request: _Optional[_Union[_request_pb2.InferenceRequest, _Mapping]] = ..., classification: _Optional[_Union[_request_pb2.Classification, _Mapping]] = ..., engine_id: _Optional[str] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., tries: _Optional[int] = ..., queue_us: _Optional[int] = ..., beside: _Optional[int] = ...) -> None: ...

class DispatchBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Dispatch]
    def __init__(self, items: _Optional[_Iterable[_Union[Dispatch, _Mapping]]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("kind", "code", "message", "param", "retry_after_ms", "retryable", "upstream_body", "upstream_status")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PARAM_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_BODY_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_STATUS_FIELD_NUMBER: _ClassVar[int]
    kind: ErrorKind
    code: str
    message: str
    param: str
    retry_after_ms: int
    retryable: bool
    upstream_body: bytes
    upstream_status: int
    def __init__(self, kind: _Optional[_Union[ErrorKind, str]] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., param: _Optional[str] = ..., retry_after_ms: _Optional[int] = ..., retryable: _Optional[bool] = ..., upstream_body: _Optional[bytes] = ..., upstream_status: _Optional[int] = ...) -> None: ...

class EngineTime(_message.Message):
    __slots__ = ("queue_us", "tokenize_us", "inference_us")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    TOKENIZE_US_FIELD_NUMBER: _ClassVar[int]
    INFERENCE_US_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    tokenize_us: int
    inference_us: int
    def __init__(self, queue_us: _Optional[int] = ..., tokenize_us: _Optional[int] = ..., inference_us: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "completion_tokens", "cached_tokens", "truncated_inputs", "engine_time")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_INPUTS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_TIME_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    truncated_inputs: int
    engine_time: EngineTime
    def __init__(self, prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., truncated_inputs: _Optional[int] = ..., engine_time: _Optional[_Union[EngineTime, _Mapping]] = ...) -> None: ...

class FrameHead(_message.Message):
    __slots__ = ("media", "engine_id", "queue_us", "tries", "model", "vector_count", "vector_dimensions", "resumable", "tells_tokens")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VECTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    VECTOR_DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    TELLS_TOKENS_FIELD_NUMBER: _ClassVar[int]
    media: Media
    engine_id: str
    queue_us: int
    tries: int
    model: str
    vector_count: int
    vector_dimensions: int
    resumable: bool
    tells_tokens: bool
    def __init__(self, media: _Optional[_Union[Media, str]] = ..., engine_id: _Optional[str] = ..., queue_us: _Optional[int] = ..., tries: _Optional[int] = ..., model: _Optional[str] = ..., vector_count: _Optional[int] = ..., vector_dimensions: _Optional[int] = ..., resumable: _Optional[bool] = ..., tells_tokens: _Optional[bool] = ...) -> None: ...

class FrameEnd(_message.Message):
    __slots__ = ("error", "usage")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    error: ErrorDetail
    usage: Usage
    def __init__(self, error: _Optional[_Union[ErrorDetail, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("request_id", "attempt", "seq", "data", "head", "end", "held", "token_ids", "beside", "interrupt")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: Attempt
    seq: int
    data: bytes
    head: FrameHead
    end: FrameEnd
    held: bool
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    beside: int
    interrupt: bool
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., seq: _Optional[int] = ..., data: _Optional[bytes] = ..., head: _Optional[_Union[FrameHead, _Mapping]] = ..., end: _Optional[_Union[FrameEnd, _Mapping]] = ..., held: _Optional[bool] = ..., token_ids: _Optional[_Iterable[int]] = ..., beside: _Optional[int] = ..., interrupt: _Optional[bool] = ...) -> None: ...

class FrameBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, items: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...
