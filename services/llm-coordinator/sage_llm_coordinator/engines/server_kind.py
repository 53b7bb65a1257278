"""A kind of engine whose server SAGE starts: the settings that all such kinds have, and their registry entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import Field

from sage_common.secret_text import is_secret_name
from sage_control_plane.request.engine_state import EngineSpec
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineKind, EngineParts, NoSettings
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine, ServedKinds, connect
from sage_llm_coordinator.engines.server_engine import ServerEngine
from sage_llm_coordinator.engines.upstream_settings import UpstreamEngineSettings
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress
from sage_llm_coordinator.origin import origin_of
from sage_llm_coordinator.servers.program import ServerProgram
from sage_llm_coordinator.servers.servers import OwnedServer


class ServerEngineSettings(UpstreamEngineSettings):
    """One engine whose server SAGE starts."""

    model: str = Field("", description="model to load")
    served_model_name: str = Field("", description="name that callers use; empty takes the model's")
    port: int = Field(0, ge=0, le=65535, description="its HTTP port; 0 takes a free one")
    arguments: tuple[str, ...] = Field((), description="further arguments of its server")
    environment: dict[str, str] = Field(default_factory=dict, description="further environment variables")

    def kept(self) -> dict[str, Any]:
        """Return what records keep of them: all but secrets, which whoever reads NATS would see."""
        kept = super().kept()
        if "environment" in kept:
            kept["environment"] = {n: v for n, v in kept["environment"].items() if not is_secret_name(n)}
        return kept

    @property
    def model_name(self) -> str:
        """The last part of the model's name or path."""
        return self.model.rstrip("/").rpartition("/")[2]

    @property
    def served_name(self) -> str:
        """What the server calls its model."""
        return self.served_model_name or self.model_name


S = TypeVar("S", bound=ServerEngineSettings)


def server_kind(
    name: str,
    settings: type[S],
    program: Callable[[S, EngineParts], ServerProgram],
    *,
    seats: Callable[[S], int | None] = lambda _: None,
    group: type[Any] = NoSettings,
    loads: Callable[[str], bool] = lambda _: False,
    events: Callable[[S, str], FeedAddress | None] = lambda _settings, _url: None,
) -> EngineKind[S]:
    """Return the registry entry of a kind of engine whose server SAGE starts; ``EngineKind`` says what the rest is.

    Args:
        program: makes what is started.
        events: where a server at a URL tells what is in its prefix cache; None where it does not.
    """

    def build(blueprint: EngineBlueprint[S], parts: EngineParts) -> ServerEngine:
        return _build(blueprint, program(blueprint.settings, parts), parts, seats(blueprint.settings), events)

    return EngineKind(
        name,
        settings,
        build,
        short_name=lambda given: given.model_name,
        seats=seats,
        required=("model",),
        group=group,
        program=program,
        loads=loads,
    )


def _build(
    blueprint: EngineBlueprint[S],
    program: ServerProgram,
    parts: EngineParts,
    seats: int | None,
    events: Callable[[S, str], FeedAddress | None],
) -> ServerEngine:
    settings, spec = blueprint.settings, blueprint.spec

    def connect_to(connected: EngineSpec, served_kinds: ServedKinds, server_seats: int | None) -> OpenAiEngine:
        return connect(
            settings,
            connected,
            parts,
            blueprint.adapters,
            only_model=settings.served_name,
            served_kinds=served_kinds,
            seats=server_seats or seats,
            events=events(settings, connected.url) if connected.url else None,
        )

    async def start_server() -> OwnedServer:
        return await parts.servers.start(
            program,
            settings.kept(),
            engine_id=spec.engine_id,
            name=settings.name or settings.model_name,
            origin=origin_of(spec.labels),
        )

    return ServerEngine(
        spec,
        program,
        connect_to,
        start_server,
        parts.servers,
        parts.clock,
        max_failures=parts.servers.settings.max_failures,
        adopted=blueprint.server,
    )
