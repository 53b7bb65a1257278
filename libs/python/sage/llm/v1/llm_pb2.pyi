from sage.inference.v1 import engine_pb2 as _engine_pb2
from sage.inference.v1 import frame_pb2 as _frame_pb2
from sage.inference.v1 import generation_pb2 as _generation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ChatRequest(_message.Message):
    __slots__ = ("model", "messages", "parameters")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    model: str
    messages: _containers.RepeatedCompositeFieldContainer[_generation_pb2.ChatMessage]
    parameters: _generation_pb2.GenerationParameters
    def __init__(self, model: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[_generation_pb2.ChatMessage, _Mapping]]] = ..., parameters: _Optional[_Union[_generation_pb2.GenerationParameters, _Mapping]] = ...) -> None: ...

class ChatResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage", "engine_id")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: str
    usage: _frame_pb2.Usage
    engine_id: str
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., engine_id: _Optional[str] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("model", "prompt", "parameters")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    model: str
    prompt: str
    parameters: _generation_pb2.GenerationParameters
    def __init__(self, model: _Optional[str] = ..., prompt: _Optional[str] = ..., parameters: _Optional[_Union[_generation_pb2.GenerationParameters, _Mapping]] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("text", "finish_reason", "usage", "engine_id")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    text: str
    finish_reason: str
    usage: _frame_pb2.Usage
    engine_id: str
    def __init__(self, text: _Optional[str] = ..., finish_reason: _Optional[str] = ..., usage: _Optional[_Union[_frame_pb2.Usage, _Mapping]] = ..., engine_id: _Optional[str] = ...) -> None: ...

class ListEnginesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListEnginesResponse(_message.Message):
    __slots__ = ("engines",)
    ENGINES_FIELD_NUMBER: _ClassVar[int]
    engines: _containers.RepeatedCompositeFieldContainer[_engine_pb2.EngineState]
    def __init__(self, engines: _Optional[_Iterable[_Union[_engine_pb2.EngineState, _Mapping]]] = ...) -> None: ...

class RegisterEngineRequest(_message.Message):
    __slots__ = ("engine_id", "url", "api_key", "pool", "max_concurrency", "kinds", "aliases", "models", "health_path")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    API_KEY_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    HEALTH_PATH_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    url: str
    api_key: str
    pool: str
    max_concurrency: int
    kinds: _containers.RepeatedScalarFieldContainer[str]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    models: _containers.RepeatedScalarFieldContainer[str]
    health_path: str
    def __init__(self, engine_id: _Optional[str] = ..., url: _Optional[str] = ..., api_key: _Optional[str] = ..., pool: _Optional[str] = ..., max_concurrency: _Optional[int] = ..., kinds: _Optional[_Iterable[str]] = ..., aliases: _Optional[_Iterable[str]] = ..., models: _Optional[_Iterable[str]] = ..., health_path: _Optional[str] = ...) -> None: ...

class RegisterEngineResponse(_message.Message):
    __slots__ = ("engine",)
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: _engine_pb2.EngineState
    def __init__(self, engine: _Optional[_Union[_engine_pb2.EngineState, _Mapping]] = ...) -> None: ...

class RemoveEngineRequest(_message.Message):
    __slots__ = ("engine_id", "drain", "timeout_ms")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    drain: bool
    timeout_ms: int
    def __init__(self, engine_id: _Optional[str] = ..., drain: _Optional[bool] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class RemoveEngineResponse(_message.Message):
    __slots__ = ("aborted",)
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    aborted: int
    def __init__(self, aborted: _Optional[int] = ...) -> None: ...

class StartEngineRequest(_message.Message):
    __slots__ = ("model", "name", "served_model_name", "aliases", "arguments", "environment", "device", "port", "pool", "max_concurrency", "skip_memory_check", "kinds")
    class EnvironmentEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVED_MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    MAX_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    SKIP_MEMORY_CHECK_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    name: str
    served_model_name: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    arguments: _containers.RepeatedScalarFieldContainer[str]
    environment: _containers.ScalarMap[str, str]
    device: str
    port: int
    pool: str
    max_concurrency: int
    skip_memory_check: bool
    kinds: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., name: _Optional[str] = ..., served_model_name: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ..., arguments: _Optional[_Iterable[str]] = ..., environment: _Optional[_Mapping[str, str]] = ..., device: _Optional[str] = ..., port: _Optional[int] = ..., pool: _Optional[str] = ..., max_concurrency: _Optional[int] = ..., skip_memory_check: _Optional[bool] = ..., kinds: _Optional[_Iterable[str]] = ...) -> None: ...

class StartEngineResponse(_message.Message):
    __slots__ = ("engine",)
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: _engine_pb2.EngineState
    def __init__(self, engine: _Optional[_Union[_engine_pb2.EngineState, _Mapping]] = ...) -> None: ...

class RestartEngineRequest(_message.Message):
    __slots__ = ("engine_id", "drain", "timeout_ms")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    drain: bool
    timeout_ms: int
    def __init__(self, engine_id: _Optional[str] = ..., drain: _Optional[bool] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class RestartEngineResponse(_message.Message):
    __slots__ = ("engine", "aborted")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    engine: _engine_pb2.EngineState
    aborted: int
    def __init__(self, engine: _Optional[_Union[_engine_pb2.EngineState, _Mapping]] = ..., aborted: _Optional[int] = ...) -> None: ...

class EngineLogsRequest(_message.Message):
    __slots__ = ("engine_id", "lines", "follow")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    lines: int
    follow: bool
    def __init__(self, engine_id: _Optional[str] = ..., lines: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class EngineLogsResponse(_message.Message):
    __slots__ = ("lines",)
    LINES_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lines: _Optional[_Iterable[str]] = ...) -> None: ...

class LoadLoraRequest(_message.Message):
    __slots__ = ("engine_id", "name", "path")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    name: str
    path: str
    def __init__(self, engine_id: _Optional[str] = ..., name: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class LoadLoraResponse(_message.Message):
    __slots__ = ("engine",)
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: _engine_pb2.EngineState
    def __init__(self, engine: _Optional[_Union[_engine_pb2.EngineState, _Mapping]] = ...) -> None: ...

class UnloadLoraRequest(_message.Message):
    __slots__ = ("engine_id", "name")
    ENGINE_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    engine_id: str
    name: str
    def __init__(self, engine_id: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class UnloadLoraResponse(_message.Message):
    __slots__ = ("engine",)
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    engine: _engine_pb2.EngineState
    def __init__(self, engine: _Optional[_Union[_engine_pb2.EngineState, _Mapping]] = ...) -> None: ...
