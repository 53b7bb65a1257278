"""The servers of this coordinator, whatever they run: where each runs, its start, its record, its adoption."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from nats.errors import Error as NatsError

from sage_common import paths
from sage_common.errors import ConflictError, SageError, UnavailableError, describe
from sage_common.logging import get_logger
from sage_llm_coordinator.servers.ports import HOST, choose_port
from sage_llm_coordinator.servers.program import OccupiedRoom, ServerProgram, ServerRoom
from sage_llm_coordinator.servers.record import KeptRecord, ServerRecord
from sage_llm_coordinator.servers.server_log import log_size
from sage_llm_coordinator.servers.settings import ServerSettings
from sage_platform.subjects import token
from sage_platform.supervision.guarded_process import GuardedProcess, socket_path
from sage_platform.supervision.guarded_sweep import kill_marked

log = get_logger(__name__)

LOGS_KEPT = 50
NATS_UNREACHABLE = "nats_unreachable"


class RecordStore(Protocol):
    """Where the records of servers are; ``ServerRecords`` keeps them in KV."""

    async def create(self, record: ServerRecord) -> KeptRecord: ...
    async def claim(self, kept: KeptRecord, owner: str) -> KeptRecord: ...
    async def delete(self, kept: KeptRecord) -> None: ...
    async def all(self) -> list[KeptRecord]: ...


@dataclass(frozen=True, slots=True)
class OwnedServer:
    """A server that this coordinator owns.

    Attributes:
        adopted: whether another coordinator started it.
    """

    kept: KeptRecord
    process: GuardedProcess
    adopted: bool = False

    @property
    def url(self) -> str:
        """Base URL of its API."""
        return f"http://{HOST}:{self.kept.record.port}/v1"


class Servers:
    """Starts servers and takes them over.

    Args:
        owner: executor id of this coordinator.
        host: this machine, see ``machine_id``.
    """

    def __init__(self, settings: ServerSettings, records: RecordStore, owner: str, host: str) -> None:
        self.settings = settings
        self._records = records
        self._owner = owner
        self.host = host
        # Of two starts at once the second must see the first's port, GPUs and memory.
        self._placing = asyncio.Lock()
        self._starting: dict[str, int] = {}
        self._undoing: set[asyncio.Task[None]] = set()

    async def place(self, program: ServerProgram) -> tuple[int, ServerRoom]:
        """Find a port, devices and memory for a server; return the port and the rest.

        Raises:
            UnprocessableError: the machine has no room for it; the message has the figures and the way out.
            InvalidRequestError: the settings name a device or a number that is none.
        """
        here = [kept.record for kept in await self._all() if kept.record.host == self.host]
        devices = {device for record in here for device in record.devices}
        room = await program.room(OccupiedRoom(devices, sum(self._starting.values())))
        return choose_port(program.port, self.settings.ports, {record.port for record in here}), room

    async def start(
        self, program: ServerProgram, engine: dict[str, object], *, engine_id: str, name: str, origin: str
    ) -> OwnedServer:
        """Start a server. It counts as starting, and its memory as still to be taken, until ``settled``.

        Args:
            engine: the engine's settings, as its record keeps them.

        Raises:
            UnprocessableError: see ``place``.
            UnavailableError: NATS does not answer, or the server could not be started.
        """
        async with self._placing:
            port, room = await self.place(program)
            server_id = uuid4().hex[:16]
            log_path = log_file(engine_id)
            record = ServerRecord(
                server_id=server_id,
                name=name,
                origin=origin,
                host=self.host,
                owner=self._owner,
                port=port,
                socket=str(socket_path(server_id)),
                log_file=str(log_path),
                engine=engine,
                devices=room.devices,
                memory_bytes=room.memory_bytes,
                log_start=log_size(log_path),
                seats=room.seats,
            )
            writing = asyncio.create_task(self._written(record), name=f"record-{server_id}")
            try:
                kept = await asyncio.shield(writing)
            except asyncio.CancelledError:
                self._undo(writing)
                raise
            self._starting[server_id] = room.memory_bytes
        line = program.command(port, room)
        log.info(
            "starting a server",
            program=program.title,
            engine=engine_id,
            port=port,
            gpus=room.devices,
            command=" ".join(line),
        )
        try:
            process = await GuardedProcess.start(
                line,
                _environment(program.environment(room)),
                socket=Path(record.socket),
                home=paths.state_dir(),
                log_file=Path(record.log_file),
                epoch=kept.epoch,
                orphan_seconds=self.settings.orphan_seconds,
            )
        except BaseException as error:
            # Also where its engine is stopped meanwhile: no other deletes a record whose owner lives.
            self._starting.pop(server_id, None)
            await asyncio.shield(self._undo(writing))
            if isinstance(error, (OSError, SageError)):
                raise UnavailableError(f"{program.title} could not be started: {error}") from None
            raise
        return OwnedServer(kept, process)

    def settled(self, server: OwnedServer) -> None:
        """Note that a server has taken its memory, or has ended."""
        self._starting.pop(server.kept.record.server_id, None)

    async def adopt(self, kept: KeptRecord, *, force: bool = False) -> OwnedServer:
        """Take over a server of a coordinator that is gone.

        It may still be loading: its memory counts as still to be taken, until ``settled``.

        Raises:
            ConflictError: another coordinator has it.
            UnavailableError: the server is gone; so is its record then.
        """
        socket = Path(kept.record.socket)
        if not force and await GuardedProcess.is_owned(socket):
            raise ConflictError(f"the server {kept.record.server_id} has an owner that lives", code="server_owned")
        claimed = await self._records.claim(kept, self._owner)
        try:
            process = await GuardedProcess.adopt(socket, claimed.epoch, force=force)
        except UnavailableError:
            # Its guardian may have been killed with its owner, and has then ended only its first process.
            await asyncio.to_thread(kill_marked, str(socket))
            await self._deleted(claimed)
            raise
        self._starting[claimed.record.server_id] = claimed.record.memory_bytes
        return OwnedServer(claimed, process, adopted=True)

    async def ended(self, server: OwnedServer) -> None:
        """Delete the record of a server that has ended."""
        self.settled(server)
        await self._deleted(server.kept)

    async def forget(self, kept: KeptRecord) -> None:
        """Delete the record of a server that cannot run any more."""
        await self._deleted(kept)

    async def records(self) -> list[KeptRecord]:
        """Return the records of every machine's servers. Raises nats' Error or asyncio.TimeoutError."""
        return await self._records.all()

    async def _all(self) -> list[KeptRecord]:
        try:
            return await self._records.all()
        except (NatsError, asyncio.TimeoutError) as error:
            raise _no_nats(error) from None

    async def _written(self, record: ServerRecord) -> KeptRecord:
        try:
            return await self._records.create(record)
        except (NatsError, asyncio.TimeoutError) as error:
            raise _no_nats(error) from None

    def _undo(self, writing: asyncio.Task[KeptRecord]) -> asyncio.Task[None]:
        """Delete the record of a server that did not start, also when its engine is cancelled."""

        async def undo() -> None:
            with contextlib.suppress(SageError):  # then there is none
                await self._deleted(await writing)

        undoing = asyncio.create_task(undo(), name=f"undo-{writing.get_name()}")
        self._undoing.add(undoing)
        undoing.add_done_callback(self._undoing.discard)
        return undoing

    async def _deleted(self, kept: KeptRecord) -> None:
        try:
            await self._records.delete(kept)
        except (NatsError, asyncio.TimeoutError) as error:
            # The next to reconcile it finds no guardian and deletes it.
            log.warning("record of a server not deleted", server=kept.record.server_id, error=str(error) or repr(error))


def log_file(engine_id: str) -> Path:
    """Return the log file of an engine's servers; of all engines' the oldest beyond ``LOGS_KEPT`` are removed."""
    directory = paths.private_dir(paths.log_dir() / "engines")
    logs = sorted(directory.glob("*.log*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in logs[LOGS_KEPT:]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
    return directory / f"{token(engine_id)}.log"


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without SAGE's own settings, which may hold other engines' keys."""
    # The service itself is started with a safe path and one BLAS thread; a server sets its own.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
    return {**kept, "PYTHONUNBUFFERED": "1", **added}


def _no_nats(error: BaseException) -> UnavailableError:
    return UnavailableError(
        f"NATS does not answer ({describe(error)}), and a server without a record could not be adopted",
        code=NATS_UNREACHABLE,
    )
