from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Endpoint(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDPOINT_UNSPECIFIED: _ClassVar[Endpoint]
    ENDPOINT_CHAT_COMPLETIONS: _ClassVar[Endpoint]
    ENDPOINT_COMPLETIONS: _ClassVar[Endpoint]
    ENDPOINT_EMBEDDINGS: _ClassVar[Endpoint]
    ENDPOINT_RERANK: _ClassVar[Endpoint]

class RequestKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REQUEST_KIND_UNSPECIFIED: _ClassVar[RequestKind]
    REQUEST_KIND_LLM_CHAT: _ClassVar[RequestKind]
    REQUEST_KIND_LLM_GENERATE: _ClassVar[RequestKind]
    REQUEST_KIND_EMBEDDING: _ClassVar[RequestKind]
    REQUEST_KIND_RERANK: _ClassVar[RequestKind]

class ServiceClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVICE_CLASS_UNSPECIFIED: _ClassVar[ServiceClass]
    SERVICE_CLASS_INTERACTIVE: _ClassVar[ServiceClass]
    SERVICE_CLASS_DEFAULT: _ClassVar[ServiceClass]
    SERVICE_CLASS_EMBEDDING: _ClassVar[ServiceClass]
    SERVICE_CLASS_BULK: _ClassVar[ServiceClass]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_CRITICAL: _ClassVar[Priority]
    PRIORITY_HIGH: _ClassVar[Priority]
    PRIORITY_NORMAL: _ClassVar[Priority]
    PRIORITY_LOW: _ClassVar[Priority]
    PRIORITY_BACKGROUND: _ClassVar[Priority]
ENDPOINT_UNSPECIFIED: Endpoint
ENDPOINT_CHAT_COMPLETIONS: Endpoint
ENDPOINT_COMPLETIONS: Endpoint
ENDPOINT_EMBEDDINGS: Endpoint
ENDPOINT_RERANK: Endpoint
REQUEST_KIND_UNSPECIFIED: RequestKind
REQUEST_KIND_LLM_CHAT: RequestKind
REQUEST_KIND_LLM_GENERATE: RequestKind
REQUEST_KIND_EMBEDDING: RequestKind
REQUEST_KIND_RERANK: RequestKind
SERVICE_CLASS_UNSPECIFIED: ServiceClass
SERVICE_CLASS_INTERACTIVE: ServiceClass
SERVICE_CLASS_DEFAULT: ServiceClass
SERVICE_CLASS_EMBEDDING: ServiceClass
SERVICE_CLASS_BULK: ServiceClass
PRIORITY_UNSPECIFIED: Priority
PRIORITY_CRITICAL: Priority
PRIORITY_HIGH: Priority
PRIORITY_NORMAL: Priority
PRIORITY_LOW: Priority
PRIORITY_BACKGROUND: Priority

class Hints(_message.Message):
    __slots__ = ("priority", "service_class", "slo_ttft_ms", "slo_tpot_ms", "slo_deadline_ms")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SERVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    SLO_TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    SLO_TPOT_MS_FIELD_NUMBER: _ClassVar[int]
    SLO_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    priority: Priority
    service_class: ServiceClass
    slo_ttft_ms: int
    slo_tpot_ms: int
    slo_deadline_ms: int
    def __init__(self, priority: _Optional[_Union[Priority, str]] = ..., service_class: _Optional[_Union[ServiceClass, str]] = ..., slo_ttft_ms: _Optional[int] = ..., slo_tpot_ms: _Optional[int] = ..., slo_deadline_ms: _Optional[int] = ...) -> None: ...

class InferenceRequest(_message.Message):
    __slots__ = ("request_id", "endpoint", "body", "tenant", "reply_subject", "submission", "hints", "age_ms", "timeout_ms", "traceparent", "avoided_engines", "told", "correlation_id", "interrupted", "delivered_tokens", "routed", "in_one_piece", "body_object", "admitted")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    REPLY_SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    AVOIDED_ENGINES_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ROUTED_FIELD_NUMBER: _ClassVar[int]
    IN_ONE_PIECE_FIELD_NUMBER: _ClassVar[int]
    BODY_OBJECT_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    endpoint: Endpoint
    body: bytes
    tenant: str
    reply_subject: str
    submission: int
    hints: Hints
    age_ms: int
    timeout_ms: int
    traceparent: str
    avoided_engines: _containers.RepeatedScalarFieldContainer[str]
    told: ToldTokens
    correlation_id: str
    interrupted: bool
    delivered_tokens: int
    routed: RoutedModel
    in_one_piece: bool
    body_object: str
    admitted: bool
    def __init__(self, request_id: _Optional[str] = ..., endpoint: _Optional[_Union[Endpoint, str]] = ..., body: _Optional[bytes] = ..., tenant: _Optional[str] = ..., reply_subject: _Optional[str] = ..., submission: _Optional[int] = ..., hints: _Optional[_Union[Hints, _Mapping]] = ..., age_ms: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., traceparent: _Optional[str] = ..., avoided_engines: _Optional[_Iterable[str]] = ..., told: _Optional[_Union[ToldTokens, _Mapping]] = ..., correlation_id: _Optional[str] = ..., interrupted: _Optional[bool] = ..., delivered_tokens: _Optional[int] = ..., routed: _Optional[_Union[RoutedModel, _Mapping]] = ..., in_one_piece: _Optional[bool] = ..., body_object: _Optional[str] = ..., admitted: _Optional[bool] = ...) -> None: ...

class RoutedModel(_message.Message):
    __slots__ = ("name", "path", "failed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: _containers.RepeatedScalarFieldContainer[str]
    failed: _containers.RepeatedCompositeFieldContainer[FailedModel]
    def __init__(self, name: _Optional[str] = ..., path: _Optional[_Iterable[str]] = ..., failed: _Optional[_Iterable[_Union[FailedModel, _Mapping]]] = ...) -> None: ...

class FailedModel(_message.Message):
    __slots__ = ("model", "reason", "error_code", "error_message")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    model: str
    reason: str
    error_code: str
    error_message: str
    def __init__(self, model: _Optional[str] = ..., reason: _Optional[str] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ...) -> None: ...

class ToldTokens(_message.Message):
    __slots__ = ("ids", "characters")
    IDS_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[int]
    characters: int
    def __init__(self, ids: _Optional[_Iterable[int]] = ..., characters: _Optional[int] = ...) -> None: ...

class InferenceRequestBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[InferenceRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[InferenceRequest, _Mapping]]] = ...) -> None: ...

