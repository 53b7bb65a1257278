"""What a kind of engine is: its name, its settings, and how its engines are built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sage_common.clock import Clock
from sage_control_plane.request.engine_state import NAME_LABEL, EngineSpec, ModelCard
from sage_embed_executor.metrics import EmbedMetrics
from sage_embed_executor.models.weights import aliases_of, short_name
from sage_mesh.engine import Engine
from sage_mesh.engine_capacity import with_capacity

if TYPE_CHECKING:
    from sage_embed_executor.config import EmbedExecutorSettings

S = TypeVar("S")
# Requests that keep the batches of a model full, however short they are.
OUTSTANDING_HERE: Final = 512


@dataclass(frozen=True, slots=True)
class EngineContext:
    """What engines are built from, beside their own settings.

    Attributes:
        settings: of the service; those of all kinds of engine among them.
        instance_id: of this process.
    """

    settings: EmbedExecutorSettings
    instance_id: str
    clock: Clock
    metrics: EmbedMetrics

    def spec(self, implementation: str, model: str, card: ModelCard, url: str = "") -> EngineSpec:
        """Return the spec of an engine for one of the models.

        Args:
            url: of the server that runs the model; empty for one in this process.
        """
        spec = EngineSpec(
            engine_id(model, self.instance_id),
            implementation,
            (card,),
            pool=self.settings.pool,
            url=url,
            labels=((NAME_LABEL, short_name(model)),),
        )
        seats = None if url else OUTSTANDING_HERE
        return with_capacity(
            spec, ceiling=self.settings.max_concurrency or None, told=seats, technical_ceiling=OUTSTANDING_HERE
        )

    def aliases(self, model: str) -> tuple[str, ...]:
        """Return the further names of one of the models; the configured ones belong to the first model."""
        configured = self.settings.aliases if model == self.settings.model else ()
        return tuple(dict.fromkeys((*aliases_of(model), *configured)))


@dataclass(frozen=True, slots=True)
class EmbeddingEngineType(Generic[S]):
    """A kind of engine.

    Attributes:
        name: value of the setting ``engine`` that chooses it.
        build: makes the engines that the settings name. Raises ConfigurationError: settings that do not fit the kind.
        settings: dataclass of the settings that it alone has, a group of the service's settings under ``group``; None
            where it has none.
    """

    name: str
    build: Callable[[S, EngineContext], list[Engine]]
    settings: type[S] | None = None

    @property
    def group(self) -> str:
        """Name of the group of its settings."""
        return self.name.replace("-", "_")


def engine_id(model: str, instance_id: str) -> str:
    """Return the id of an engine, unique to this process."""
    return f"{short_name(model)}-{instance_id[-4:]}"
