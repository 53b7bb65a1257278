"""The engines of the mesh as every participant knows them: from heartbeats alone, with no registry on the hot path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from sage.inference.v1 import engine_pb2
from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.catalog import ModelCatalog
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec, EngineState
from sage_mesh.wire.engines import spec_from_wire, state_from_wire
from sage_platform import subjects
from sage_platform.background import keep_running
from sage_platform.ring import Ring

log = get_logger(__name__)

MISSED_HEARTBEATS = 4
CHECK_SECONDS = 0.1
# How long the models of a silent executor stay in the catalog: its requests wait for a successor, or fail because
# nothing serves them now, and not because the model does not exist.
REMEMBER_SILENT_SECONDS = 30.0


@dataclass
class _Executor:
    """An executor as its last heartbeat described it, with what that was read from.

    Attributes:
        revision: of the whole; 0 where it tells none, and where an engine was dropped since.
        revisions: of its engines, by id; 0 where it tells none.
        specs: of its engines, by id, with the bytes that they were read from.
    """

    last_heartbeat_at: float
    interval_seconds: float
    revision: int
    engines: dict[str, EngineState] = field(default_factory=dict)
    revisions: dict[str, int] = field(default_factory=dict)
    specs: dict[str, tuple[bytes, EngineSpec]] = field(default_factory=dict)

    def read(self, message: engine_pb2.EngineState, executor_id: str, before: _Executor | None) -> EngineState:
        """Read an engine of a heartbeat; what is as it was ``before`` is not translated again."""
        engine_id, revision = message.spec.engine_id, message.revision
        state = None if before is None else before.engines.get(engine_id)
        spec = None if before is None else before.specs.get(engine_id)
        if before is None or state is None or not revision or before.revisions.get(engine_id) != revision:
            written = message.spec.SerializeToString()
            if spec is None or spec[0] != written:
                spec = written, spec_from_wire(message.spec)
            state = state_from_wire(message, executor_id, spec[1])
        self.engines[engine_id] = state
        self.revisions[engine_id] = revision
        if spec is not None:
            self.specs[engine_id] = spec
        return state


@dataclass(frozen=True)
class DirectoryChange:
    """What one heartbeat, or the lack of one, changed.

    Attributes:
        updated: engines whose state was reported.
        lost: engines that are gone: removed by their executor, or silent with it.
        reason: why those were lost; empty where none was.
    """

    updated: tuple[EngineState, ...] = ()
    lost: tuple[EngineState, ...] = ()
    reason: str = ""


Listener = Callable[[DirectoryChange], None]


class EngineDirectory:
    """Tracks engines by heartbeat; four missed heartbeats mean that an executor is gone."""

    def __init__(self, ring: Ring, instance_id: str, clock: Clock) -> None:
        self._ring = ring
        self._instance_id = instance_id
        self._clock = clock
        self._executors: dict[str, _Executor] = {}
        self._listeners: list[Listener] = []
        self._subscription: Subscription | None = None
        self._watch: asyncio.Task[None] | None = None
        self._catalog: ModelCatalog | None = ModelCatalog()
        self._silent: dict[str, tuple[EngineState, float]] = {}
        self._changed = asyncio.Event()

    @property
    def engines(self) -> dict[str, EngineState]:
        """Every engine whose executor sends heartbeats, by id."""
        return {eid: state for executor in self._executors.values() for eid, state in executor.engines.items()}

    @property
    def catalog(self) -> ModelCatalog:
        """The models of those engines, and for a while of engines whose executor has fallen silent."""
        if self._catalog is None:
            # An engine that is silent may be ready still, and is not one to choose.
            silent = [replace(state, phase=EnginePhase.UNHEALTHY) for state, _ in self._silent.values()]
            self._catalog = ModelCatalog([*self.engines.values(), *silent])
        return self._catalog

    def heartbeat_age_seconds(self, executor_id: str) -> float:
        """Return the seconds since the last heartbeat of an executor; infinity where there was none."""
        executor = self._executors.get(executor_id)
        return self._clock.now() - executor.last_heartbeat_at if executor else float("inf")

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after each heartbeat and each loss."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Subscribe, and ask every executor for a heartbeat now."""
        self._subscription = await self._ring.connection.subscribe(subjects.HEARTBEAT, cb=self._on_heartbeat)
        self._watch = keep_running(self._watch_silence, name="directory-watch")
        await self.ask()

    async def stop(self) -> None:
        """Stop listening."""
        if self._watch:
            await end_tasks(self._watch)
        if self._subscription:
            await self._subscription.unsubscribe()

    async def ask(self) -> None:
        """Ask every executor for a heartbeat at once."""
        hello = engine_pb2.Hello(instance_id=self._instance_id)
        await self._ring.connection.publish(subjects.HELLO, hello.SerializeToString())

    async def wait_until(self, condition: Callable[[EngineDirectory], bool], timeout_seconds: float) -> bool:
        """Wait until ``condition`` holds; return whether it did within ``timeout_seconds``."""

        async def wait() -> None:
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

        try:
            await asyncio.wait_for(wait(), timeout_seconds)
        except asyncio.TimeoutError:
            return False
        return True

    async def _on_heartbeat(self, message: Msg) -> None:
        heartbeat = engine_pb2.Heartbeat.FromString(message.data)
        executor_id = heartbeat.executor_id
        known = self._executors.get(executor_id)
        if known is not None and heartbeat.revision and heartbeat.revision == known.revision and not heartbeat.leaving:
            known.last_heartbeat_at = self._clock.now()
            self._notify(DirectoryChange(tuple(known.engines.values())), models_changed=False)
            return
        before = known.engines if known else {}
        executor = _Executor(self._clock.now(), heartbeat.interval_ms / 1000, heartbeat.revision)
        models_changed = False
        if heartbeat.leaving:
            self._executors.pop(executor_id, None)
        else:
            self._executors[executor_id] = executor
            for engine in heartbeat.engines:
                state = executor.read(engine, executor_id, known)
                old = before.get(state.spec.engine_id)
                if state is not old and (old is None or _models(state) != _models(old)):
                    models_changed = True
        engines = executor.engines
        if self._silent:
            for engine_id in engines:
                models_changed |= self._silent.pop(engine_id, None) is not None
        lost = tuple(state for eid, state in before.items() if eid not in engines)
        reason = "its executor left" if heartbeat.leaving else "its executor removed it"
        change = DirectoryChange(tuple(engines.values()), lost, reason if lost else "")
        self._notify(change, models_changed=models_changed or bool(lost))

    async def _watch_silence(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(CHECK_SECONDS)
            self._discount_stall(loop.time() - began - CHECK_SECONDS)
            if not self._ring.connection.is_connected:
                # Without a connection no heartbeat arrives, whoever sends one; silence counts from the reconnection.
                for executor in self._executors.values():
                    executor.last_heartbeat_at = self._clock.now()
                continue
            for executor_id, executor in list(self._executors.items()):
                silence = self._clock.now() - executor.last_heartbeat_at
                if silence > MISSED_HEARTBEATS * executor.interval_seconds:
                    del self._executors[executor_id]
                    log.warning("executor is silent", executor=executor_id, seconds=round(silence, 2))
                    self._remember_silent(executor.engines.values())
                    self._notify(
                        DirectoryChange(lost=tuple(executor.engines.values()), reason="its executor is silent")
                    )
            self._forget_long_silent()

    def _remember_silent(self, states: Iterable[EngineState]) -> None:
        now = self._clock.now()
        self._silent.update({state.spec.engine_id: (state, now) for state in states})

    def _forget_long_silent(self) -> None:
        horizon = self._clock.now() - REMEMBER_SILENT_SECONDS
        gone = [engine_id for engine_id, (_, at) in self._silent.items() if at < horizon]
        for engine_id in gone:
            del self._silent[engine_id]
        if gone:
            self._notify(DirectoryChange())

    def _discount_stall(self, stalled_seconds: float) -> None:
        """Count no silence for the time in which this process itself stood still: heartbeats of it wait unread."""
        now = self._clock.now()
        for executor in self._executors.values():
            executor.last_heartbeat_at = min(now, executor.last_heartbeat_at + stalled_seconds)

    def forget(self, engine_id: str, reason: str) -> None:
        """Drop an engine that is known to be gone by other means; its next heartbeat brings it back."""
        for executor in self._executors.values():
            state = executor.engines.pop(engine_id, None)
            if state is not None:
                executor.revision = 0
                self._remember_silent([state])
                self._notify(DirectoryChange(lost=(state,), reason=reason))

    def _notify(self, change: DirectoryChange, *, models_changed: bool = True) -> None:
        if models_changed:
            # Most heartbeats change none, and of a thousand engines there may be hundreds a second.
            self._catalog = None
        for listener in self._listeners:
            listener(change)
        self._changed.set()


def _models(state: EngineState) -> tuple[object, ...]:
    """Return what the catalog shows of an engine."""
    return state.spec, state.phase, state.why if state.given_up else ""
