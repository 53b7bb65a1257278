"""An engine whose server is a process that SAGE starts, watches and stops, and then speaks to as to any other.

What is started is the kind's business (``ServerProgram``); when, how often and until when is settled here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import GIVEN_UP, EngineLoad, EnginePhase, EngineSpec
from sage_control_plane.request.request import RequestKind
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.openai_engine import (
    OpenAiEngine,
    ServedKinds,
)
from sage_llm_coordinator.servers.program import ServerProgram
from sage_llm_coordinator.servers.server_log import ServerLog
from sage_llm_coordinator.servers.servers import NATS_UNREACHABLE, OwnedServer, Servers
from sage_mesh.engine import EngineRequest, ReplyWriter
from sage_mesh.tokenization import TokenSource
from sage_platform.background import keep_running
from sage_platform.supervision.guarded_process import ServerEnd

log = get_logger(__name__)

FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
# After a run this long, earlier failures count no more.
FAILURES_EXPIRE_SECONDS = 120.0
POLL_SECONDS = 0.2
# What a server has to end by itself before it is killed; its requests were drained before.
GRACE_SECONDS = 5.0
# Given the spec, what its models are for, and the requests that the server computes at once, as far as known.
Connect = Callable[[EngineSpec, ServedKinds, int | None], OpenAiEngine]


@dataclass(frozen=True, slots=True)
class _RunEnd:
    """Why a run of the server ended.

    Attributes:
        hopeless: another start cannot end otherwise.
        counts: towards the starts after which it is given up.
    """

    reason: str
    hopeless: bool = False
    counts: bool = True


class ServerEngine:
    """A server and the client of it.

    Args:
        connect: makes the engine that speaks to the server at the spec's URL.
        program: what is started.
        start_server: starts a server.
        max_failures: starts in a row that may fail before it is given up.
        adopted: a server that runs already and is this coordinator's now.
    """

    def __init__(
        self,
        spec: EngineSpec,
        program: ServerProgram,
        connect: Connect,
        start_server: Callable[[], Awaitable[OwnedServer]],
        servers: Servers,
        clock: Clock,
        *,
        max_failures: int,
        adopted: OwnedServer | None = None,
    ) -> None:
        self._program = program
        self._connect = connect
        self._start_server = start_server
        self._servers = servers
        self._clock = clock
        self._max_failures = max_failures
        self._adopted = adopted
        self._client = connect(spec, frozenset, None)
        self._server: OwnedServer | None = None
        self._progress = self._program.progress()
        self._keeping: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._failure = ""
        self._stopped = False
        self.replaced = False

    @property
    def spec(self) -> EngineSpec:
        return self._client.spec

    @property
    def phase(self) -> EnginePhase:
        if self._stopped:
            return EnginePhase.STOPPED
        if self.replaced:
            return EnginePhase.DRAINING
        if self._failure:
            return EnginePhase.UNHEALTHY
        # The client of a run that has ended is stopped; the engine is not.
        return EnginePhase.STARTING if self._client.phase is EnginePhase.STOPPED else self._client.phase

    @property
    def reason(self) -> str:
        if self.replaced:
            return "another coordinator has taken it over"
        if self._failure:
            return self._failure
        return self._progress.text if self.phase is EnginePhase.STARTING else self._client.reason

    @property
    def log_file(self) -> Path | None:
        """The log of its present or last server; None before the first."""
        return Path(self._server.kept.record.log_file) if self._server else None

    @property
    def load(self) -> EngineLoad | None:
        """The server's load, as it reports it; None where it does not."""
        return self._client.load

    @property
    def lora(self) -> LoraAdapters | None:
        """Loads and unloads adapters of the present server."""
        return self._client.lora

    @property
    def token_source(self) -> TokenSource | None:
        """The tokenizer of the present server."""
        return self._client.token_source

    async def start(self) -> None:
        """Start the server and keep it running from now on; return when it first answers."""
        self._keeping = keep_running(self._keep_running, name=f"server-{self.spec.engine_id}")
        await self._ready.wait()

    async def run(self, request: EngineRequest, reply: ReplyWriter) -> None:
        await self._client.run(request, reply)

    async def stop(self) -> None:
        self._stopped = True
        if self._keeping is not None:
            await end_tasks(self._keeping)
        # Not in the task just ended: being cancelled again must not cut this short.
        await self._end_run()

    async def _keep_running(self) -> None:
        backoff, failures = FIRST_BACKOFF_SECONDS, 0
        while True:
            began = self._clock.now()
            self._ready.clear()
            end = await self._run_safely()
            if self.replaced:
                return
            if self._clock.now() - began > FAILURES_EXPIRE_SECONDS:
                backoff, failures = FIRST_BACKOFF_SECONDS, 0
            failures += end.counts
            log.error(
                "server ended",
                program=self._program.title,
                engine=self.spec.engine_id,
                reason=end.reason,
                failures=failures,
            )
            if end.hopeless or failures >= self._max_failures:
                times = "" if end.hopeless else f" after {failures} starts in a row"
                self._failure = (
                    f"{GIVEN_UP}{times}: {end.reason}\n`sage engine restart {self.spec.engine_id}` tries again"
                )
                return
            self._failure = f"starting again in {backoff:g} s: {end.reason}"
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            self._failure = ""

    async def _run_safely(self) -> _RunEnd:
        """As ``_run_server``; an unexpected error ends the run too: no caller awaits this task."""
        try:
            return await self._run_server()
        except Exception as error:
            log.exception("the run of a server failed", engine=self.spec.engine_id)
            end = _RunEnd(f"{type(error).__name__}: {error}")
        try:
            await self._end_run()
        except Exception:
            log.exception("a server may still run", engine=self.spec.engine_id)
        return end

    async def _run_server(self) -> _RunEnd:
        """Run a server, or the one that was adopted, until it ends; return why it did."""
        self._progress = self._program.progress()
        server, self._adopted = self._adopted, None
        if server is None:
            try:
                server = await self._start_server()
            except SageError as error:
                # Without NATS no start was tried; it comes back by itself, and so must the engine.
                return _RunEnd(error.message, counts=error.code != NATS_UNREACHABLE)
        self._server = server
        server_log = ServerLog(Path(server.kept.record.log_file), server.kept.record.log_start)
        progress = self._progress

        def served_kinds() -> frozenset[RequestKind]:
            progress.read(server_log.read())
            return progress.kinds

        client = self._connect(replace(self.spec, url=server.url), served_kinds, server.kept.record.seats)
        self._client = client
        answering = asyncio.create_task(self._await_answer(server, client, server_log), name=f"await-{server.url}")
        self._answering = answering
        end = await _ended(server, answering)
        self.replaced = end.replaced
        if end.replaced:
            self._servers.settled(server)
            # Before anything is awaited: this task may be ended as soon as ``replaced`` is seen.
            log.warning("another coordinator has taken the engine over; letting it go", engine=self.spec.engine_id)
        await self._end_run()
        while lines := server_log.read():
            progress.read(lines)
        return self._why_ended(end.status, server_log.tail)

    async def _end_run(self) -> None:
        """End the present run: client and server. A no-op once it has ended.

        Of a server that another coordinator has taken over, what runs through the client runs on until this is stopped.
        """
        if self._answering is not None:
            await end_tasks(self._answering)
        if self.replaced and not self._stopped:
            return
        await self._client.stop()
        if self._server is not None and not self.replaced:
            await self._server.process.stop(GRACE_SECONDS)
            await self._servers.ended(self._server)

    def _why_ended(self, status: int | None, log_tail: str) -> _RunEnd:
        hopeless = self._program.why_hopeless(log_tail)
        if hopeless is not None:
            return _RunEnd(hopeless, hopeless=True)
        how = "was killed with its guardian" if status is None else f"ended with status {status}"
        return _RunEnd(f"{self._program.title} {how}; its last words:\n{log_tail or '(none)'}")

    async def _await_answer(self, server: OwnedServer, client: OpenAiEngine, server_log: ServerLog) -> None:
        starting = asyncio.create_task(client.start(), name=f"connect-{server.url}")
        try:
            while not starting.done():
                self._progress.read(server_log.read())
                await asyncio.wait({starting}, timeout=POLL_SECONDS)
            await starting
        finally:
            await end_tasks(starting)
        self._servers.settled(server)
        self._ready.set()


async def _ended(server: OwnedServer, answering: asyncio.Task[None]) -> ServerEnd:
    """Wait for the end of a server; raise what keeps ``answering`` from noticing its first answer."""
    ending = asyncio.create_task(server.process.wait(), name=f"wait-{server.url}")
    try:
        await asyncio.wait({ending, answering}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await answering
        return await ending
    finally:
        await end_tasks(ending)
