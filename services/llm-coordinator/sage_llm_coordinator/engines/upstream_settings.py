"""Settings of engines that pass on to an OpenAI-compatible server: one of them, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from annotated_types import Gt
from pydantic import Field, SecretStr, field_validator

from sage_common.config import nearest
from sage_common.setting_marks import Alias
from sage_llm_coordinator.engines.engine_kind import EngineSettings
from sage_mesh.upstream.base_url import base_url
from sage_mesh.upstream.model_list import KIND_NAMES

SILENCE_SECONDS: Final = 120.0
ZMQ_ADDRESS: Final = r"^((tcp|ipc)://\S+)?$"


@dataclass(frozen=True, slots=True)
class OpenAiSettings:
    """How engines speak to their servers, also to those that SAGE starts.

    Attributes:
        connect_timeout_seconds: longest wait for a connection to an engine.
        read_timeout_seconds: longest silence of an engine before its answer has begun, and in one that is not streamed.
        stream_silence_seconds: longest silence of an engine within a stream that has begun; the stream then goes on
            elsewhere, or ends with an error. Some servers hold back the arguments of a tool until they are complete.
        health_interval_seconds: between health checks of an engine.
        health_timeout_seconds: longest wait for the answer to a health check.
        metrics_interval_seconds: between reads of an engine's /metrics.
    """

    connect_timeout_seconds: Annotated[float, Gt(0), Alias()] = 5.0
    read_timeout_seconds: Annotated[float, Gt(0), Alias()] = 600.0
    stream_silence_seconds: Annotated[float, Gt(0), Alias()] = SILENCE_SECONDS
    health_interval_seconds: Annotated[float, Gt(0), Alias()] = 2.0
    health_timeout_seconds: Annotated[float, Gt(0), Alias()] = 5.0
    metrics_interval_seconds: Annotated[float, Gt(0), Alias()] = 0.5


class UpstreamEngineSettings(EngineSettings):
    """One engine that has an OpenAI-compatible server."""

    model: str = Field("", description="serve only this one of the server's models")
    api_key: SecretStr = Field(SecretStr(""), description="sent as a bearer token")
    continues_chats: bool | None = Field(
        None,
        description="whether the server knows continue_final_message, so that its broken streams can be continued and "
        "it can continue others'; null: where it says that it is vLLM or SGLang",
    )
    kinds: tuple[str, ...] = Field(
        (),
        description="work that its models do: chat, generate, embedding; empty takes what the server says, else chat "
        "and generate",
    )

    @property
    def server_model(self) -> str:
        return self.model

    @property
    def has_api_key(self) -> bool:
        return bool(self.api_key.get_secret_value())

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KIND_NAMES:
                raise ValueError(f"{kind!r} is no kind of work{nearest(kind, list(KIND_NAMES))}")
        return kinds


class OpenAiEngineSettings(UpstreamEngineSettings):
    """One engine of the kind."""

    kind: Literal["openai"] = "openai"
    url: str = Field("", description="base URL, e.g. http://127.0.0.1:8001/v1")
    models: tuple[str, ...] = Field(
        (), description="names of its models, for a server without a list of them; only these are served then"
    )
    health_path: str | None = Field(
        None,
        pattern=r"^(/\S*)?$",
        description="where its health is asked, below its root; empty reads its list of models instead, for a server "
        "whose /health costs money or takes seconds; null finds out",
    )
    kv_events: str = Field(
        "",
        pattern=ZMQ_ADDRESS,
        description="ZMQ address at which its server (vLLM with --kv-events-config) tells what is in its prefix cache, "
        "e.g. tcp://127.0.0.1:5557; empty: it does not",
    )
    kv_events_replay: str = Field(
        "",
        pattern=ZMQ_ADDRESS,
        description="its replay_endpoint, where what was missed is repeated; without it the view begins again instead",
    )

    @property
    def server_url(self) -> str:
        return self.url

    @property
    def short_name(self) -> str:
        """Host and port."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}-{parts.port}" if parts.port else f"{parts.hostname}"

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return base_url(url)
