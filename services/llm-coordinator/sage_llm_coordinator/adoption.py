"""Servers that have lost their coordinator are taken over by another of the same machine.

A coordinator owns its servers by connections to their guardians, which the kernel closes however it ends. Others notice
by its heartbeats; the first to rewrite the server's record has it. One that lives but is not heard, because it is stuck
or cut off from NATS, keeps its servers for HUNG_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from nats.errors import Error as NatsError

from sage_common.clock import Clock
from sage_common.errors import ConfigurationError, ConflictError, SageError, UnavailableError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_llm_coordinator.coordinator import ExecutionCoordinator
from sage_llm_coordinator.engines.engine_kind import EngineSettings, OwnsServer
from sage_llm_coordinator.engines.registry import engine_kind, engine_settings
from sage_llm_coordinator.origin import CONFIGURED
from sage_llm_coordinator.record_faults import RecordFaults
from sage_llm_coordinator.servers.record import KeptRecord, ServerRecord
from sage_llm_coordinator.servers.servers import Servers
from sage_mesh.directory import DirectoryChange, EngineDirectory

log = get_logger(__name__)

LOOK_SECONDS = 2.0
# While something is known to be about to change.
SOON_SECONDS = 0.2
# Four missed heartbeats; who has just begun to listen must wait so long.
SILENT_SECONDS = 1.0
# A stream of one that is not heard has been taken to another engine by then, if there is one. With SILENT_SECONDS less
# than the time for which the scheduler lets requests wait for a model's next engine (absence_seconds).
HUNG_SECONDS = 3.0
# Of another machine's server: its guardian has ended it long before.
FORGOTTEN_SECONDS = 30.0


class Adoption:
    """Looks after the servers of this machine, and starts the engines of the settings unless their servers run already.

    Args:
        replica: which coordinator of this machine it is.
    """

    def __init__(
        self,
        servers: Servers,
        coordinator: ExecutionCoordinator,
        directory: EngineDirectory,
        clock: Clock,
        *,
        executor_id: str,
        replica: int,
    ) -> None:
        self._servers = servers
        self._coordinator = coordinator
        self._directory = directory
        self._clock = clock
        self._executor_id = executor_id
        self._replica = replica
        self._pending: dict[str, EngineSettings] = {}
        self._listening_since = clock.now()
        self._silent_since: dict[str, float] = {}
        self._origins: set[str] = set()
        self._faults = RecordFaults()
        self._look_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def origins(self) -> set[str]:
        """Who wants the servers that ran at the last look: of operators on any machine, of settings on this one."""
        return self._origins

    async def start(self, configured: Sequence[EngineSettings]) -> None:
        """Begin to look, and start the engines that the settings ask for once it is clear which servers run."""
        self._listening_since = self._clock.now()
        self._pending = {f"{CONFIGURED}/{self._replica}/{n}": settings for n, settings in enumerate(configured, 1)}
        self._directory.listen(self._heard)
        await self.reconcile()
        self._task = asyncio.create_task(self._look_forever(), name="adoption")

    async def stop(self) -> None:
        """Stop looking; the servers stay whose they are."""
        if self._task is not None:
            await end_tasks(self._task)

    async def reconcile(self) -> None:
        """Compare the records with who is heard, once, and act on the difference."""
        await self._leave_replaced()
        records = await self._servers.records()
        self._origins = {kept.record.origin for kept in records if self._concerns(kept.record)}
        for kept in records:
            with self._faults.apart(kept.record.server_id):
                await self._look_at(kept)
        known = {kept.record.server_id for kept in records}
        self._silent_since = {key: at for key, at in self._silent_since.items() if key in known}
        for origin in [origin for origin in self._pending if origin not in self._origins]:
            with self._faults.apart(origin):
                await self._coordinator.add(self._pending[origin], origin=origin)
                del self._pending[origin]

    def _concerns(self, record: ServerRecord) -> bool:
        """Coordinators of several machines have the same numbers, and so have the engines of their settings."""
        return record.host == self._servers.host or not record.origin.startswith(f"{CONFIGURED}/")

    async def _look_at(self, kept: KeptRecord) -> None:
        record = kept.record
        owner_age = self._directory.heartbeat_age_seconds(record.owner)
        now = self._clock.now()
        listened = now - self._listening_since
        if record.owner == self._executor_id or owner_age <= SILENT_SECONDS:
            self._silent_since.pop(record.server_id, None)
            if self._concerns(record):
                self._pending.pop(record.origin, None)
            return
        if listened <= SILENT_SECONDS:
            return
        silent = now - self._silent_since.setdefault(record.server_id, now)
        if record.host == self._servers.host:
            await self._adopt(kept, silent)
        elif silent > FORGOTTEN_SECONDS:
            log.warning("record of a server on a machine that is gone", server=record.server_id, host=record.host)
            await self._servers.forget(kept)

    async def _adopt(self, kept: KeptRecord, silent_seconds: float) -> None:
        record = kept.record
        try:
            settings = _server_settings(record)
        except ConfigurationError:
            # A coordinator of the version that started it may adopt it; else its guardian ends it.
            if silent_seconds > FORGOTTEN_SECONDS:
                await self._servers.forget(kept)
            raise
        try:
            held = await self._servers.adopt(kept, force=silent_seconds > HUNG_SECONDS)
        except ConflictError as error:
            log.info("server not adopted", server=record.server_id, reason=error.message)
            return
        except UnavailableError as error:
            log.warning("server is gone with its owner", name=record.name, owner=record.owner, reason=error.message)
            self._origins.discard(record.origin)
            return
        try:
            state = await self._coordinator.add(settings, origin=record.origin, name=record.name, server=held)
        except Exception:
            # It is this coordinator's now, so nobody else will look after it.
            await held.process.stop()
            await self._servers.ended(held)
            raise
        self._pending.pop(record.origin, None)
        log.warning("server adopted", engine=state.spec.engine_id, owner=record.owner, pid=held.process.server_pid)

    async def _leave_replaced(self) -> None:
        for engine_id in self._replaced():
            with self._faults.apart(engine_id):
                await self._coordinator.remove(engine_id, drain=False, timeout_seconds=0)

    def _replaced(self) -> list[str]:
        """The engines of this coordinator that another has taken over while it slept."""
        engines = self._coordinator.engines.items()
        return [engine_id for engine_id, engine in engines if isinstance(engine, OwnsServer) and engine.replaced]

    def _heard(self, change: DirectoryChange) -> None:
        if change.lost or self._replaced():
            self._look_now.set()

    async def _look_forever(self) -> None:
        while True:
            seconds = SOON_SECONDS if self._pending or self._silent_since else LOOK_SECONDS
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._look_now.wait(), seconds)
            self._look_now.clear()
            try:
                await self.reconcile()
            except (NatsError, asyncio.TimeoutError, SageError) as error:
                log.warning("servers not looked after", error=str(error) or repr(error))
            except Exception:
                log.exception("servers not looked after")


def _server_settings(record: ServerRecord) -> EngineSettings:
    """The settings of the engine that a server is for. Raises ConfigurationError on those of another version."""
    try:
        settings = engine_settings(record.engine)
    except ValueError as error:
        raise ConfigurationError(f"server {record.name!r} has settings of another version: {error}") from None
    if engine_kind(settings).program is None:
        raise ConfigurationError(f"server {record.name!r} is of the kind {settings.kind!r}, which has no servers")
    return settings
