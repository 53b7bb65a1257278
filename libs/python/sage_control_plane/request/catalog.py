"""The models of the mesh, as its engines register them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sage_common.errors import InvalidRequestError, NotFoundError, SageError, UnavailableError
from sage_common.name_list import shown_names
from sage_control_plane.request.engine_state import EnginePhase, EngineState, ModelCard
from sage_control_plane.request.request import Endpoint, RequestKind

KIND_OF_ENDPOINT = {
    Endpoint.CHAT_COMPLETIONS: RequestKind.LLM_CHAT,
    Endpoint.COMPLETIONS: RequestKind.LLM_GENERATE,
    Endpoint.EMBEDDINGS: RequestKind.EMBEDDING,
    Endpoint.RERANK: RequestKind.RERANK,
}
ENDPOINT_OF_KIND = {kind: endpoint for endpoint, kind in KIND_OF_ENDPOINT.items()}

MAX_SHOWN_NAME = 200
# A kind of engine that quotes its prompt and generates nothing.
_QUOTING = "extractive"
# Names that leave the choice of the model to SAGE.
ANY_MODEL = ("", "default", "auto")


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """A model, the pools that serve it, and every kind of work that some engine does with it.

    Attributes:
        pools: names of the pools with an engine of it, sorted.
        ready_kinds: the work that an engine could do with it now.
        generates: whether an engine of it writes text of its own, and does not only quote its prompt.
        failures: why its engines were given up, one each; None where some engine may still serve it.
    """

    card: ModelCard
    pools: tuple[str, ...]
    kinds: frozenset[RequestKind]
    ready_kinds: frozenset[RequestKind] = frozenset()
    generates: bool = False
    failures: tuple[str, ...] | None = None

    @property
    def pool(self) -> str:
        """The pool that serves it, or the first of several."""
        return self.pools[0]


class ModelCatalog:
    """The models of a set of engines. Stopped engines do not count; those that are not ready do, since work may wait.

    Where engines of several pools serve a model, each request goes to one of them (``sage_mesh.pool_choice``).
    """

    def __init__(self, engines: Iterable[EngineState] = ()) -> None:
        self._entries: dict[str, CatalogEntry] = {}
        self._names: dict[str, str] = {}
        live = [engine for engine in engines if engine.phase is not EnginePhase.STOPPED]
        for engine in sorted(live, key=lambda e: (e.spec.pool, e.spec.engine_id)):
            for card in engine.spec.models:
                self._add(card, engine)

    def _add(self, card: ModelCard, engine: EngineState) -> None:
        entry = self._entries.get(card.name)
        if entry is None:
            entry = CatalogEntry(card, (engine.spec.pool,), card.kinds, failures=())
        ready = card.kinds if engine.phase is EnginePhase.READY else frozenset()
        lost = (f"{engine.spec.name}: {engine.why}",)
        self._entries[card.name] = replace(
            entry,
            pools=entry.pools if engine.spec.pool == entry.pools[-1] else (*entry.pools, engine.spec.pool),
            kinds=entry.kinds | card.kinds,
            ready_kinds=entry.ready_kinds | ready,
            generates=entry.generates or engine.spec.implementation != _QUOTING,
            failures=(*entry.failures, *lost) if engine.given_up and entry.failures is not None else None,
        )
        for name in card.names:
            self._names.setdefault(name, card.name)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def entries(self) -> list[CatalogEntry]:
        """Every model, sorted by name."""
        return [self._entries[name] for name in sorted(self._entries)]

    def pools_of(self, model: str) -> tuple[str, ...]:
        """Return the pools that serve the model of this name, an alias or not; none where no engine knows it."""
        name = self._names.get(model)
        return () if name is None else self._entries[name].pools

    def resolve(self, model: str, endpoint: Endpoint) -> CatalogEntry:
        """Return the entry that serves ``model`` at ``endpoint``.

        Raises:
            NotFoundError: no engine knows the model.
            InvalidRequestError: the model cannot do this; the error names the right endpoint.
            UnavailableError: no model was named and none can do this, or every engine of the model was given up.
        """
        kind = KIND_OF_ENDPOINT[endpoint]
        if model in ANY_MODEL and model not in self._names:
            return self._any(kind, endpoint)
        name = self._names.get(model)
        if name is None:
            raise self._unknown(model)
        entry = self._entries[name]
        if kind not in entry.kinds:
            right = " or ".join(ENDPOINT_OF_KIND[k].path for k in sorted(entry.kinds))
            raise InvalidRequestError(
                f"model {model!r} does not serve {endpoint.path}; use {right}{_if_attached(kind)}",
                code="wrong_endpoint_for_model",
                param="model",
            )
        return _served(entry)

    def _any(self, kind: RequestKind, endpoint: Endpoint) -> CatalogEntry:
        # A model that answers now goes before one that has yet to load, and that before one that never will. Who names
        # no model wants an answer, and none that was adapted to something, unless there is no other.
        able = [entry for entry in self.entries if kind in entry.kinds]
        if able:
            return _served(
                min(
                    able,
                    key=lambda e: (
                        kind not in e.ready_kinds,
                        e.failures is not None,
                        not e.generates,
                        bool(e.card.parent),
                    ),
                )
            )
        raise UnavailableError(
            f"no engine serves {endpoint.path} now; `sage status` shows the engines", code="no_engine"
        )

    def _unknown(self, model: str) -> SageError:
        if not self._entries:
            return UnavailableError(
                "no engine is registered yet; `sage status` shows what is starting",
                code="no_engine",
                retry_after_seconds=1,
            )
        # Comparing takes time quadratic in the length, and a name that long is no typing error.
        close = difflib.get_close_matches(model, list(self._names), n=1) if len(model) <= MAX_SHOWN_NAME else []
        hint = f"did you mean {close[0]!r}?" if close else "known models: " + shown_names(self._entries)
        shown = model if len(model) <= MAX_SHOWN_NAME else model[:MAX_SHOWN_NAME] + "…"
        return NotFoundError(f"the model {shown!r} does not exist; {hint}", code="model_not_found", param="model")


def _if_attached(kind: RequestKind) -> str:
    """Return what an operator can do where the engine is a server whose list does not say what its models are for."""
    if kind is RequestKind.RERANK:
        return ""
    name = {RequestKind.LLM_CHAT: "chat", RequestKind.LLM_GENERATE: "generate"}.get(kind, "embedding")
    return f", or name {name!r} in the setting 'kinds' of an attached engine whose server does serve it"


def _served(entry: CatalogEntry) -> CatalogEntry:
    """Return ``entry``, or raise UnavailableError where no engine of it comes back by itself."""
    if entry.failures is None:
        return entry
    raise given_up(entry.card.name, entry.failures)


def given_up(model: str, failures: Iterable[str]) -> UnavailableError:
    """Return the error for a model whose engines were all given up, for the reasons in ``failures``."""
    return UnavailableError(
        f"the model {model!r} cannot be served: {'; '.join(failures)}; `sage engine logs` shows what the server wrote, "
        "`sage engine restart` tries again",
        code="engine_given_up",
    )
