from sage.inference.v1 import frame_pb2 as _frame_pb2
from sage.inference.v1 import request_pb2 as _request_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnginePhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGINE_PHASE_UNSPECIFIED: _ClassVar[EnginePhase]
    ENGINE_PHASE_STARTING: _ClassVar[EnginePhase]
    ENGINE_PHASE_READY: _ClassVar[EnginePhase]
    ENGINE_PHASE_DRAINING: _ClassVar[EnginePhase]
    ENGINE_PHASE_UNHEALTHY: _ClassVar[EnginePhase]
    ENGINE_PHASE_STOPPED: _ClassVar[EnginePhase]

class CapacitySource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAPACITY_SOURCE_UNSPECIFIED: _ClassVar[CapacitySource]
    CAPACITY_SOURCE_CONFIGURED: _ClassVar[CapacitySource]
    CAPACITY_SOURCE_TOLD: _ClassVar[CapacitySource]

class ReportEvent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_EVENT_UNSPECIFIED: _ClassVar[ReportEvent]
    REPORT_EVENT_STARTED: _ClassVar[ReportEvent]
    REPORT_EVENT_FIRST_TOKEN: _ClassVar[ReportEvent]
    REPORT_EVENT_FINISHED: _ClassVar[ReportEvent]
    REPORT_EVENT_FAILED: _ClassVar[ReportEvent]
    REPORT_EVENT_CANCELLED: _ClassVar[ReportEvent]
ENGINE_PHASE_UNSPECIFIED: EnginePhase
ENGINE_PHASE_STARTING: EnginePhase
ENGINE_PHASE_READY: EnginePhase
ENGINE_PHASE_DRAINING: EnginePhase
ENGINE_PHASE_UNHEALTHY: EnginePhase
ENGINE_PHASE_STOPPED: EnginePhase
CAPACITY_SOURCE_UNSPECIFIED: CapacitySource
CAPACITY_SOURCE_CONFIGURED: CapacitySource
CAPACITY_SOURCE_TOLD: CapacitySource
REPORT_EVENT_UNSPECIFIED: ReportEvent
REPORT_EVENT_STARTED: ReportEvent
REPORT_EVENT_FIRST_TOKEN: ReportEvent
REPORT_EVENT_FINISHED: ReportEvent
REPORT_EVENT_FAILED: ReportEvent
REPORT_EVENT_CANCELLED: ReportEvent

class ModelCard(_message.Message):
    __slots__ = ("name", "aliases", "kinds", "max_context_tokens", "dimensions", "owned_by", "description", "parent")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    OWNED_BY_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    kinds: _containers.RepeatedScalarFieldContainer[_request_pb2.RequestKind]
    max_context_tokens: int
    dimensions: int
    owned_by: str
    description: str
    parent: str
    def __init__(self, name: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., kinds: _Optional[_Iterable[_Union[_request_pb2.RequestKind, str]]] = ..., max_context_tokens: _Optional[int] = ..., dimensions: _Optional[int] = ..., owned_by: _Optional[str] = ..., description: _Optional[str] = ..., parent: _Optional[str] = ...) -> None: ...

class EngineSpec(_message.Message):
    __slots__ = ("engine_id", "implementation", "pool", "models", "max_concurrency", "max_outstanding_tokens", "url", "labels", "capacity_source")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    IMPLEMENTATION_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTSTANDING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_SOURCE_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    implementation: str
    pool: str
    models: _containers.RepeatedCompositeFieldContainer[ModelCard]
    max_concurrency: int
    max_outstanding_tokens: int
    url: str
    labels: _containers.ScalarMap[str, str]
    capacity_source: CapacitySource
    def __init__(self, engine_id: _Optional[str] = ..., implementation: _Optional[str] = ..., pool: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ModelCard, _Mapping]]] = ..., max_concurrency: _Optional[int] = ..., max_outstanding_tokens: _Optional[int] = ..., url: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., capacity_source: _Optional[_Union[CapacitySource, str]] = ...) -> None: ...

class RunningRequest(_message.Message):
    __slots__ = ("request_id", "attempt", "started_replying", "tokens", "tenant", "correlation_id")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_REPLYING_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: _frame_pb2.Attempt
    started_replying: bool
    tokens: int
    tenant: str
    correlation_id: str
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[_Union[_frame_pb2.Attempt, _Mapping]] = ..., started_replying: _Optional[bool] = ..., tokens: _Optional[int] = ..., tenant: _Optional[str] = ..., correlation_id: _Optional[str] = ...) -> None: ...

