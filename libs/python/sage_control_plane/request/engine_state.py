"""Engines as their executors report them. Values of the enumerations are the numbers on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from sage_common.value_type import value_type
from sage_control_plane.request.request import Attempt, RequestKind

# Label of an engine that an operator registered or started; its value is the name that the operator gave it.
REGISTERED_LABEL = "registered"
# Label with the name of an engine for people; its id is the name with a suffix that changes at each restart.
NAME_LABEL = "name"
DEFAULT_POOL = "main"
# How the reason begins of an engine whose server is not started again until an operator asks for it.
GIVEN_UP = "given up"


class EnginePhase(IntEnum):
    """Stage of an engine's life."""

    UNSPECIFIED = 0
    STARTING = 1
    READY = 2
    DRAINING = 3
    UNHEALTHY = 4
    STOPPED = 5


class CapacitySource(IntEnum):
    """Who said how many requests an engine can have outstanding at once.

    ``UNKNOWN``: nobody, and the number is a technical ceiling. ``CONFIGURED``: an operator, as a ceiling; the server
    did not say, or said more. ``TOLD``: the engine's server, which computes as many at once and queues what is beyond.
    """

    UNKNOWN = 0
    CONFIGURED = 1
    TOLD = 2


@dataclass(frozen=True, slots=True)
class ModelCard:
    """A model that an engine serves.

    Attributes:
        parent: the model that it is an adapter of; empty for one that is no adapter.
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
    """What an engine registers with.

    Attributes:
        max_concurrency: requests that may be outstanding at once.
        capacity_source: who said ``max_concurrency``.
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
    capacity_source: CapacitySource = CapacitySource.CONFIGURED

    @property
    def name(self) -> str:
        """What people call the engine: the same after each restart, where its id is another."""
        labels = dict(self.labels)
        return labels.get(NAME_LABEL) or labels.get(REGISTERED_LABEL) or self.engine_id

    def card(self, model: str) -> ModelCard | None:
        """Return the card of the model that ``model`` names here, if any."""
        return next((card for card in self.models if model in card.names), None)


@value_type
class RunningRequest:
    """A request that an engine runs, as its heartbeat lists it.

    Attributes:
        tenant: who asked; None where that is not said.
        correlation_id: the caller's id for it; None where it gave none, or that is not said.
    """

    request_id: str
    attempt: Attempt
    started_replying: bool = False
    tokens: int = 0
    tenant: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True, slots=True)
class EngineLoad:
    """An engine server's measurements of its own load, which may come from callers other than SAGE too.

    Attributes:
        running, waiting: requests in its batches and in its queue.
        kv_cache_usage: share from 0 to 1.
        prefix_hit_rate: share from 0 to 1; None when not reported.
        first_token_seconds, inter_token_seconds, queue_seconds: recent means; None when not reported.
    """

    running: int = 0
    waiting: int = 0
    kv_cache_usage: float = 0.0
    prefix_hit_rate: float | None = None
    first_token_seconds: float | None = None
    inter_token_seconds: float | None = None
    queue_seconds: float | None = None


NO_LOAD = EngineLoad()


@dataclass(frozen=True, slots=True)
class EngineState:
    """An engine's spec and condition, as its executor last reported them.

    Attributes:
        load: its server's own measurements; None where there are no recent ones.
        phase_seconds: how long it has been in its phase; None where its executor does not tell.
    """

    spec: EngineSpec
    phase: EnginePhase = EnginePhase.READY
    reason: str = ""
    executor_id: str = ""
    running: tuple[RunningRequest, ...] = field(default=())
    load: EngineLoad | None = None
    phase_seconds: float | None = None

    @property
    def given_up(self) -> bool:
        """Whether it does not come back by itself: its server failed too often, or in a way that repeats."""
        return self.phase is EnginePhase.UNHEALTHY and self.reason.startswith(GIVEN_UP)

    @property
    def why(self) -> str:
        """The first line of its reason, for callers: what follows may quote what others asked."""
        return self.reason.partition("\n")[0].removesuffix("; its last words:")
