"""Settings of the llm-coordinator: its own, and those of every kind of engine under the name of the kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny

from sage_common.config import gathered, including
from sage_common.service_settings import ServiceSettings
from sage_llm_coordinator.engines.engine_kind import EngineSettings
from sage_llm_coordinator.engines.registry import KindSettings, default_engines, engine_settings
from sage_llm_coordinator.pods.settings import KubernetesSettings
from sage_llm_coordinator.servers.settings import ServerSettings


def _of_its_kind(values: Any) -> Any:
    return engine_settings(values) if isinstance(values, Mapping) else values


@including(KindSettings)
class LlmCoordinatorSettings(ServiceSettings):
    """Section ``llm_coordinator``."""

    section: ClassVar[str] = "llm_coordinator"

    engines: tuple[Annotated[SerializeAsAny[EngineSettings], BeforeValidator(_of_its_kind)], ...] = Field(
        default_factory=default_engines,
        description="the engines that this coordinator owns; a JSON list in the environment. An entry without a kind "
        "goes by its model. Left out: the packaged model on llama.cpp, where installed, and the extractive engine",
    )
    servers: ServerSettings = ServerSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    replica: int = Field(1, ge=1, description="which coordinator of this machine it is; its own engines go by it")
    successor_of: str = Field(
        "",
        description="id of the coordinator whose engines this one takes over at once; `sage restart` sets it",
    )
    allowed_arguments: tuple[str, ...] = Field(
        (), description="options of an engine's server that an order may set, beside those that only tune it"
    )
    allowed_environment: tuple[str, ...] = Field(
        (), description="environment variables that an order may set, beside those that only tune the server"
    )
    restore_registered: bool = Field(True, description="take up engines that were registered over gRPC earlier")

    def of_kinds(self) -> KindSettings:
        """Return what all engines of a kind share, an attribute for each kind."""
        return gathered(KindSettings, self)
