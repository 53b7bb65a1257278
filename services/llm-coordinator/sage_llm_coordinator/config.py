"""Settings of the llm-coordinator."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from sage_common.config import nearest
from sage_common.service_settings import ServiceSettings
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_mesh.upstream.base_url import base_url
from sage_mesh.upstream.upstream import KIND_NAMES


class EngineSettings(BaseModel):
    """One engine. Which fields matter depends on the kind; ``engine_kinds`` lists the kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="openai, extractive or vllm")
    name: str = Field("", description="short name; the engine's id is this and a tail; empty makes one")
    url: str = Field("", description="openai: base URL, e.g. http://127.0.0.1:8001/v1")
    model: str = Field("", description="vllm: model to load; openai: serve only this one of the server's models")
    served_model_name: str = Field("", description="vllm: name that callers use; empty takes the model's")
    aliases: tuple[str, ...] = Field((), description="further names for the engine's first model")
    api_key: SecretStr = Field(SecretStr(""), description="openai: sent as a bearer token")
    continues_chats: bool | None = Field(
        None,
        description="openai: whether the server knows continue_final_message, so that its broken streams can be "
        "continued and it can continue others'; null: where it says that it is vLLM or SGLang",
    )
    pool: str = Field(DEFAULT_POOL, min_length=1)
    max_concurrency: int = Field(
        0,
        ge=0,
        description="requests outstanding at once; 0 takes vLLM's --max-num-seqs if given, else the kind's default",
    )
    port: int = Field(0, ge=0, le=65535, description="vllm: its HTTP port; 0 takes a free one")
    arguments: tuple[str, ...] = Field((), description="vllm: further arguments of its server")
    environment: dict[str, str] = Field(default_factory=dict, description="vllm: further environment variables")
    device: str = Field("", description="vllm: cpu, cpu:0-3 (cores), cuda, cuda:0,1 (GPUs); empty chooses")
    check_memory: bool = Field(True, description="vllm: refuse a start that the machine's memory has no room for")
    kinds: tuple[str, ...] = Field(
        (),
        description="work that its models do: chat, generate, embedding; empty takes what the server says, else chat "
        "and generate",
    )

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            if kind not in KIND_NAMES:
                raise ValueError(f"{kind!r} is no kind of work{nearest(kind, list(KIND_NAMES))}")
        return kinds

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return base_url(url)


class LlmCoordinatorSettings(ServiceSettings):
    """Section ``llm_coordinator``."""

    section: ClassVar[str] = "llm_coordinator"

    engines: tuple[EngineSettings, ...] = Field(
        (EngineSettings(kind="extractive"),),
        description="the engines that this coordinator owns; a JSON list in the environment",
    )
    connect_timeout_seconds: float = Field(5.0, gt=0, description="longest wait for a connection to an engine")
    read_timeout_seconds: float = Field(
        600.0, gt=0, description="longest silence of an engine in the middle of a request before it counts as dead"
    )
    health_interval_seconds: float = Field(2.0, gt=0, description="between health checks of an engine")
    health_timeout_seconds: float = Field(5.0, gt=0, description="longest wait for the answer to a health check")
    metrics_interval_seconds: float = Field(0.5, gt=0, description="between looks at an engine's /metrics")
    embed_model: str = Field("", description="embedding model of the extractive engine; empty takes any")
    embed_timeout_seconds: float = Field(60.0, gt=0, description="longest wait for the vectors of one request")
    max_sentences: int = Field(4, ge=1, description="most sentences in an answer of the extractive engine")
    vllm_python: str = Field("", description="Python that has vLLM; empty takes the one that runs this service")
    vllm_ports: str = Field(
        "8901-8999", pattern=r"^\d{1,5}-\d{1,5}$", description="range from which vLLM servers get their ports; 0-0: any"
    )
    vllm_max_failures: int = Field(5, ge=1, description="failed starts in a row after which vLLM is given up")
    orphan_seconds: float = Field(
        10.0, gt=0, description="how long vLLM goes on without its coordinator, so that another can adopt it"
    )
    replica: int = Field(1, ge=1, description="which coordinator of this machine it is; its own engines go by it")
    restore_registered: bool = Field(True, description="take up engines that were registered over gRPC earlier")
