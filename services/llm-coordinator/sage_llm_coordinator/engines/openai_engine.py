"""Engine ``openai``: any OpenAI-compatible server. Also the client of the servers that SAGE starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sage_common.errors import InvalidRequestError, UnavailableError
from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineSpec, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineKind, EngineParts, FollowsCache
from sage_llm_coordinator.engines.known_servers import CONTINUING_SERVERS
from sage_llm_coordinator.engines.load_watch import LoadWatch
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.upstream_proxy import UpstreamProxy
from sage_llm_coordinator.engines.upstream_settings import (
    SILENCE_SECONDS,
    OpenAiEngineSettings,
    OpenAiSettings,
    UpstreamEngineSettings,
)
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.kv_cache.kv_events import FeedAddress
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.upstream.capacity_probe import CapacityProbe, with_tokens
from sage_mesh.upstream.health_watch import HealthWatch
from sage_mesh.upstream.model_list import KIND_NAMES, LLM_KINDS, card_of_name
from sage_mesh.upstream.token_client import TokenClient
from sage_mesh.upstream.upstream import HEALTH_PATH, MANY_CONNECTIONS, NotServingError, Upstream, UpstreamTimeouts

# Health checks after which the list of models is read again: adapters come and go.
CHECKS_BETWEEN_DISCOVERIES: Final = 15
_CONTINUATION = b'"continue_final_message":true'
# What is passed on, if one of the server's models is for it.
PASSED_ON: Final[dict[Endpoint, RequestKind]] = {
    Endpoint.CHAT_COMPLETIONS: RequestKind.LLM_CHAT,
    Endpoint.COMPLETIONS: RequestKind.LLM_GENERATE,
    Endpoint.EMBEDDINGS: RequestKind.EMBEDDING,
}
# The work that a server says its models do; empty while it is unknown.
ServedKinds = Callable[[], frozenset[RequestKind]]


class OpenAiEngine:
    """Passes requests through to a server and watches its health and its load.

    Args:
        spec: what is known beforehand; models found at the server replace the spec's, unless ``only_model`` is set.
        upstream: the server.
        only_model: serve this one of the server's models; it counts as served before the server has answered.
        given_models: serve these, whether the server lists them or not; empty goes by its list.
        aliases: further names for the first model.
        check_seconds: between health checks.
        kinds: what its models are for, asked when they are discovered; empty goes by the server's list.
        continues_chats: whether the server takes up an assistant's unfinished message; None goes by its models' owner.
        load_watch: knows the server's load; None leaves it unknown.
        capacity: finds out what the server takes; None leaves it at what the spec says.
        silence_seconds: longest silence within a stream that has begun.
        adapters: what the server is to have loaded; None for nothing yet. They are loaded again when it was away.
        cache: follows the server's prefix cache; None where it does not tell what is in it.
    """

    def __init__(
        self,
        spec: EngineSpec,
        upstream: Upstream,
        *,
        only_model: str = "",
        given_models: tuple[str, ...] = (),
        aliases: tuple[str, ...] = (),
        check_seconds: float = 2.0,
        continues_chats: bool | None = None,
        kinds: Callable[[], frozenset[RequestKind]] = frozenset,
        load_watch: LoadWatch | None = None,
        capacity: CapacityProbe | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        adapters: WantedAdapters | None = None,
        cache: FollowsCache | None = None,
    ) -> None:
        self._upstream = upstream
        self._cache = cache
        self._only_model = only_model
        self._given_models = given_models
        self._aliases = aliases
        self._continues_chats = continues_chats
        self._kinds = kinds
        self._load_watch = load_watch
        self._capacity = capacity
        # vLLM and servers like it listen only once their model is loaded, or answer 503 till then.
        self._watch = HealthWatch(
            lambda: self._spec,
            upstream.root,
            self._check,
            check_seconds,
            silent_while_loading=True,
            on_missed=lambda missed: self._proxy.on_missed_check(missed),
        )
        self._wanted = WantedAdapters() if adapters is None else adapters
        self._lora = LoraAdapters(spec.engine_id, upstream, self._discover, self._wanted)
        self._proxy = UpstreamProxy(
            spec.engine_id, upstream, self._watch.check_soon, self._lists, silence_seconds, cache
        )
        given = ModelCard(name=only_model, kinds=kinds() or LLM_KINDS, aliases=aliases)
        # Requests for an adapter wait while the server starts, as those for the model do.
        adapted = tuple(replace(given, name=one.name, aliases=(), parent=only_model) for one in self._wanted.all)
        self._spec = replace(spec, models=(given, *adapted)) if only_model else spec

    @property
    def spec(self) -> EngineSpec:
        tokens = self._load_watch.cache_tokens if self._load_watch else None
        if tokens is None and self._capacity is not None:
            tokens = self._capacity.tokens
        self._spec = with_tokens(self._spec, tokens)
        return self._spec

    @property
    def load(self) -> EngineLoad | None:
        return self._load_watch.load if self._load_watch else None

    @property
    def lora(self) -> LoraAdapters | None:
        """Loads and unloads adapters."""
        return self._lora

    @property
    def token_source(self) -> TokenClient | None:
        """The server's tokenizer; None while the server does not answer."""
        if self.phase is not EnginePhase.READY:
            return None
        context_tokens = max((card.max_context_tokens for card in self._spec.models), default=0)
        return TokenClient(self._spec.engine_id, self._upstream, context_tokens)

    @property
    def phase(self) -> EnginePhase:
        return self._watch.phase

    @property
    def reason(self) -> str:
        return self._watch.reason or self._wanted.fault

    async def start(self) -> None:
        """Watch the server from now on; return when it has answered for the first time."""
        self._upstream.open()
        if self._load_watch is not None:
            self._load_watch.start()
        if self._cache is not None:
            self._cache.start()
        await self._watch.start()

    async def stop(self) -> None:
        if self._load_watch is not None:
            await self._load_watch.stop()
        if self._cache is not None:
            await self._cache.stop()
        await self._watch.stop()
        await self._upstream.close()

    async def run(self, request: EngineRequest, reply: ReplyWriter) -> None:
        """Pass one request through.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached, falls silent,
                answers with something else than the API's media, or breaks off.
        """
        if not self._serves(request.endpoint):
            raise InvalidRequestError(f"engine {self._spec.engine_id!r} does not serve {request.endpoint.path}")
        continued = request.attempt.submission > 1 and _CONTINUATION in request.body
        if continued and not self._continues(request):
            raise UnavailableError(
                f"engine {self._spec.engine_id!r} may not continue an answer that another engine began; if its server "
                "knows continue_final_message, set the engine's continues_chats",
                code="engine_cannot_continue",
                retryable=True,
            )
        await self._proxy.run(request, reply, self._spec.card(request.model), continuable=self._continues(request))

    def _serves(self, endpoint: Endpoint) -> bool:
        kind = PASSED_ON.get(endpoint)
        return kind is not None and any(kind in card.kinds for card in self._spec.models)

    def _continues(self, request: EngineRequest) -> bool:
        """Whether the server continues an answer whose start it is given; any continues a completion's prompt."""
        if request.endpoint is Endpoint.COMPLETIONS:
            return True
        if self._continues_chats is not None:
            return self._continues_chats
        return self._owner(request.model) in CONTINUING_SERVERS

    def _owner(self, model: str) -> str:
        return next((card.owned_by for card in self._spec.models if card.name == model), "")

    async def _lists(self, model: str) -> bool:
        """Read the server's list of models again; return whether it has this one."""
        try:
            await self._discover()
        except NotServingError:
            self._watch.check_soon()
            return False
        return self._spec.card(model) is not None

    async def _check(self, passed: int) -> None:
        await self._upstream.check()
        if passed % CHECKS_BETWEEN_DISCOVERIES == 0:
            await self._discover()
            if self._capacity is not None:
                await self._capacity.ask(again=passed == 0)
                self._spec = self._capacity.apply(self._spec)
        if passed == 0:
            await self._lora.restore(lambda: {card.name for card in self._spec.models})

    async def _discover(self) -> None:
        try:
            found = await self._upstream.models()
        except NotServingError as problem:
            # A status of 200 is that of a page that is no list.
            if self._given_models and (problem.no_such_path or problem.status == 200):
                found = ()
            elif self._only_model and problem.no_such_path:
                return  # without a list, the model is taken at the operator's word
            else:
                raise
        if self._given_models:
            listed = {card.name: card for card in found}
            found = tuple(listed.get(name) or card_of_name(name) for name in self._given_models)
        if self._only_model:
            # Adapters of the one model are models of the engine, too.
            found = tuple(card for card in found if self._only_model in (card.name, card.parent))
            found = tuple(sorted(found, key=lambda card: card.name != self._only_model))
        if not found or (self._only_model and found[0].name != self._only_model):
            what = f"has no model {self._only_model!r}" if self._only_model else "lists no model"
            raise NotServingError(f"{self._upstream.root} {what}", status=200)
        found = (replace(found[0], aliases=self._aliases), *found[1:])
        if kinds := self._kinds():
            found = tuple(replace(card, kinds=kinds) for card in found)
        if found != self._spec.models:
            self._spec = replace(self._spec, models=found)