class EngineState(_message.Message):
    __slots__ = ("spec", "phase", "reason", "running", "engine_waiting", "kv_cache_usage", "load_known", "engine_running", "prefix_hit_rate", "first_token_seconds", "inter_token_seconds", "engine_queue_seconds", "phase_seconds", "revision")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    ENGINE_WAITING_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_USAGE_FIELD_NUMBER: _ClassVar[int]
    LOAD_KNOWN_FIELD_NUMBER: _ClassVar[int]
    ENGINE_RUNNING_FIELD_NUMBER: _ClassVar[int]
    PREFIX_HIT_RATE_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INTER_TOKEN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_QUEUE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PHASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    spec: EngineSpec
    phase: EnginePhase
    reason: str
    running: _containers.RepeatedCompositeFieldContainer[RunningRequest]
    engine_waiting: int
    kv_cache_usage: float
    load_known: bool
    engine_running: int
    prefix_hit_rate: float
    first_token_seconds: float
    inter_token_seconds: float
    engine_queue_seconds: float
    phase_seconds: float
    revision: int
    def __init__(self, spec: _Optional[_Union[EngineSpec, _Mapping]] = ..., phase: _Optional[_Union[EnginePhase, str]] = ..., reason: _Optional[str] = ..., running: _Optional[_Iterable[_Union[RunningRequest, _Mapping]]] = ..., engine_waiting: _Optional[int] = ..., kv_cache_usage: _Optional[float] = ..., load_known: _Optional[bool] = ..., engine_running: _Optional[int] = ..., prefix_hit_rate: _Optional[float] = ..., first_token_seconds: _Optional[float] = ..., inter_token_seconds: _Optional[float] = ..., engine_queue_seconds: _Optional[float] = ..., phase_seconds: _Optional[float] = ..., revision: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("executor_id", "service", "sequence", "interval_ms", "engines", "leaving", "revision")
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    executor_id: str
    service: str
    sequence: int
    interval_ms: int
    engines: _containers.RepeatedCompositeFieldContainer[EngineState]
    leaving: bool
    revision: int
    def __init__(self, executor_id: _Optional[str] = ..., service: _Optional[str] = ..., sequence: _Optional[int] = ..., interval_ms: _Optional[int] = ..., engines: _Optional[_Iterable[_Union[EngineState, _Mapping]]] = ..., leaving: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("instance_id",)
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    def __init__(self, instance_id: _Optional[str] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("request_id", "engine_id", "attempt", "event", "usage", "error", "ttft_us", "elapsed_us", "started_replying", "resumable")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TTFT_US_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_US_FIELD_NUMBER: _ClassVar[int]
    STARTED_REPLYING_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    engine_id: str
    attempt: _frame_pb2.Attempt
    event: ReportEvent
    usage: _frame_pb2.Usage
    error: _frame_pb2.ErrorDetail
    ttft_us: int
    elapsed_us: int
    started_replying: bool
    resumable: bool
    def __init__(self, request_id: _Optional[str] = ..., engine_id: _Optional[str] = ..., attempt: _Optional[_Union[_frame_pb2.Attempt, _Mapping]] = ..., event: _Optional[_Union[ReportEvent, str]] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., error: _Optional[_Union[_frame_pb2.ErrorDetail, _Mapping]] = ..., ttft_us: _Optional[int] = ..., elapsed_us: _Optional[int] = ..., started_replying: _Optional[bool] = ..., resumable: _Optional[bool] = ...) -> None: ...

class ReportBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Report]
    def __init__(self, items: _Optional[_Iterable[_Union[Report, _Mapping]]] = ...) -> None: ...

class Cancellation(_message.Message):
    __slots__ = ("request_id", "up_to", "reason", "engine_id", "unbegun")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    UNBEGUN_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    up_to: _frame_pb2.Attempt
    reason: str
    engine_id: str
    unbegun: bool
    def __init__(self, request_id: _Optional[str] = ..., up_to: _Optional[_Union[_frame_pb2.Attempt, _Mapping]] = ..., reason: _Optional[str] = ..., engine_id: _Optional[str] = ..., unbegun: _Optional[bool] = ...) -> None: ...

class CancellationBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Cancellation]
    def __init__(self, items: _Optional[_Iterable[_Union[Cancellation, _Mapping]]] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("request_id", "attempt", "taken_bytes")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TAKEN_BYTES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    attempt: _frame_pb2.Attempt
    taken_bytes: int
    def __init__(self, request_id: _Optional[str] = ..., attempt: _Optional[_Union[_frame_pb2.Attempt, _Mapping]] = ..., taken_bytes: _Optional[int] = ...) -> None: ...

class FlowBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Flow]
    def __init__(self, items: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ...) -> None: ...

class Inquiry(_message.Message):
    __slots__ = ("request_id", "reply_subject")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REPLY_SUBJECT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    reply_subject: str
    def __init__(self, request_id: _Optional[str] = ..., reply_subject: _Optional[str] = ...) -> None: ...

class InquiryBatch(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Inquiry]
    def __init__(self, items: _Optional[_Iterable[_Union[Inquiry, _Mapping]]] = ...) -> None: ...
