from sage.inference.v1 import engine_pb2 as _engine_pb2
from sage.inference.v1 import frame_pb2 as _frame_pb2
from sage.inference.v1 import generation_pb2 as _generation_pb2
from sage.inference.v1 import request_pb2 as _request_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("request_id", "tenant", "hints", "timeout_ms")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    HINTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    tenant: str
    hints: _request_pb2.Hints
    timeout_ms: int
    def __init__(self, request_id: _Optional[str] = ..., tenant: _Optional[str] = ..., hints: _Optional[_Union[_request_pb2.Hints, _Mapping]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class Trail(_message.Message):
    __slots__ = ("request_id", "engine_id", "queue_ms", "attempts")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    engine_id: str
    queue_ms: float
    attempts: int
    def __init__(self, request_id: _Optional[str] = ..., engine_id: _Optional[str] = ..., queue_ms: _Optional[float] = ..., attempts: _Optional[int] = ...) -> None: ...

class ChatRequest(_message.Message):
    __slots__ = ("envelope", "model", "messages", "parameters")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    envelope: Envelope
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[_generation_pb2.ChatMessage]
    parameters: _generation_pb2.GenerationParameters
    def __init__(self, envelope: _Optional[_Union[Envelope, _Mapping]] = ..., model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_generation_pb2.ChatMessage, _Mapping]]] = ..., parameters: _Optional[_Union[_generation_pb2.GenerationParameters, _Mapping]] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage", "trail")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRAIL_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: str
    usage: _frame_pb2.Usage
    trail: Trail
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., trail: _Optional[_Union[Trail, _Mapping]] = ...) -> None: ...

class StreamChatRequest(_message.Message):
    __slots__ = ("chat",)
    CHAT_FIELD_NUMBER: _ClassVar[int]
    chat: ChatRequest
    def __init__(self, chat: _Optional[_Union[ChatRequest, _Mapping]] = ...) -> None: ...

class StreamChatResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage", "trail")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRAIL_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: str
    usage: _frame_pb2.Usage
    trail: Trail
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., trail: _Optional[_Union[Trail, _Mapping]] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("envelope", "model", "prompt", "parameters")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    envelope: Envelope
    model: str
    prompt: str
    parameters: _generation_pb2.GenerationParameters
    def __init__(self, envelope: _Optional[_Union[Envelope, _Mapping]] = ..., model: _Optional[str] = ..., prompt: _Optional[str] = ..., parameters: _Optional[_Union[_generation_pb2.GenerationParameters, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage", "trail")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRAIL_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: str
    usage: _frame_pb2.Usage
    trail: Trail
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., trail: _Optional[_Union[Trail, _Mapping]] = ...) -> None: ...

class StreamGenerateRequest(_message.Message):
    __slots__ = ("generate",)
    GENERATE_FIELD_NUMBER: _ClassVar[int]
    generate: GenerateRequest
    def __init__(self, generate: _Optional[_Union[GenerateRequest, _Mapping]] = ...) -> None: ...

class StreamGenerateResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage", "trail")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRAIL_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: str
    usage: _frame_pb2.Usage
    trail: Trail
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., trail: _Optional[_Union[Trail, _Mapping]] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("envelope", "model", "texts", "dimensions")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    envelope: Envelope
    model: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    dimensions: int
    def __init__(self, envelope: _Optional[_Union[Envelope, _Mapping]] = ..., model: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ..., dimensions: _Optional[int] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("model", "vectors", "dimensions", "usage", "trail")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TRAIL_FIELD_NUMBER: _ClassVar[int]
    model: str
    vectors: bytes
    dimensions: int
    usage: _frame_pb2.Usage
    trail: Trail
    def __init__(self, model: _Optional[str] = ..., vectors: _Optional[bytes] = ..., dimensions: _Optional[int] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., trail: _Optional[_Union[Trail, _Mapping]] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_engine_pb2.ModelCard]
    def __init__(self, models: _Optional[_Iterable[_Union[_engine_pb2.ModelCard, _Mapping]]] = ...) -> None: ...
