"""Settings of the embed-executor."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field, SecretStr, field_validator

from sage_common.service_settings import ServiceSettings
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_embed_executor.backends.registry import AUTO
from sage_embed_executor.models.weights import DEFAULT_MODEL
from sage_embed_executor.selection.backend_selection import BackendPreference
from sage_mesh.upstream.base_url import base_url

# More one-thread streams than this wait for the interpreter's lock rather than for the processor.
MAX_AUTO_STREAMS = 4


class EmbedExecutorSettings(ServiceSettings):
    """Section ``embed_executor``."""

    section: ClassVar[str] = "embed_executor"

    engine: str = Field(
        "sentence-transformers",
        description="engine that runs the model: sentence-transformers, cross-encoder, openai-embedding",
    )
    model: str = Field(DEFAULT_MODEL, description="model: a short name, a hub name, or a folder")
    further_models: list[str] = Field(default_factory=list, description="more models, each an engine of its own")
    aliases: list[str] = Field(default_factory=list, description="further names for the first model")
    pool: str = Field(DEFAULT_POOL, min_length=1, description="pool that the engine belongs to")
    max_concurrency: int = Field(512, ge=1, description="requests that schedulers may have outstanding here")

    url: str = Field("", description="engine openai-embedding: base URL of the server")
    api_key: SecretStr = Field(SecretStr(""), description="engine openai-embedding: key for the server")
    kinds: list[str] = Field(
        default=["embedding"], min_length=1, description="engine openai-embedding: what the model is for"
    )

    backend: str = Field(
        AUTO, description="how models run: torch, openvino, onnx, sentence-transformers; auto measures what is there"
    )
    precision: str = Field(
        AUTO,
        pattern="^(auto|fp32|bf16|int8)$",
        description="numbers to compute with: fp32, bf16, int8; auto takes bf16 where it is faster, never int8",
    )
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, or cuda or cuda:N (backend torch)")
    token_budget: int = Field(0, ge=0, description="most tokens in a batch, padding included; 0 measures the best")
    max_padding_share: float = Field(0.25, ge=0, le=1, description="most of a batch that may be padding")
    streams: int = Field(0, ge=0, description="batches computed at the same time; 0 takes the processors there are")
    threads_per_stream: int = Field(0, ge=0, description="threads of one batch; 0 shares the processors out")
    cache_bytes: int = Field(64 * 1024 * 1024, ge=0, description="bytes for vectors of texts seen before; 0 for none")

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        return base_url(url)

    @property
    def models(self) -> list[str]:
        """Every model to serve, the main one first."""
        return [self.model, *self.further_models]

    def backend_preference(self, processors: int) -> BackendPreference:
        """Return what these settings ask of the backend, with streams and threads for a number of processors."""
        streams, threads = self.stream_layout(processors)
        return BackendPreference(self.backend, self.precision, self.device, streams, threads, self.token_budget)

    def stream_layout(self, processors: int) -> tuple[int, int]:
        """Streams, and threads of each, for a number of processors.

        One-thread streams by default: two gave 1.2-1.4 times the throughput of one two-thread stream on two idle
        processors, and several times where other services compete, since a thread that is not running holds up its
        whole batch.
        """
        streams = self.streams or min(processors, MAX_AUTO_STREAMS)
        return streams, self.threads_per_stream or max(1, processors // streams)


def available_processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
