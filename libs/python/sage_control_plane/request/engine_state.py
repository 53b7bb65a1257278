"""What the control plane knows of an engine. The enumerations' values are the wire's numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from sage_control_plane.request.request import Attempt, RequestKind

# Label of an engine that an operator registered or started; its value is the name that it was given.
REGISTERED_LABEL = "registered"
# What people call an engine; its id is this and a tail, another after each restart.
NAME_LABEL = "name"
DEFAULT_POOL = "main"


class EnginePhase(IntEnum):
    """Where an engine is in its life."""

    UNSPECIFIED = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    UNHEALTHY = 4
    STOPPED = 5


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that an engine serves.

    Attributes:
        parent: the model that it is an adapter of; empty for one that stands alone.
    """

    name: str
    kinds: frozenset[RequestKind]
    aliases: tuple[str, ...] = ()
    max_context_tokens: int = 0
    dimensions: int = 0
    owned_by: str = "sage"
    description: str = ""
    parent: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that callers may use."""
        return (self.name, *self.aliases)


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What an engine says of itself when it registers.

    Attributes:
        max_concurrency: requests that may be outstanding at once.
        max_outstanding_tokens: tokens that may be outstanding at once; 0 for no cap.
    """

    engine_id: str
    implementation: str
    models: tuple[ModelCard, ...]
    pool: str = DEFAULT_POOL
    max_concurrency: int = 64
    max_outstanding_tokens: int = 0
    url: str = ""
    labels: tuple[tuple[str, str], ...] = ()

    def card(self, model: str) -> ModelCard | None:
        """Return the card of the model that ``model`` names here, if any."""
        return next((card for card in self.models if model in card.names), None)


@dataclass(frozen=True, slots=True)
class RunningRequest:
    """A request that an engine holds."""

    request_id: str
    attempt: Attempt
    started_replying: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """What an engine's server says of its own load; it may serve others than SAGE, too.

    Attributes:
        running, waiting: requests in its batches and in its queue.
        kv_cache_usage, prefix_hit_rate: shares from 0 to 1.
        first_token_seconds, inter_token_seconds, queue_seconds: means of late; 0 when it has not told.
    """

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    prefix_hit_rate: float = 0.0
    first_token_seconds: float = 0.0
    inter_token_seconds: float = 0.0
    queue_seconds: float = 0.0


NO_LOAD = EngineLoad()


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine's spec with its present condition, as its executor last reported it.

    Attributes:
        load: what the engine itself says of its load; None where it does not, or has not of late.
    """

    spec: EngineSpec
    phase: EnginePhase = EnginePhase.READY
    reason: str = ""
    executor_id: str = ""
    running: tuple[RunningRequest, ...] = field(default=())
    load: EngineLoad | None = None
