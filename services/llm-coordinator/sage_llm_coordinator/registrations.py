"""Engines registered over gRPC, kept so that they outlive the coordinator that took them in.

A record in KV says that an engine should be there; the heartbeats say whether some coordinator has it. One that none
has for two rounds in a row is taken up by the first to reconcile after that. If two do so at once, the one whose id
sorts first keeps it, once two rounds in a row have shown it: a coordinator that was stopped and wakes up announces once
more what another owns by now, and giving way to that would end the engine's server. API keys are never written: an
engine that needs one has to be registered again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass

import orjson
from nats.errors import Error as NatsError
from nats.js.errors import KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from sage_common.errors import ConfigurationError, ConflictError, SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EnginePhase, EngineState
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engines.engine_kind import EngineSettings
from sage_llm_coordinator.engines.registry import engine_settings
from sage_llm_coordinator.origin import REGISTERED, registered_name
from sage_llm_coordinator.record_faults import RecordFaults
from sage_mesh.directory import EngineDirectory
from sage_platform.background import keep_running
from sage_platform.kv import read_all, record_fields
from sage_platform.subjects import token

log = get_logger(__name__)

BUCKET = "engines"
RECONCILE_SECONDS = 2.0
ROUNDS_UNTIL_TAKEN_UP = 2
ROUNDS_UNTIL_GIVEN_UP = 2
DRAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Registration:
    """The record of an engine that an operator registered or started.

    Attributes:
        engine: its settings without the API key.
    """

    name: str
    engine: dict[str, object]
    needs_api_key: bool = False

    @classmethod
    def of(cls, name: str, settings: EngineSettings) -> Registration:
        """Return the record of an engine with these settings."""
        return cls(name, {**settings.kept(), "name": name}, settings.has_api_key)

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return token(self.name)

    @property
    def origin(self) -> str:
        """The origin of its engine."""
        return f"{REGISTERED}/{self.name}"

    def settings(self) -> EngineSettings:
        """Return the settings to build it from. Raises ValueError on values that make no engine."""
        return engine_settings(self.engine)

    @classmethod
    def from_bytes(cls, data: bytes) -> Registration:
        """Read a record; fields of a later version are left out. Raises ValueError or TypeError."""
        return cls(**record_fields(cls, data))


class Registrations:
    """Keeps registered engines and takes up those that have lost their coordinator.

    Args:
        running_elsewhere: origins of the engines whose servers run, whoever owns them.
        successor_of: executor id of one that is to leave: its engines are taken up while it still has them.
    """

    def __init__(
        self,
        bucket: KeyValue,
        coordinator: ExecutionCoordinator,
        directory: EngineDirectory,
        executor_id: str,
        running_elsewhere: Callable[[], Collection[str]] = tuple,
        *,
        successor_of: str = "",
    ) -> None:
        self._bucket = bucket
        self._coordinator = coordinator
        self._directory = directory
        self._executor_id = executor_id
        self._running_elsewhere = running_elsewhere
        self._successor_of = successor_of
        self._missing: Counter[str] = Counter()
        self._doubled: Counter[str] = Counter()
        self._logged: set[str] = set()
        self._faults = RecordFaults()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Reconcile from now on."""
        self._task = keep_running(self._reconcile_forever, name="registrations")

    async def stop(self) -> None:
        """Stop reconciling; the records stay."""
        if self._task is not None:
            await end_tasks(self._task)

    async def add(self, name: str, settings: EngineSettings) -> EngineState:
        """Keep an engine and host it here.

        Raises:
            ConflictError: an engine of this name is there.
            UnprocessableError: the machine has no room for it.
        """
        if name in self._hosts():
            raise self._taken(name)
        await self._coordinator.check_room(settings)
        registration = Registration.of(name, settings)
        data = orjson.dumps(asdict(registration))
        try:
            await self._bucket.create(registration.key, data)
        except KeyWrongLastSequenceError:
            # A record without a host: its coordinator died, or it waits for its API key.
            await self._bucket.put(registration.key, data)
        await self._coordinator.forget_adapters(registration.origin)
        return await self._coordinator.add(settings, origin=registration.origin, name=name)

    async def remove(self, engine_id: str, *, drain: bool, timeout_seconds: float) -> int:
        """Remove an engine of this coordinator for good; return how many of its requests were aborted.

        Raises:
            NotFoundError: this coordinator has no such engine.
        """
        name = registered_name(self._coordinator.state(engine_id).spec.labels)
        if name:
            await self._bucket.delete(token(name))
            await self._coordinator.forget_adapters(f"{REGISTERED}/{name}")
        return await self._coordinator.remove(engine_id, drain=drain, timeout_seconds=timeout_seconds)

    async def reconcile(self) -> None:
        """Compare the records with the engines once, and act on the difference."""
        hosts = self._hosts()
        records = await self._records()
        for name in list(self._missing):
            if name not in records or name in hosts:
                del self._missing[name]
        for name in list(self._doubled):
            if not self._is_doubled(hosts.get(name, {})):
                del self._doubled[name]
        for name, registration in records.items():
            with self._faults.apart(name):
                await self._reconcile_record(registration, hosts.get(name))

    async def _reconcile_record(self, registration: Registration, hosts: dict[str, EngineState] | None) -> None:
        name = registration.name
        if hosts is not None:
            await self._yield_to_another(name, hosts)
            return
        self._missing[name] += 1
        if self._missing[name] >= ROUNDS_UNTIL_TAKEN_UP or self._inherits(name):
            await self._take_up(registration)

    def _inherits(self, name: str) -> bool:
        """Whether one that is to leave has the engine, and nobody else."""
        states = self._directory.engines.values()
        names = (registered_name(state.spec.labels) for state in states if state.executor_id == self._successor_of)
        return name in names

    async def _reconcile_forever(self) -> None:
        while True:
            await asyncio.sleep(RECONCILE_SECONDS)
            try:
                await self.reconcile()
            except (NatsError, asyncio.TimeoutError, SageError) as error:
                log.warning("registered engines not reconciled", error=str(error) or repr(error))
            except Exception:
                log.exception("registered engines not reconciled")

    async def _records(self) -> dict[str, Registration]:
        records: dict[str, Registration] = {}
        for key, value in (await read_all(self._bucket)).items():
            try:
                registration = Registration.from_bytes(value)
            except (ValueError, TypeError) as error:
                log.error("unreadable registration left alone", key=key, error=str(error))
                continue
            records[registration.name] = registration
        return records

    def _hosts(self) -> dict[str, dict[str, EngineState]]:
        """Return executor id → engine for every registered name that some coordinator hosts.

        One that is being stopped, or could not be, is among them: until it has stopped, none may start another. Those
        of a coordinator that this one succeeds are not.
        """
        hosts: dict[str, dict[str, EngineState]] = {}
        # This coordinator's own engines count as they are, which its heartbeats tell a moment later.
        others = (state for state in self._directory.engines.values() if state.executor_id != self._executor_id)
        for state in (*others, *self._coordinator.states()):
            name = registered_name(state.spec.labels)
            if name and (state.executor_id != self._successor_of or state.phase is EnginePhase.STOPPED):
                hosts.setdefault(name, {})[state.executor_id] = state
        return hosts

    def _is_doubled(self, hosts: dict[str, EngineState]) -> bool:
        """Whether this coordinator has an engine that another one is to keep."""
        serving = _serving(hosts)
        return self._executor_id in serving and min(serving) != self._executor_id

    async def _yield_to_another(self, name: str, hosts: dict[str, EngineState]) -> None:
        if not self._is_doubled(hosts):
            return
        self._doubled[name] += 1
        if self._doubled[name] >= ROUNDS_UNTIL_GIVEN_UP:
            log.info("another coordinator has this engine too and keeps it", name=name, keeper=min(_serving(hosts)))
            mine = hosts[self._executor_id].spec.engine_id
            await self._coordinator.remove(mine, drain=True, timeout_seconds=DRAIN_SECONDS)

    async def _take_up(self, registration: Registration) -> None:
        if registration.needs_api_key:
            if registration.name not in self._logged:
                self._logged.add(registration.name)
                log.warning(
                    "an engine was registered with an API key, which is kept in memory only; register it again",
                    name=registration.name,
                )
            return
        if registration.origin in self._running_elsewhere():
            return  # its server runs and is about to be adopted
        try:
            settings = registration.settings()
        except ValueError as error:
            # A coordinator of the version that wrote it may take it up.
            raise ConfigurationError(f"registration of another version: {error}") from None
        await self._coordinator.add(settings, origin=registration.origin, name=registration.name)

    def _taken(self, name: str) -> ConflictError:
        return ConflictError(
            f"an engine {name!r} is registered; remove it first, or choose another engine_id",
            code="engine_exists",
            param="engine_id",
        )


def _serving(hosts: dict[str, EngineState]) -> dict[str, EngineState]:
    """Return those that have not stopped: one that has is another's by now, or none's."""
    return {executor: state for executor, state in hosts.items() if state.phase is not EnginePhase.STOPPED}
