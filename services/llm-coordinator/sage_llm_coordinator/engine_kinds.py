"""The kinds of engine: one entry each. A new kind is its own file and an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from sage_common.clock import Clock
from sage_common.config import nearest
from sage_common.errors import ConfigurationError, InvalidRequestError
from sage_control_plane.request.engine_state import EngineLoad, EngineSpec
from sage_llm_coordinator.config import EngineSettings, LlmCoordinatorSettings
from sage_llm_coordinator.engines import extractive_engine
from sage_llm_coordinator.engines.extractive_engine import ExtractiveEngine
from sage_llm_coordinator.engines.load_watch import LoadWatch
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_llm_coordinator.engines.sentence_embedder import SentenceEmbedder
from sage_llm_coordinator.engines.vllm_engine import ToldKinds, VllmEngine
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.origin import origin_of
from sage_llm_coordinator.servers.servers import HeldServer, Servers
from sage_llm_coordinator.servers.vllm_command import VllmCommand
from sage_llm_coordinator.servers.vllm_options import read_options
from sage_mesh.engine import Engine
from sage_mesh.upstream.upstream import KIND_NAMES, Upstream, UpstreamTimeouts

# vLLM's own default on most machines.
SERVER_CONCURRENCY: Final = 256


@dataclass(frozen=True, slots=True)
class EngineParts:
    """What engines are built from, beside their own settings."""

    settings: LlmCoordinatorSettings
    embedder: SentenceEmbedder
    clock: Clock
    servers: Servers


class LlmEngine(Engine, Protocol):
    """An engine that may know its server's load, and have it load adapters."""

    @property
    def load(self) -> EngineLoad | None:
        """What the server says of its load; None where it does not, or has not of late."""
        ...

    @property
    def lora(self) -> LoraAdapters | None:
        """Loads and unloads adapters; None for a kind of engine that has none."""
        ...


@dataclass(frozen=True, slots=True)
class EngineKind:
    """How to build engines of one kind.

    Attributes:
        build: makes one with these adapters; of a kind that starts servers, with a server that runs already if one is
            given.
        short_name: a name for people, from the settings.
        max_concurrency: requests outstanding at once, where the setting of that name does not say.
        required: settings that must be given.
        starts_server: whether its server is a process that SAGE starts.
    """

    build: Callable[[EngineSettings, EngineSpec, EngineParts, WantedAdapters, HeldServer | None], LlmEngine]
    short_name: Callable[[EngineSettings], str]
    max_concurrency: Callable[[EngineSettings], int]
    required: tuple[str, ...] = ()
    starts_server: bool = False


def engine_kind(settings: EngineSettings) -> EngineKind:
    """Return the kind that ``settings`` ask for.

    Raises:
        ConfigurationError: no such kind, or a setting that it needs is missing.
    """
    kind = KINDS.get(settings.kind)
    if kind is None:
        raise ConfigurationError(f"unknown engine kind {settings.kind!r}{nearest(settings.kind, list(KINDS))}")
    for name in kind.required:
        if not getattr(settings, name):
            raise ConfigurationError(f"an engine of kind {settings.kind!r} needs the setting {name!r}")
    return kind


def _openai(
    settings: EngineSettings, spec: EngineSpec, parts: EngineParts, adapters: WantedAdapters, _held: HeldServer | None
) -> LlmEngine:
    return _client(settings, spec, parts, adapters, only_model=settings.model)


def _client(
    settings: EngineSettings,
    spec: EngineSpec,
    parts: EngineParts,
    adapters: WantedAdapters,
    *,
    only_model: str,
    told_kinds: ToldKinds = frozenset,
) -> OpenAiEngine:
    kinds = frozenset(KIND_NAMES[name] for name in settings.kinds)
    seconds = parts.settings
    upstream = Upstream(
        spec.url,
        api_key=settings.api_key.get_secret_value(),
        max_concurrency=spec.max_concurrency,
        timeouts=UpstreamTimeouts(
            connect=seconds.connect_timeout_seconds,
            read=seconds.read_timeout_seconds,
            health=seconds.health_timeout_seconds,
        ),
    )
    return OpenAiEngine(
        spec,
        upstream,
        only_model=only_model,
        aliases=settings.aliases,
        check_seconds=seconds.health_interval_seconds,
        continues_chats=settings.continues_chats,
        kinds=lambda: kinds or told_kinds(),
        load_watch=LoadWatch(upstream, parts.clock, seconds.metrics_interval_seconds),
        adapters=adapters,
    )


def _extractive(
    settings: EngineSettings, spec: EngineSpec, parts: EngineParts, _adapters: WantedAdapters, _held: HeldServer | None
) -> LlmEngine:
    return ExtractiveEngine(spec, parts.embedder, max_sentences=parts.settings.max_sentences, aliases=settings.aliases)


def _vllm(
    settings: EngineSettings, spec: EngineSpec, parts: EngineParts, adapters: WantedAdapters, held: HeldServer | None
) -> LlmEngine:
    served = settings.served_model_name or _last_segment(settings.model)
    name = settings.name or _model_name(settings)
    command = VllmCommand(
        model=settings.model,
        served_model_name=served,
        python=parts.settings.vllm_python,
        arguments=settings.arguments,
        environment=settings.environment,
    )

    def connect(connected: EngineSpec, told_kinds: ToldKinds) -> OpenAiEngine:
        return _client(settings, connected, parts, adapters, only_model=served, told_kinds=told_kinds)

    async def start_server() -> HeldServer:
        return await parts.servers.start(
            settings, command, engine_id=spec.engine_id, name=name, origin=origin_of(spec.labels)
        )

    return VllmEngine(
        spec,
        connect,
        start_server,
        parts.servers,
        parts.clock,
        max_failures=parts.settings.vllm_max_failures,
        adopted=held,
    )


def _vllm_concurrency(settings: EngineSettings) -> int:
    """As many as vLLM itself computes at once: what it would only queue waits better where it can go to any engine."""
    try:
        asked = read_options(settings.arguments, settings.environment).max_num_seqs
    except InvalidRequestError:
        asked = 0  # the start of its server fails and says what is wrong
    return asked or SERVER_CONCURRENCY


def _url_name(settings: EngineSettings) -> str:
    parts = urlsplit(settings.url)
    return f"{parts.hostname}-{parts.port}" if parts.port else f"{parts.hostname}"


def _model_name(settings: EngineSettings) -> str:
    return _last_segment(settings.model)


def _last_segment(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


KINDS: Final[dict[str, EngineKind]] = {
    "openai": EngineKind(_openai, _url_name, lambda _: SERVER_CONCURRENCY, required=("url",)),
    "extractive": EngineKind(_extractive, lambda _: extractive_engine.MODEL, lambda _: 32),
    "vllm": EngineKind(_vllm, _model_name, _vllm_concurrency, required=("model",), starts_server=True),
}
