"""Settings of the embed-executor: its own, those of engines in this process, and those of each kind of engine."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from sage_common.config import gathered, including
from sage_common.service_settings import ServiceSettings
from sage_control_plane.request.engine_state import DEFAULT_POOL
from sage_embed_executor.engines.in_process_engine import InProcessSettings
from sage_embed_executor.engines.registry import ENGINE_TYPES, EngineTypeSettings
from sage_embed_executor.models.weights import DEFAULT_MODEL


@including(EngineTypeSettings)
@including(InProcessSettings)
class EmbedExecutorSettings(ServiceSettings):
    """Section ``embed_executor``."""

    section: ClassVar[str] = "embed_executor"

    engine: str = Field(
        "sentence-transformers",
        description=f"engine that runs the model: {', '.join(ENGINE_TYPES)}",
    )
    model: str = Field(DEFAULT_MODEL, description="model: a short name, a hub name, or a folder")
    further_models: list[str] = Field(default_factory=list, description="more models, each an engine of its own")
    aliases: list[str] = Field(default_factory=list, description="further names for the first model")
    pool: str = Field(DEFAULT_POOL, min_length=1, description="pool that the engine belongs to")
    max_concurrency: int = Field(
        0,
        ge=0,
        description="ceiling of the requests that schedulers may have outstanding here; 0: 512 for a model in this "
        "process, and what its server says for one elsewhere",
    )

    @property
    def models(self) -> list[str]:
        """Every model to serve, the main one first."""
        return [self.model, *self.further_models]

    def in_process(self) -> InProcessSettings:
        """Return the settings of the engines that run models in this process."""
        return gathered(InProcessSettings, self)
