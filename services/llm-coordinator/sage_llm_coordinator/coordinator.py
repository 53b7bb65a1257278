"""The coordinator: owns the engines, whether they came from the settings or over gRPC."""

from __future__ import annotations

from dataclasses import dataclass

from sage_common.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError, UnprocessableError
from sage_common.logging import get_logger
from sage_control_plane.request.catalog import ANY_MODEL
from sage_control_plane.request.engine_state import NAME_LABEL, EnginePhase, EngineSpec, EngineState
from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.adapter_records import AdapterRecords
from sage_llm_coordinator.engines.engine_kind import EngineBlueprint, EngineParts, EngineSettings, LlmEngine
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.registry import engine_kind
from sage_llm_coordinator.engines.wanted_adapters import WantedAdapters
from sage_llm_coordinator.orders import Orders
from sage_llm_coordinator.origin import labels_of
from sage_llm_coordinator.servers.servers import OwnedServer
from sage_mesh.engine import Engine
from sage_mesh.engine_capacity import with_capacity
from sage_mesh.executor.executor import Executor

log = get_logger(__name__)

ID_TAIL_CHARACTERS = 4


@dataclass(frozen=True, slots=True)
class _Built:
    """An engine, and what restarts it.

    Attributes:
        origin: who wants it, see ``origin``.
    """

    engine: LlmEngine
    settings: EngineSettings
    origin: str
    adapters: WantedAdapters


