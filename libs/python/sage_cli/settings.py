"""Settings of the command line."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.config import SectionSettings


class CliSettings(SectionSettings):
    """Section ``cli``: what ``sage up`` starts when no flag says otherwise."""

    section: ClassVar[str] = "cli"

    llm: str = Field(
        "",
        description="URL of an OpenAI-compatible server, or a model: a GGUF file for llama.cpp, others for vLLM; "
        "empty: the built-in ones",
    )
    embed: str = Field("", description="embedding model; empty: the embed-executor's own default")
    replicas: dict[str, int] = Field(default_factory=dict, description="processes by service, e.g. {classifier: 2}")
    gateways: int = Field(0, ge=0, le=64, description="gateway processes that share the gateway's port; 0: one")
    start_timeout_seconds: float = Field(
        0.0, ge=0, description="longest wait for everything to be ready; 0: 120 s, and 900 s where vLLM loads a model"
    )