class ServiceLevel(_message.Message):
    __slots__ = ("ttft_ms", "tpot_ms", "end_to_end_ms")
    TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    TPOT_MS_FIELD_NUMBER: _ClassVar[int]
    END_TO_END_MS_FIELD_NUMBER: _ClassVar[int]
    ttft_ms: int
    tpot_ms: int
    end_to_end_ms: int
    def __init__(self, ttft_ms: _Optional[int] = ..., tpot_ms: _Optional[int] = ..., end_to_end_ms: _Optional[int] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("kind", "pool", "model", "service_class", "priority", "slo", "input_tokens", "output_tokens", "prefix_blocks", "streaming", "sheddable", "items", "reasons", "resumable", "most_output_tokens", "session")
    KIND_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_CLASS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SLO_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    STREAMING_FIELD_NUMBER: _ClassVar[int]
    SHEDDABLE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    MOST_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    kind: RequestKind
    pool: str
    model: str
    service_class: ServiceClass
    priority: Priority
    slo: ServiceLevel
    input_tokens: int
    output_tokens: int
    prefix_blocks: _containers.RepeatedScalarFieldContainer[int]
    streaming: bool
    sheddable: bool
    items: int
    reasons: _containers.RepeatedScalarFieldContainer[str]
    resumable: bool
    most_output_tokens: int
    session: int
    def __init__(self, kind: _Optional[_Union[RequestKind, str]] = ..., pool: _Optional[str] = ..., model: _Optional[str] = ..., service_class: _Optional[_Union[ServiceClass, str]] = ..., priority: _Optional[_Union[Priority, str]] = ..., slo: _Optional[_Union[ServiceLevel, _Mapping]] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., prefix_blocks: _Optional[_Iterable[int]] = ..., streaming: _Optional[bool] = ..., sheddable: _Optional[bool] = ..., items: _Optional[int] = ..., reasons: _Optional[_Iterable[str]] = ..., resumable: _Optional[bool] = ..., most_output_tokens: _Optional[int] = ..., session: _Optional[int] = ...) -> None: ...

class ClassifiedRequest(_message.Message):
    __slots__ = ("request", "classification")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    request: InferenceRequest
    classification: Classification
    def __init__(self, request: _Optional[_Union[InferenceRequest, _Mapping]] = ..., classification: _Optional[_Union[Classification, _Mapping]] = ...) -> None: ...

class ClassifiedRequestBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[ClassifiedRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[ClassifiedRequest, _Mapping]]] = ...) -> None: ...
