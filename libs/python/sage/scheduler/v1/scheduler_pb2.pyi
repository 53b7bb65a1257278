from sage.inference.v1 import engine_pb2 as _engine_pb2
from sage.inference.v1 import frame_pb2 as _frame_pb2
from sage.inference.v1 import request_pb2 as _request_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: _request_pb2.InferenceRequest
    def __init__(self, request: _Optional[_Union[_request_pb2.InferenceRequest, _Mapping]] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("frame",)
    FRAME_FIELD_NUMBER: _ClassVar[int]
    frame: _frame_pb2.Frame
    def __init__(self, frame: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PoolStatus(_message.Message):
    __slots__ = ("pool", "leading", "leader", "policy", "queued", "outstanding", "dispatched", "refused", "retried", "epoch", "interrupted", "recomputed_tokens")
    POOL_FIELD_NUMBER: _ClassVar[int]
    LEADING_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RETRIED_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    RECOMPUTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    leading: bool
    leader: str
    policy: str
    queued: int
    outstanding: int
    dispatched: int
    refused: int
    retried: int
    epoch: int
    interrupted: int
    recomputed_tokens: int
    def __init__(self, pool: _Optional[str] = ..., leading: _Optional[bool] = ..., leader: _Optional[str] = ..., policy: _Optional[str] = ..., queued: _Optional[int] = ..., outstanding: _Optional[int] = ..., dispatched: _Optional[int] = ..., refused: _Optional[int] = ..., retried: _Optional[int] = ..., epoch: _Optional[int] = ..., interrupted: _Optional[int] = ..., recomputed_tokens: _Optional[int] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("instance_id", "pools")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    POOLS_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    pools: _containers.RepeatedCompositeFieldContainer[PoolStatus]
    def __init__(self, instance_id: _Optional[str] = ..., pools: _Optional[_Iterable[_Union[PoolStatus, _Mapping]]] = ...) -> None: ...

class ListEnginesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EngineBook(_message.Message):
    __slots__ = ("state", "executor_id", "outstanding", "outstanding_tokens", "draining", "breaker", "heartbeat_age_ms", "request_cap")
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_CAP_FIELD_NUMBER: _ClassVar[int]
    state: _engine_pb2.EngineState
    executor_id: str
    outstanding: int
    outstanding_tokens: int
    draining: bool
    breaker: str
    heartbeat_age_ms: int
    request_cap: int
    def __init__(self, state: _Optional[_Union[_engine_pb2.EngineState, _Mapping]] = ..., executor_id: _Optional[str] = ..., outstanding: _Optional[int] = ..., outstanding_tokens: _Optional[int] = ..., draining: _Optional[bool] = ..., breaker: _Optional[str] = ..., heartbeat_age_ms: _Optional[int] = ..., request_cap: _Optional[int] = ...) -> None: ...

class ListEnginesResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[EngineBook]
    def __init__(self, engines: _Optional[_Iterable[_Union[EngineBook, _Mapping]]] = ...) -> None: ...

class DrainEngineRequest(_message.Message):
    __slots__ = ("engine_id", "undo")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    UNDO_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    undo: bool
    def __init__(self, engine_id: _Optional[str] = ..., undo: _Optional[bool] = ...) -> None: ...

class DrainEngineResponse(_message.Message):
    __slots__ = ("engine",)
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: EngineBook
    def __init__(self, engine: _Optional[_Union[EngineBook, _Mapping]] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("pool",)
    POOL_FIELD_NUMBER: _ClassVar[int]
    pool: str
    def __init__(self, pool: _Optional[str] = ...) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy", "available", "settings")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    policy: str
    available: _containers.RepeatedScalarFieldContainer[str]
    settings: _containers.RepeatedCompositeFieldContainer[PolicySetting]
    def __init__(self, policy: _Optional[str] = ..., available: _Optional[_Iterable[str]] = ..., settings: _Optional[_Iterable[_Union[PolicySetting, _Mapping]]] = ...) -> None: ...

class PolicySetting(_message.Message):
    __slots__ = ("name", "value", "configured", "meaning")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    configured: float
    meaning: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ..., configured: _Optional[float] = ..., meaning: _Optional[str] = ...) -> None: ...

class SetPolicyRequest(_message.Message):
    __slots__ = ("pool", "policy", "settings")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    POOL_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    pool: str
    policy: str
    settings: _containers.ScalarMap[str, float]
    def __init__(self, pool: _Optional[str] = ..., policy: _Optional[str] = ..., settings: _Optional[_Mapping[str, float]] = ...) -> None: ...

class SetPolicyResponse(_message.Message):
    __slots__ = ("previous", "policy")
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    previous: str
    policy: str
    def __init__(self, previous: _Optional[str] = ..., policy: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("request_id", "tenant")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    tenant: str
    def __init__(self, request_id: _Optional[str] = ..., tenant: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanations",)
    EXPLANATIONS_FIELD_NUMBER: _ClassVar[int]
    explanations: _containers.RepeatedCompositeFieldContainer[Explanation]
    def __init__(self, explanations: _Optional[_Iterable[_Union[Explanation, _Mapping]]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("request_id", "scheduler_id", "state", "tenant", "classification", "policy", "band", "age_ms", "decided_ms_ago", "queue_ms", "engine_id", "predicted_ttft_ms", "actual_ttft_ms", "ended_after_ms", "dispatches", "error_code", "error_message", "correlation_id", "interruptions", "routed", "output_tokens")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    BAND_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_MS_AGO_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    ACTUAL_TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    DISPATCHES_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIONS_FIELD_NUMBER: _ClassVar[int]
    ROUTED_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    scheduler_id: str
    state: str
    tenant: str
    classification: _request_pb2.Classification
    policy: str
    band: str
    age_ms: int
    decided_ms_ago: int
    queue_ms: float
    engine_id: str
    predicted_ttft_ms: float
    actual_ttft_ms: float
    ended_after_ms: float
    dispatches: _containers.RepeatedCompositeFieldContainer[DispatchExplanation]
    error_code: str
    error_message: str
    correlation_id: str
    interruptions: int
    routed: _request_pb2.RoutedModel
    output_tokens: int
    def __init__(self, request_id: _Optional[str] = ..., scheduler_id: _Optional[str] = ..., state: _Optional[str] = ..., tenant: _Optional[str] = ..., classification: _Optional[_Union[_request_pb2.Classification, _Mapping]] = ..., policy: _Optional[str] = ..., band: _Optional[str] = ..., age_ms: _Optional[int] = ..., decided_ms_ago: _Optional[int] = ..., queue_ms: _Optional[float] = ..., engine_id: _Optional[str] = ..., predicted_ttft_ms: _Optional[float] = ..., actual_ttft_ms: _Optional[float] = ..., ended_after_ms: _Optional[float] = ..., dispatches: _Optional[_Iterable[_Union[DispatchExplanation, _Mapping]]] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ..., correlation_id: _Optional[str] = ..., interruptions: _Optional[int] = ..., routed: _Optional[_Union[_request_pb2.RoutedModel, _Mapping]] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class DispatchExplanation(_message.Message):
    __slots__ = ("engine_id", "tries", "hedge", "at_ms", "queue_ms", "band", "candidates", "predicted_ttft_ms", "error_code", "error_message")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    HEDGE_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    BAND_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    tries: int
    hedge: bool
    at_ms: float
    queue_ms: float
    band: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    predicted_ttft_ms: float
    error_code: str
    error_message: str
    def __init__(self, engine_id: _Optional[str] = ..., tries: _Optional[int] = ..., hedge: _Optional[bool] = ..., at_ms: _Optional[float] = ..., queue_ms: _Optional[float] = ..., band: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., predicted_ttft_ms: _Optional[float] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("engine_id", "score", "cached_share")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CACHED_SHARE_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    score: float
    cached_share: float
    def __init__(self, engine_id: _Optional[str] = ..., score: _Optional[float] = ..., cached_share: _Optional[float] = ...) -> None: ...

class ListRequestsRequest(_message.Message):
    __slots__ = ("tenant", "changed_within_ms", "limit")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    changed_within_ms: int
    limit: int
    def __init__(self, tenant: _Optional[str] = ..., changed_within_ms: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListRequestsResponse(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[RequestSummary]
    def __init__(self, requests: _Optional[_Iterable[_Union[RequestSummary, _Mapping]]] = ...) -> None: ...

class RequestSummary(_message.Message):
    __slots__ = ("request_id", "correlation_id", "tenant", "state", "classification", "engine_id", "age_ms", "decided_ms_ago", "queue_ms", "tries", "hedged", "ttft_ms", "ended_after_ms", "output_tokens", "error_code", "interruptions")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    DECIDED_MS_AGO_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    HEDGED_FIELD_NUMBER: _ClassVar[int]
    TTFT_MS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTIONS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    correlation_id: str
    tenant: str
    state: str
    classification: _request_pb2.Classification
    engine_id: str
    age_ms: int
    decided_ms_ago: int
    queue_ms: float
    tries: int
    hedged: bool
    ttft_ms: float
    ended_after_ms: float
    output_tokens: int
    error_code: str
    interruptions: int
    def __init__(self, request_id: _Optional[str] = ..., correlation_id: _Optional[str] = ..., tenant: _Optional[str] = ..., state: _Optional[str] = ..., classification: _Optional[_Union[_request_pb2.Classification, _Mapping]] = ..., engine_id: _Optional[str] = ..., age_ms: _Optional[int] = ..., decided_ms_ago: _Optional[int] = ..., queue_ms: _Optional[float] = ..., tries: _Optional[int] = ..., hedged: _Optional[bool] = ..., ttft_ms: _Optional[float] = ..., ended_after_ms: _Optional[float] = ..., output_tokens: _Optional[int] = ..., error_code: _Optional[str] = ..., interruptions: _Optional[int] = ...) -> None: ...