def connect(
    settings: UpstreamEngineSettings,
    spec: EngineSpec,
    parts: EngineParts,
    adapters: WantedAdapters,
    *,
    only_model: str,
    served_kinds: ServedKinds = frozenset,
    given_models: tuple[str, ...] = (),
    health_path: str | None = HEALTH_PATH,
    seats: int | None = None,
    events: FeedAddress | None = None,
) -> OpenAiEngine:
    """Return the engine for the server at the spec's URL.

    Args:
        served_kinds: what its models are for, where the settings do not say.
        given_models: those that are served whether the server lists them or not.
        health_path: see ``Upstream``; that of the servers that SAGE starts is known.
        seats: requests that the server computes at once by its arguments; None where they are not known.
        events: where it tells what is in its prefix cache; None where it does not.
    """
    kinds = frozenset(KIND_NAMES[name] for name in settings.kinds)
    seconds: OpenAiSettings = parts.of_kinds.openai
    upstream = Upstream(
        spec.url,
        api_key=settings.api_key.get_secret_value(),
        max_concurrency=settings.max_concurrency or MANY_CONNECTIONS,
        timeouts=UpstreamTimeouts(
            connect=seconds.connect_timeout_seconds,
            read=seconds.read_timeout_seconds,
            health=seconds.health_timeout_seconds,
        ),
        health_path=health_path,
    )
    return OpenAiEngine(
        spec,
        upstream,
        only_model=only_model,
        given_models=given_models,
        aliases=settings.aliases,
        check_seconds=seconds.health_interval_seconds,
        continues_chats=settings.continues_chats,
        kinds=lambda: kinds or served_kinds(),
        load_watch=LoadWatch(upstream, parts.clock, seconds.metrics_interval_seconds),
        capacity=CapacityProbe(upstream, ceiling=settings.max_concurrency or None, seats=seats),
        silence_seconds=seconds.stream_silence_seconds,
        adapters=adapters,
        cache=parts.watch_cache(spec, events) if events is not None else None,
    )


def _build(blueprint: EngineBlueprint[OpenAiEngineSettings], parts: EngineParts) -> OpenAiEngine:
    settings = blueprint.settings
    return connect(
        settings,
        blueprint.spec,
        parts,
        blueprint.adapters,
        only_model=settings.model,
        given_models=settings.models,
        health_path=settings.health_path,
        events=FeedAddress(settings.kv_events, settings.kv_events_replay) if settings.kv_events else None,
    )


OPENAI = EngineKind(
    "openai",
    OpenAiEngineSettings,
    _build,
    short_name=lambda settings: settings.short_name,
    required=("url",),
    group=OpenAiSettings,
)
