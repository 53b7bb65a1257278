"""What a kind of engine is: its settings, and how an engine of it is built. Each kind is a file beside this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

from sage_common.clock import Clock
from sage_control_plane.request.engine_state import DEFAULT_POOL, EngineLoad, EngineSpec
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.sentence_embedder import SentenceEmbedder
from sage_llm_coordinator.engines.upstream_request import FollowsPrompts
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress
from sage_llm_coordinator.servers.program import ServerProgram
from sage_llm_coordinator.servers.servers import OwnedServer, Servers
from sage_mesh.engine import Engine


class EngineSettings(BaseModel):
    """One engine, as far as every kind has these settings. Each kind adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="its kind, one of the registry's")
    name: str = Field("", description="short name; the engine's id is this and a tail; empty makes one")
    aliases: tuple[str, ...] = Field((), description="further names for the engine's first model")
    pool: str = Field(DEFAULT_POOL, min_length=1)
    max_concurrency: int = Field(
        0,
        ge=0,
        description="ceiling of the requests outstanding at once; 0 goes by what its server says, or what is learned",
    )

    @property
    def server_url(self) -> str:
        """Base URL of a server that runs already; empty where there is none."""
        return ""

    @property
    def server_model(self) -> str:
        """The model as its server was given it; empty where the settings name none."""
        return ""

    @property
    def has_api_key(self) -> bool:
        """Whether they hold a key, which is kept in memory only."""
        return False

    def kept(self) -> dict[str, Any]:
        """Return what records keep of them, for ``engine_settings`` to read: all but an API key."""
        return {**self.model_dump(mode="json", exclude={"api_key"}, exclude_defaults=True), "kind": self.kind}


S = TypeVar("S", bound=EngineSettings)


class FollowsCache(FollowsPrompts, Protocol):
    """Follows the prefix cache of one engine's server, for the schedulers."""

    def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End; the cache is not known any more."""
        ...


WatchCache = Callable[[EngineSpec, FeedAddress], FollowsCache | None]


@dataclass(frozen=True, slots=True)
class NoSettings:
    """Of a kind that has nothing to set for all its engines."""


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What engines are built from, beside their own settings.

    Attributes:
        of_kinds: the settings that all engines of a kind share, an attribute for each kind.
        embedder: makes an embedder of the mesh, given the model (empty for any) and the longest wait in seconds.
        watch_cache: makes what follows an engine's prefix cache, given where its server tells of it; None where it
            cannot be followed here.
    """

    of_kinds: Any
    embedder: Callable[[str, float], SentenceEmbedder]
    clock: Clock
    servers: Servers
    watch_cache: WatchCache = lambda _spec, _address: None


@dataclass(frozen=True, slots=True)
class EngineBlueprint(Generic[S]):
    """One engine that is to be built.

    Attributes:
        adapters: what its server is to load.
        server: a server that runs already and is this coordinator's now.
    """

    settings: S
    spec: EngineSpec
    adapters: WantedAdapters
    server: OwnedServer | None = None


class LlmEngine(Engine, Protocol):
    """An engine that may know its server's load, and have it load adapters."""

    @property
    def load(self) -> EngineLoad | None:
        """The server's load, as it last reported it; None where it does not, or has not of late."""
        ...

    @property
    def lora(self) -> LoraAdapters | None:
        """Loads and unloads adapters; None for a kind of engine that has none."""
        ...


@runtime_checkable
class OwnsServer(Protocol):
    """An engine whose server is a process that this coordinator started or adopted."""

    @property
    def log_file(self) -> Path | None:
        """The log of its present or last server; None before the first."""
        ...

    @property
    def replaced(self) -> bool:
        """Whether another coordinator has taken the server over."""
        ...


@dataclass(frozen=True, slots=True)
class EngineKind(Generic[S]):
    """A registry entry: a kind of engine.

    Attributes:
        settings: those of one engine, an entry of ``llm_coordinator.engines``.
        build: makes an engine.
        short_name: a name for people, from the settings.
        seats: requests that an engine computes at once, as its settings say; None where only its server knows.
        required: settings that must be given.
        group: a dataclass of what all engines of the kind share, all with defaults:
            ``llm_coordinator.<name>.<field>``.
        program: how the server is run, of a kind whose server is a process that SAGE starts.
        loads: whether a model, a name or a path, is one for this kind and no other; of kinds that run servers.
    """

    name: str
    settings: type[S]
    build: Callable[[EngineBlueprint[S], EngineParts], LlmEngine]
    short_name: Callable[[S], str]
    seats: Callable[[S], int | None] = lambda _: None
    required: tuple[str, ...] = ()
    group: type[Any] = NoSettings
    program: Callable[[S, EngineParts], ServerProgram] | None = None
    loads: Callable[[str], bool] = lambda _: False
