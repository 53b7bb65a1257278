"""The verbs of operators. Each is a call of the service that answers for it, wherever its instances run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from grpc.aio import Channel

from sage.llm.v1 import llm_pb2, llm_pb2_grpc
from sage.scheduler.v1 import scheduler_pb2, scheduler_pb2_grpc
from sage_client.management.request_list import RequestList
from sage_client.management.service_calls import ListInstances, ServiceCalls
from sage_client.management.translation import engine_of_entry, engine_view, explanation, pool_view
from sage_client.management.views import (
    EngineRegistration,
    EngineRemoval,
    EngineRestart,
    EngineStart,
    EngineView,
    Explanation,
    PolicyChange,
    PolicyInForce,
    PolicySettingView,
    PoolView,
)
from sage_client.wait_notice import OnWait
from sage_common.errors import ConflictError, NotFoundError, UnavailableError, UnprocessableError
from sage_common.name_list import shown_names
from sage_control_plane.request.engine_state import DEFAULT_POOL, NAME_LABEL, REGISTERED_LABEL
from sage_mesh.wire.engines import state_from_wire
from sage_platform.registry import Instance

SCHEDULER = "scheduler"
COORDINATOR = "llm-coordinator"
CALL_SECONDS = 10.0
# To find a model's files and ask for the GPUs' memory.
START_SECONDS = 30.0
# What a removal may take beyond the wait for its requests: the engine's own stop.
STOP_SECONDS = 20.0
# A little longer than a coordinator waits for its engine.
LORA_SECONDS = 70.0
DRAIN_SECONDS = 30.0
MOST_DRAIN_SECONDS = 3600.0


class MeshManagement:
    """Shows and changes the mesh. Every method raises UnavailableError when the service it needs does not answer.

    Attributes:
        requests: the latest requests.

    Args:
        token: API key or mesh token that the services are called with; empty for none. Where they ask for one, every
            method raises UnauthenticatedError for a wrong one and orders PermissionDeniedError for a tenant's.
        on_wait: called with which service a call waits for, when that takes longer than two seconds.
    """

    def __init__(self, list_instances: ListInstances, token: str = "", on_wait: OnWait | None = None) -> None:
        self._calls = ServiceCalls(list_instances, token, on_wait)
        self.requests = RequestList(self._calls)

    async def policy(self, pool: str = "") -> PolicyInForce:
        """Return the policy of a pool; empty for the default one. Raises NotFoundError for a pool that is not known."""
        request = scheduler_pb2.GetPolicyRequest(pool=pool)
        answer: scheduler_pb2.GetPolicyResponse = await self._calls.any(
            SCHEDULER, lambda c: _scheduler(c).GetPolicy(request, timeout=CALL_SECONDS)
        )
        settings = (PolicySettingView(one.name, one.value, one.configured, one.meaning) for one in answer.settings)
        return PolicyInForce(pool or DEFAULT_POOL, answer.policy, tuple(answer.available), tuple(settings))

    async def set_policy(
        self, policy: str, pool: str = "", settings: Mapping[str, float] | None = None
    ) -> PolicyChange:
        """Change the policy of a pool, or of every pool when ``pool`` is empty; queued work is kept.

        Args:
            settings: those of the policy that are to differ from what the schedulers were started with, by name.

        Raises:
            InvalidRequestError: no policy or setting has this name, and the message lists those that exist; or a value
                is out of its range.
            NotFoundError: no pool is called so.
        """
        request = scheduler_pb2.SetPolicyRequest(policy=policy, pool=pool, settings=settings or {})
        answer: scheduler_pb2.SetPolicyResponse = await self._calls.any(
            SCHEDULER, lambda c: _scheduler(c).SetPolicy(request, timeout=CALL_SECONDS)
        )
        return PolicyChange(pool or None, answer.previous, answer.policy)

    async def pools(self) -> list[PoolView]:
        """Return every pool, by name, with the counts of the scheduler that leads it."""
        answers: list[scheduler_pb2.GetStatusResponse] = await self._calls.every(
            SCHEDULER, lambda c: _scheduler(c).GetStatus(scheduler_pb2.GetStatusRequest(), timeout=CALL_SECONDS)
        )
        views: dict[str, PoolView] = {}
        for status in (pool for answer in answers for pool in answer.pools):
            if status.leading or status.pool not in views:
                views[status.pool] = pool_view(status)
        return [views[name] for name in sorted(views)]

    async def engines(self) -> list[EngineView]:
        """Return every engine, by id, with the counts of the scheduler that leads its pool."""
        answers: list[scheduler_pb2.ListEnginesResponse] = await self._calls.every(
            SCHEDULER, lambda c: _scheduler(c).ListEngines(scheduler_pb2.ListEnginesRequest(), timeout=CALL_SECONDS)
        )
        views: dict[str, EngineView] = {}
        for view in (engine_of_entry(entry) for answer in answers for entry in answer.engines):
            # Only the leader of the pool knows the breaker, and decides by its own counts.
            if view.breaker or view.engine_id not in views:
                views[view.engine_id] = view
        return [views[engine_id] for engine_id in sorted(views)]

    async def register_engine(self, registration: EngineRegistration) -> EngineView:
        """Register a server with a coordinator; return the engine, whose phase says how far it is.

        Raises:
            InvalidRequestError: the URL is none.
            ConflictError: an engine of this name is registered.
        """
        request = llm_pb2.RegisterEngineRequest(
            engine_id=registration.engine_id,
            url=registration.url,
            api_key=registration.api_key,
            pool=registration.pool,
            max_concurrency=registration.max_concurrency,
            kinds=registration.kinds,
            aliases=registration.aliases,
            models=registration.models,
            health_path=registration.health_path,
        )
        answered = await self._calls.any(
            COORDINATOR, lambda c: _coordinator(c).RegisterEngine(request, timeout=CALL_SECONDS)
        )
        return engine_view(state_from_wire(answered.engine, ""))

    async def start_engine(self, start: EngineStart) -> EngineView:
        """Start vLLM with a model on a coordinator; return the engine, whose phase and reason say how far it is.

        Raises:
            InvalidRequestError: a field that makes no engine.
            ConflictError: an engine of this name is there.
            UnprocessableError: the machine has no room for it, or not the device.
        """
        request = llm_pb2.StartEngineRequest(
            model=start.model,
            name=start.name,
            served_model_name=start.served_model_name,
            aliases=start.aliases,
            arguments=start.arguments,
            environment=start.environment,
            device=start.device,
            port=start.port,
            pool=start.pool,
            max_concurrency=start.max_concurrency,
            skip_memory_check=not start.memory_check,
            kinds=start.kinds,
        )
        answered: llm_pb2.StartEngineResponse = await self._calls.any(
            COORDINATOR, lambda c: _coordinator(c).StartEngine(request, timeout=START_SECONDS)
        )
        return engine_view(state_from_wire(answered.engine, ""))

    async def restart_engine(
        self, engine_id: str, *, drain: bool = True, timeout_seconds: float = DRAIN_SECONDS
    ) -> EngineRestart:
        """Stop an engine and start it again; with ``drain`` once its requests have ended, or at the time-out.

        Raises:
            NotFoundError, UnprocessableError, ConflictError: as ``remove_engine``.
        """
        owner, engine_id = await self._owner(engine_id)
        request = llm_pb2.RestartEngineRequest(
            engine_id=engine_id, drain=drain, timeout_ms=max(1, int(timeout_seconds * 1000))
        )
        longest = (timeout_seconds if drain else 0.0) + STOP_SECONDS
        answer: llm_pb2.RestartEngineResponse = await self._calls.at(
            owner, lambda c: _coordinator(c).RestartEngine(request, timeout=longest)
        )
        return EngineRestart(engine_view(state_from_wire(answer.engine, owner.instance_id)), answer.aborted)

    async def engine_logs(self, engine_id: str, *, lines: int = 0, follow: bool = False) -> AsyncIterator[str]:
        """Yield the last ``lines`` (0: all) that the server of an engine wrote, with ``follow`` those to come.

        Raises:
            NotFoundError: no engine has this id.
            UnprocessableError: SAGE did not start its server.
        """
        owner, engine_id = await self._owner(engine_id)
        request = llm_pb2.EngineLogsRequest(engine_id=engine_id, lines=lines, follow=follow)
        async for answer in self._calls.stream(owner, lambda c: _coordinator(c).EngineLogs(request)):
            for line in answer.lines:
                yield line

    async def drain_engine(self, engine_id: str, *, undo: bool = False) -> EngineView:
        """Stop new work to an engine, or allow it again; what runs on it goes on.

        Raises:
            NotFoundError: no engine has this id or name.
            ConflictError: several are called so.
        """
        engine_id = (await self._engine(engine_id)).engine_id
        request = scheduler_pb2.DrainEngineRequest(engine_id=engine_id, undo=undo)
        answer: scheduler_pb2.DrainEngineResponse = await self._calls.any(
            SCHEDULER, lambda c: _scheduler(c).DrainEngine(request, timeout=CALL_SECONDS)
        )
        return engine_of_entry(answer.engine)

    async def remove_engine(
        self, engine_id: str, *, drain: bool = False, timeout_seconds: float = DRAIN_SECONDS
    ) -> EngineRemoval:
        """Remove an engine for good; with ``drain`` once its requests have ended, or at the time-out.

        Raises:
            NotFoundError: no engine has this id.
            UnprocessableError: it belongs to a service that removes no engines.
            ConflictError: it is being removed already.
        """
        owner, engine_id = await self._owner(engine_id)
        request = llm_pb2.RemoveEngineRequest(
            engine_id=engine_id, drain=drain, timeout_ms=max(1, int(timeout_seconds * 1000))
        )
        longest = (timeout_seconds if drain else 0.0) + STOP_SECONDS
        answer: llm_pb2.RemoveEngineResponse = await self._calls.at(
            owner, lambda c: _coordinator(c).RemoveEngine(request, timeout=longest)
        )
        return EngineRemoval(engine_id, answer.aborted)

    async def load_lora(self, engine_id: str, name: str, path: str) -> EngineView:
        """Load the LoRA adapter at ``path``, on the machine of an engine's server, as the model ``name``; return it.

        Raises:
            NotFoundError: no engine has this id.
            UnprocessableError: it loads no adapters at run time.
            InvalidRequestError: the server finds no adapter there.
            UnavailableError: the engine is not ready yet, or its coordinator does not answer.
        """
        owner, engine_id = await self._owner(engine_id)
        request = llm_pb2.LoadLoraRequest(engine_id=engine_id, name=name, path=path)
        answer: llm_pb2.LoadLoraResponse = await self._calls.at(
            owner, lambda c: _coordinator(c).LoadLora(request, timeout=LORA_SECONDS)
        )
        return engine_view(state_from_wire(answer.engine, owner.instance_id))

    async def unload_lora(self, engine_id: str, name: str) -> EngineView:
        """Unload an adapter; return the engine without it. Raises NotFoundError, UnprocessableError."""
        owner, engine_id = await self._owner(engine_id)
        request = llm_pb2.UnloadLoraRequest(engine_id=engine_id, name=name)
        answer: llm_pb2.UnloadLoraResponse = await self._calls.at(
            owner, lambda c: _coordinator(c).UnloadLora(request, timeout=LORA_SECONDS)
        )
        return engine_view(state_from_wire(answer.engine, owner.instance_id))

    async def explain(self, request_id: str, tenant: str | None = None) -> list[Explanation]:
        """Return what the schedulers decided about a request, the latest decision first.

        Args:
            request_id: the mesh's id of it, or its caller's, which asks for every request that has it.
            tenant: whose requests; None for everybody's.

        Raises:
            NotFoundError: no scheduler remembers one.
            InvalidRequestError: no request can have this id.
        """
        request = scheduler_pb2.ExplainRequest(request_id=request_id, tenant=tenant or "")
        answer: scheduler_pb2.ExplainResponse = await self._calls.any(
            SCHEDULER, lambda c: _scheduler(c).Explain(request, timeout=CALL_SECONDS)
        )
        return [explanation(message) for message in answer.explanations]

    async def _engine(self, engine_id: str) -> EngineView:
        """Return the engine with an id, or with a name that only one engine has."""
        engines = {engine.engine_id: engine for engine in await self.engines()}
        named = [engine for engine in engines.values() if engine_id in _names(engine)]
        # One that is being stopped, or could not be, keeps its name; where another has it too, that one is meant.
        named = [engine for engine in named if engine.phase != "stopped"] or named
        engine = engines.get(engine_id) or (named[0] if len(named) == 1 else None)
        if engine is None:
            known = (
                shown_names(one.engine_id for one in named)
                or shown_names(one.name for one in engines.values())
                or "none"
            )
            if named:
                raise ConflictError(f"several engines are called {engine_id!r}; name one by its id: {known}")
            raise NotFoundError(f"no engine has the id {engine_id!r}; known: {known}", code="engine_not_found")
        return engine

    async def _owner(self, engine_id: str) -> tuple[Instance, str]:
        """Return the coordinator that owns an engine, and its full id; a name that only one engine has is enough."""
        engine = await self._engine(engine_id)
        owner = await self._calls.instance(engine.executor_id)
        if owner is None:
            raise UnavailableError(f"{engine.executor_id}, which owns the engine {engine_id!r}, is not registered")
        if owner.service != COORDINATOR:
            raise UnprocessableError(
                f"the engine {engine_id!r} is part of its {owner.service} and goes with it; "
                f"`sage engine drain {engine_id}` stops new work to it",
                code="engine_not_removable",
            )
        return owner, engine.engine_id


def _names(engine: EngineView) -> set[str]:
    return {engine.labels[label] for label in (NAME_LABEL, REGISTERED_LABEL) if label in engine.labels}


def _scheduler(channel: Channel) -> Any:
    return scheduler_pb2_grpc.SchedulerServiceStub(channel)  # type: ignore[no-untyped-call]


def _coordinator(channel: Channel) -> Any:
    return llm_pb2_grpc.LlmServiceStub(channel)  # type: ignore[no-untyped-call]
