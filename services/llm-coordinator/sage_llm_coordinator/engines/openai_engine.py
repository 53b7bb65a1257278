"""Engine ``openai``: any OpenAI-compatible server. Bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from sage_common.errors import InvalidRequestError, UnavailableError
from sage_control_plane.request.engine_state import EngineLoad, EnginePhase, EngineSpec, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind
from sage_llm_coordinator.engines.known_servers import CONTINUING_SERVERS
from sage_llm_coordinator.engines.load_watch import LoadWatch
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.upstream_proxy import UpstreamProxy
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.upstream.health_watch import HealthWatch
from sage_mesh.upstream.upstream import LLM_KINDS, NotServingError, Upstream

# The list of models is read again after so many health checks: adapters come and go.
CHECKS_BETWEEN_DISCOVERIES: Final = 15
_CONTINUATION = b'"continue_final_message":true'
# What is passed on, if one of the server's models is for it.
PASSED_ON: Final[dict[Endpoint, RequestKind]] = {
    Endpoint.CHAT_COMPLETIONS: RequestKind.LLM_CHAT,
    Endpoint.COMPLETIONS: RequestKind.LLM_GENERATE,
    Endpoint.EMBEDDINGS: RequestKind.EMBEDDING,
}


class OpenAiEngine:
    """Passes requests through to a server and keeps an eye on it.

    Args:
        spec: what is known beforehand; models found at the server replace the spec's, unless ``only_model`` is set.
        upstream: the server.
        only_model: serve this one of the server's models; it counts as served before the server has answered.
        aliases: further names for the first model.
        check_seconds: between health checks.
        kinds: what its models are for, asked when they are discovered; empty goes by the server's list.
        continues_chats: whether the server takes up an assistant's unfinished message; None goes by its models' owner.
        load_watch: knows the server's load; None leaves it unknown.
        adapters: what the server is to have loaded; None for nothing yet. They are loaded again when it was away.
    """

    def __init__(
        self,
        spec: EngineSpec,
        upstream: Upstream,
        *,
        only_model: str = "",
        aliases: tuple[str, ...] = (),
        check_seconds: float = 2.0,
        continues_chats: bool | None = None,
        kinds: Callable[[], frozenset[RequestKind]] = frozenset,
        load_watch: LoadWatch | None = None,
        adapters: WantedAdapters | None = None,
    ) -> None:
        self._upstream = upstream
        self._only_model = only_model
        self._aliases = aliases
        self._continues_chats = continues_chats
        self._kinds = kinds
        self._load_watch = load_watch
        # vLLM listens only once its model is loaded, and so do its like.
        self._watch = HealthWatch(
            lambda: self._spec, upstream.root, self._look, check_seconds, silent_while_loading=True
        )
        self._wanted = WantedAdapters() if adapters is None else adapters
        self._lora = LoraAdapters(spec.engine_id, upstream, self._discover, self._wanted)
        self._passage = UpstreamProxy(spec.engine_id, upstream, self._watch.check_soon)
        given = ModelCard(name=only_model, kinds=kinds() or LLM_KINDS, aliases=aliases)
        # Requests for an adapter wait while the server starts, as those for the model do.
        adapted = tuple(replace(given, name=one.name, aliases=(), parent=only_model) for one in self._wanted.all)
        self._spec = replace(spec, models=(given, *adapted)) if only_model else spec

    @property
    def spec(self) -> EngineSpec:
        tokens = self._load_watch.cache_tokens if self._load_watch else 0
        if tokens and self._spec.max_outstanding_tokens != tokens:
            self._spec = replace(self._spec, max_outstanding_tokens=tokens)
        return self._spec

    @property
    def load(self) -> EngineLoad | None:
        return self._load_watch.load if self._load_watch else None

    @property
    def lora(self) -> LoraAdapters | None:
        """Loads and unloads adapters."""
        return self._lora

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
        await self._watch.start()

    async def stop(self) -> None:
        if self._load_watch is not None:
            await self._load_watch.stop()
        await self._watch.stop()
        await self._upstream.close()

    async def run(self, job: EngineRequest, reply: ReplyWriter) -> None:
        """Pass one request through.

        Raises:
            SageError: see ``upstream_errors``; EngineFailedError for a server that cannot be reached, falls silent,
                answers with something else than the API's media, or breaks off.
        """
        if not self._serves(job.endpoint):
            raise InvalidRequestError(f"engine {self._spec.engine_id!r} does not serve {job.endpoint.path}")
        continued = job.attempt.submission > 1 and _CONTINUATION in job.body
        if continued and not self._continues(job):
            raise UnavailableError(
                f"engine {self._spec.engine_id!r} may not continue an answer that another engine began; if its server "
                "knows continue_final_message, set the engine's continues_chats",
                code="engine_cannot_continue",
                retryable=True,
            )
        await self._passage.run(job, reply, self._spec.card(job.model), continuable=self._continues(job))

    def _serves(self, endpoint: Endpoint) -> bool:
        kind = PASSED_ON.get(endpoint)
        return kind is not None and any(kind in card.kinds for card in self._spec.models)

    def _continues(self, job: EngineRequest) -> bool:
        """Whether the server goes on with an answer whose start is given; to a completion's prompt any does."""
        if job.endpoint is Endpoint.COMPLETIONS:
            return True
        if self._continues_chats is not None:
            return self._continues_chats
        return self._owner(job.model) in CONTINUING_SERVERS

    def _owner(self, model: str) -> str:
        return next((card.owned_by for card in self._spec.models if card.name == model), "")

    async def _look(self, passed: int) -> None:
        await self._upstream.check()
        if passed % CHECKS_BETWEEN_DISCOVERIES == 0:
            await self._discover()
        if passed == 0:
            await self._lora.restore(lambda: {card.name for card in self._spec.models})

    async def _discover(self) -> None:
        try:
            found = await self._upstream.models()
        except NotServingError as problem:
            if self._only_model and problem.no_such_path:
                return  # without a list, the model is taken at the operator's word
            raise
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
