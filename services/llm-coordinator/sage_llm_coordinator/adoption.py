"""Adoption of servers that have lost their coordinator, by another of the same machine.

A coordinator owns its servers by connections to their guardians, which the kernel closes however it ends. The others
miss its heartbeats; the first to rewrite the server's record owns it. One that lives but sends no heartbeats, as it
hangs or is cut off from NATS, keeps its servers for HUNG_SECONDS.
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
from sage_platform.background import keep_running

log = get_logger(__name__)

RECONCILE_SECONDS = 2.0
# While a change is expected.
SOON_SECONDS = 0.2
# Four missed heartbeats; also the time for which a coordinator listens before it judges.
SILENT_SECONDS = 1.0
# By then the streams of an owner that sends no heartbeats have moved to another engine, if there is one. Together with
# SILENT_SECONDS below the time for which the scheduler keeps requests of a model without an engine (absence_seconds).
HUNG_SECONDS = 3.0
# For a server of another machine; its guardian has ended it long before.
FORGOTTEN_SECONDS = 30.0
# For what runs on a server that another has taken over. Edges have stopped what they have continued elsewhere.
REPLACED_DRAIN_SECONDS = 30.0


class Adoption:
    """Adopts servers of this machine, and starts the engines of the settings unless their servers run already.

    Args:
        replica: which coordinator of this machine it is.
        successor_of: executor id of one that is to leave: its servers are taken over while it still uses them.
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
        successor_of: str = "",
    ) -> None:
        self._servers = servers
        self._coordinator = coordinator
        self._directory = directory
        self._clock = clock
        self._executor_id = executor_id
        self._replica = replica
        self._successor_of = successor_of
        self._pending: dict[str, EngineSettings] = {}
        self._listening_since = clock.now()
        self._silent_since: dict[str, float] = {}
        self._origins: set[str] = set()
        self._faults = RecordFaults()
        self._reconcile_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def origins(self) -> set[str]:
        """Return the origins of the servers in the records last read: operators' on any machine, settings' on this."""
        return self._origins

    async def start(self, configured: Sequence[EngineSettings]) -> None:
        """Reconcile from now on; start the engines of the settings once it is clear which servers run."""
        self._listening_since = self._clock.now()
        self._pending = {f"{CONFIGURED}/{self._replica}/{n}": settings for n, settings in enumerate(configured, 1)}
        self._directory.listen(self._on_directory_change)
        await self.reconcile()
        self._task = keep_running(self._reconcile_forever, name="adoption")

    async def stop(self) -> None:
        """Stop reconciling; the servers keep their owners."""
        if self._task is not None:
            await end_tasks(self._task)

    async def reconcile(self) -> None:
        """Compare the records with the heartbeats once, and act on the difference.

        Raises:
            SageError, or nats' Error or asyncio.TimeoutError: the records cannot be read.
        """
        await self._leave_replaced()
        records = await self._servers.records()
        self._origins = {kept.record.origin for kept in records if self._concerns(kept.record)}
        for kept in records:
            with self._faults.apart(kept.record.server_id):
                await self._reconcile_record(kept)
        known = {kept.record.server_id for kept in records}
        self._silent_since = {key: at for key, at in self._silent_since.items() if key in known}
        for origin in [origin for origin in self._pending if origin not in self._origins]:
            with self._faults.apart(origin):
                await self._coordinator.add(self._pending[origin], origin=origin)
                del self._pending[origin]

    def _concerns(self, record: ServerRecord) -> bool:
        """Whether a record is for this machine: the origins of configured engines are the same on every machine."""
        return record.host == self._servers.host or not record.origin.startswith(f"{CONFIGURED}/")

    async def _reconcile_record(self, kept: KeptRecord) -> None:
        record = kept.record
        if self._successor_of and record.owner == self._successor_of and record.host == self._servers.host:
            await self._adopt(kept, HUNG_SECONDS + RECONCILE_SECONDS)
            return
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
            # A coordinator of the version that started it may adopt it; its guardian ends it otherwise.
            if silent_seconds > FORGOTTEN_SECONDS:
                await self._servers.forget(kept)
            raise
        try:
            server = await self._servers.adopt(kept, force=silent_seconds > HUNG_SECONDS)
        except ConflictError as error:
            log.info("server not adopted", server=record.server_id, reason=error.message)
            return
        except UnavailableError as error:
            log.warning("server is gone with its owner", name=record.name, owner=record.owner, reason=error.message)
            self._origins.discard(record.origin)
            return
        try:
            state = await self._coordinator.add(settings, origin=record.origin, name=record.name, server=server)
        except Exception:
            # This coordinator owns it now, so no other will end it.
            await server.process.stop()
            await self._servers.ended(server)
            raise
        self._pending.pop(record.origin, None)
        log.warning("server adopted", engine=state.spec.engine_id, owner=record.owner, pid=server.process.server_pid)

    async def _leave_replaced(self) -> None:
        for engine_id in self._replaced():
            with self._faults.apart(engine_id):
                # A successor has taken its server; what runs through this coordinator's connections runs on.
                await self._coordinator.remove(engine_id, drain=True, timeout_seconds=REPLACED_DRAIN_SECONDS)

    def _replaced(self) -> list[str]:
        """Return the engines of this coordinator whose servers another has taken over while it hung."""
        engines = self._coordinator.engines.items()
        return [engine_id for engine_id, engine in engines if isinstance(engine, OwnsServer) and engine.replaced]

    def _on_directory_change(self, change: DirectoryChange) -> None:
        if change.lost or self._replaced():
            self._reconcile_now.set()

    async def _reconcile_forever(self) -> None:
        while True:
            seconds = SOON_SECONDS if self._pending or self._silent_since else RECONCILE_SECONDS
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._reconcile_now.wait(), seconds)
            self._reconcile_now.clear()
            try:
                await self.reconcile()
            except (NatsError, asyncio.TimeoutError, SageError) as error:
                log.warning("servers not reconciled", error=str(error) or repr(error))
            except Exception:
                log.exception("servers not reconciled")


def _server_settings(record: ServerRecord) -> EngineSettings:
    """Return the settings of the engine that a server is for. Raises ConfigurationError on another version's."""
    try:
        settings = engine_settings(record.engine)
    except ValueError as error:
        raise ConfigurationError(f"server {record.name!r} has settings of another version: {error}") from None
    if engine_kind(settings).program is None:
        raise ConfigurationError(f"server {record.name!r} is of the kind {settings.kind!r}, which has no servers")
    return settings