class ExecutionCoordinator:
    """Builds engines from settings and hosts them on the ring.

    Args:
        executor: hosts them.
        parts: what they are built from.
        adapter_records: the adapters that they had loaded before.
        instance_id: its tail makes engine ids unique to this run of the process.

    Attributes:
        orders: carries out what must not be left half done.
    """

    def __init__(
        self, executor: Executor, parts: EngineParts, adapter_records: AdapterRecords, instance_id: str
    ) -> None:
        self._executor = executor
        self._parts = parts
        self._adapter_records = adapter_records
        self.orders = Orders()
        self._leaving: set[str] = set()
        self._ids: set[str] = set()
        self._built: dict[str, _Built] = {}
        self._tail = instance_id[-ID_TAIL_CHARACTERS:]

    def states(self) -> list[EngineState]:
        """Return the state of every engine, as heartbeats send it."""
        return self._executor.states()

    def state(self, engine_id: str) -> EngineState:
        """Return the state of one engine. Raises NotFoundError."""
        for state in self.states():
            if state.spec.engine_id == engine_id:
                return state
        raise self._unknown(engine_id)

    def engine_id(self, name: str) -> str:
        """Return the id that an engine of this name has in this process."""
        return f"{name}-{self._tail}"

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines by id."""
        return self._executor.engines

    async def add(
        self,
        settings: EngineSettings,
        *,
        origin: str = "",
        name: str = "",
        server: OwnedServer | None = None,
        adapters: WantedAdapters | None = None,
    ) -> EngineState:
        """Build an engine and begin to start it; its phase says how far it is.

        Args:
            origin: who wants it, see ``origin``.
            name: where the settings have none.
            server: one that runs already, to build it on.
            adapters: what its server is to load; None for what an engine of this origin had loaded last.

        Raises:
            ConfigurationError: settings that make no engine.
        """
        kind = engine_kind(settings)
        name = settings.name or name or kind.short_name(settings)
        # Whatever restarts it, here or on another coordinator, has these settings alone.
        settings = settings.model_copy(update={"name": name})
        spec = EngineSpec(
            engine_id=self._free_id(name),
            implementation=settings.kind,
            models=(),
            pool=settings.pool,
            url=settings.server_url,
            labels=(*labels_of(origin), (NAME_LABEL, name)),
        )
        spec = with_capacity(spec, ceiling=settings.max_concurrency or None, told=kind.seats(settings))
        if adapters is None:
            adapters = WantedAdapters(await self._adapter_records.read(origin, settings.server_model))
        engine = kind.build(EngineBlueprint(settings, spec, adapters, server), self._parts)
        self._built[spec.engine_id] = _Built(engine, settings, origin, adapters)
        log.info(
            "engine added",
            engine=spec.engine_id,
            kind=settings.kind,
            url=settings.server_url,
            model=settings.server_model,
        )
        await self._executor.host(engine, lambda: engine.load)
        self._executor.beat()
        return self.state(spec.engine_id)

    async def check_room(self, settings: EngineSettings) -> None:
        """Refuse an engine that this machine has no room for. Raises UnprocessableError, InvalidRequestError."""
        program = engine_kind(settings).program
        if program is not None:
            await self._parts.servers.place(program(settings, self._parts))

    async def remove(self, engine_id: str, *, drain: bool, timeout_seconds: float) -> int:
        """Remove an engine; return how many of its requests were aborted.

        Raises:
            NotFoundError: no such engine here.
            ConflictError: it is being removed already.
        """
        self.state(engine_id)
        if engine_id in self._leaving:
            raise ConflictError(f"engine {engine_id!r} is being removed already", code="engine_leaving")
        self._leaving.add(engine_id)
        try:
            aborted = await self._executor.remove(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        finally:
            self._leaving.discard(engine_id)
        del self._built[engine_id]
        log.info("engine removed", engine=engine_id, aborted=aborted)
        return aborted

    async def restart(self, engine_id: str, *, drain: bool, timeout_seconds: float) -> tuple[EngineState, int]:
        """Stop an engine and start it again; return its state, with a new id, and how many requests were aborted.

        Raises:
            NotFoundError: no such engine here.
            ConflictError: it is being removed.
        """
        self.state(engine_id)
        was = self._built[engine_id]
        aborted = await self.remove(engine_id, drain=drain, timeout_seconds=timeout_seconds)
        return await self.add(was.settings, origin=was.origin, adapters=was.adapters), aborted

    async def load_lora(self, engine_id: str, name: str, path: str) -> EngineState:
        """Have an engine's server load an adapter; return the engine's state with it.

        Raises as ``LoraAdapters.load``, and:
            UnavailableError: the engine is not ready; it may be soon.
        """
        adapters = self._adapters(engine_id)
        try:
            await adapters.load(name, path)
        finally:
            await self._keep_adapters(engine_id)
        return self.state(engine_id)

    async def unload_lora(self, engine_id: str, name: str) -> EngineState:
        """Have an engine's server unload an adapter; return the engine's state without it.

        Raises as ``LoraAdapters.unload``, and:
            UnavailableError: the engine is not ready; it may be soon.
        """
        adapters = self._adapters(engine_id)
        try:
            await adapters.unload(name)
        finally:
            await self._keep_adapters(engine_id)
        return self.state(engine_id)

    async def forget_adapters(self, origin: str) -> None:
        """Delete the record of the adapters of this origin. Raises nats' Error or asyncio.TimeoutError."""
        await self._adapter_records.forget(origin)

    def _adapters(self, engine_id: str) -> LoraAdapters:
        state = self.state(engine_id)
        adapters = self._built[engine_id].engine.lora
        if adapters is None:
            raise UnprocessableError(
                f"engine {engine_id!r} is of the kind {state.spec.implementation!r}, which loads no adapters",
                code="adapters_not_allowed",
            )
        if state.phase not in (EnginePhase.READY, EnginePhase.DRAINING):
            raise _not_ready(state)
        return adapters

    async def _keep_adapters(self, engine_id: str) -> None:
        built = self._built.get(engine_id)
        if built is None:
            return
        self._executor.beat()
        await self._adapter_records.write(built.origin, built.settings.server_model, built.adapters.all)

    def choose(self, model: str, kind: RequestKind) -> tuple[Engine, str]:
        """Return the least busy ready engine for a direct call, and the model's own name.

        Raises:
            NotFoundError: no engine here has the model.
            InvalidRequestError: no model was named and there are several.
            UnavailableError: none of the engines that have it is ready.
        """
        able = [
            (state, card)
            for state in self.states()
            for card in state.spec.models
            if kind in card.kinds and (model in card.names or model in ANY_MODEL)
        ]
        names = sorted({card.name for _, card in able})
        if not able:
            raise self._no_model(model)
        if model in ANY_MODEL and len(names) > 1:
            raise InvalidRequestError(f"name a model; this coordinator has {', '.join(names)}", param="model")
        ready = [(state, card) for state, card in able if state.phase is EnginePhase.READY]
        if not ready:
            raise _not_ready(able[0][0])
        state, card = min(ready, key=lambda pair: len(pair[0].running))
        return self._executor.engines[state.spec.engine_id], card.name

    def _free_id(self, name: str) -> str:
        """Return an id that no engine of this process has had: an order for an earlier one must not reach this."""
        number = 1
        engine_id = self.engine_id(name)
        while engine_id in self._ids:
            number += 1
            engine_id = self.engine_id(f"{name}-{number}")
        self._ids.add(engine_id)
        return engine_id

    def _unknown(self, engine_id: str) -> NotFoundError:
        known = ", ".join(sorted(self._executor.engines)) or "none"
        return NotFoundError(f"no engine {engine_id!r} on this coordinator; it has: {known}", code="engine_not_found")

    def _no_model(self, model: str) -> NotFoundError | UnavailableError:
        known = sorted({card.name for state in self.states() for card in state.spec.models})
        if not known:
            return UnavailableError(
                "no engine of this coordinator has a model yet; ListEngines says what they wait for",
                code="no_engine",
                retry_after_seconds=1,
                retryable=True,
            )
        return NotFoundError(
            f"the model {model!r} is not on this coordinator; it has: {', '.join(known)}",
            code="model_not_found",
            param="model",
        )


def _not_ready(state: EngineState) -> UnavailableError:
    return UnavailableError(
        f"engine {state.spec.engine_id!r} is {state.phase.name.lower()}: {state.reason}",
        code="engine_not_ready",
        retry_after_seconds=1,
        retryable=True,
    )
