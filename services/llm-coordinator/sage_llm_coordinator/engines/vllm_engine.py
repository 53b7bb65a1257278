"""Engine ``vllm``: SAGE starts vLLM's OpenAI server itself and then speaks to it as to any other."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from sage_common.clock import Clock
from sage_common.logging import get_logger
from sage_common.ports import free_port
from sage_common.tasks import end_tasks
from sage_control_plane.engines import EngineLoad, EnginePhase, EngineSpec
from sage_llm_coordinator.engines.lora_adapters import LoraAdapters
from sage_llm_coordinator.engines.openai_engine import OpenAiEngine
from sage_llm_coordinator.engines.server_process import ServerProcess
from sage_mesh.engine_host import EngineJob, ReplyWriter

log = get_logger(__name__)

HOST = "127.0.0.1"
FIRST_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
# A server that ran this long starts its next life without a grudge.
FORGIVEN_AFTER_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class VllmCommand:
    """How to start the server.

    Attributes:
        python: the Python that has vLLM; empty takes this one.
        port: 0 takes a free one at each start.
        arguments: passed on to the server.
        environment: added to this process's environment.
    """

    model: str
    served_model_name: str
    python: str = ""
    port: int = 0
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def line(self, port: int) -> list[str]:
        """The command line."""
        return [
            self.python or sys.executable,
            "-m",
            "vllm.entrypoints.openai.api_server",
            "--model",
            self.model,
            "--served-model-name",
            self.served_model_name,
            "--host",
            HOST,
            "--port",
            str(port),
            # One line for each health check would push everything else out of the log.
            "--uvicorn-log-level",
            "warning",
            *self.arguments,
        ]

    def full_environment(self) -> dict[str, str]:
        """This process's environment without SAGE's own settings, which may hold other engines' keys."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SAGE_")}
        return {**inherited, "PYTHONUNBUFFERED": "1", **self.environment}


class VllmEngine:
    """A vLLM server and the client of it.

    Args:
        connect: makes the engine that speaks to a server at a root URL, with the spec given.
    """

    def __init__(
        self,
        spec: EngineSpec,
        command: VllmCommand,
        connect: Callable[[EngineSpec], OpenAiEngine],
        clock: Clock,
    ) -> None:
        self._command = command
        self._connect = connect
        self._clock = clock
        self._client = connect(spec)
        self._process: ServerProcess | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._answering: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._failure = ""
        self._stopped = False

    @property
    def spec(self) -> EngineSpec:
        return self._client.spec

    @property
    def phase(self) -> EnginePhase:
        if self._stopped:
            return EnginePhase.STOPPED
        # The client of a life that has ended is stopped; the engine is not.
        if self._failure or self._client.phase is EnginePhase.STOPPED:
            return EnginePhase.UNHEALTHY
        return self._client.phase

    @property
    def reason(self) -> str:
        if self._failure:
            return self._failure
        if self._client.phase is EnginePhase.READY:
            return ""
        last_line = self._process.last_line if self._process else ""
        return last_line or "starting vLLM"

    @property
    def load(self) -> EngineLoad | None:
        """What the present life of the server says of its load."""
        return self._client.load

    @property
    def lora(self) -> LoraAdapters | None:
        """The adapters of the present life of the server."""
        return self._client.lora

    async def start(self) -> None:
        """Start the server and keep it running from now on; return when it first answers."""
        self._keeping = asyncio.create_task(self._keep_running(), name=f"vllm-{self.spec.engine_id}")
        await self._ready.wait()

    async def run(self, job: EngineJob, reply: ReplyWriter) -> None:
        await self._client.run(job, reply)

    async def stop(self) -> None:
        self._stopped = True
        if self._keeping is not None:
            await end_tasks(self._keeping)
        # Not in the task just ended: being cancelled again must not cut this short.
        await self._end_life()

    async def _keep_running(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            began = self._clock.now()
            self._failure = await self._live_once()
            log.error("vLLM ended", engine=self.spec.engine_id, reason=self._failure)
            if self._clock.now() - began > FORGIVEN_AFTER_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)
            self._failure = ""

    async def _live_once(self) -> str:
        """Run the server until it ends; return why it did."""
        port = self._command.port or free_port(HOST)
        command = self._command.line(port)
        log.info("starting vLLM", engine=self.spec.engine_id, command=" ".join(command))
        process = ServerProcess(self.spec.engine_id, command, self._command.full_environment())
        client = self._connect(replace(self.spec, url=f"http://{HOST}:{port}/v1"))
        self._client, self._process = client, process
        try:
            await process.start()
        except OSError as error:
            return f"vLLM could not be started: {error}"
        self._answering = asyncio.create_task(self._await_answer(client), name=f"await-{self.spec.engine_id}")
        status = await process.wait()
        await self._end_life()
        return _why_ended(status, process.log_tail)

    async def _end_life(self) -> None:
        """End what the present life of the server consists of; a no-op once it has ended."""
        if self._answering is not None:
            await end_tasks(self._answering)
        await self._client.stop()
        if self._process is not None:
            await self._process.stop()

    async def _await_answer(self, client: OpenAiEngine) -> None:
        await client.start()
        self._ready.set()


def _why_ended(status: int, log_tail: str) -> str:
    if "No module named" in log_tail and "vllm" in log_tail.rsplit("No module named", 1)[1]:
        return (
            "vLLM is not installed in the Python that should run it; `pip install vllm`, or set vllm_python to one "
            "that has it"
        )
    return f"vLLM ended with status {status}; its last words:\n{log_tail or '(none)'}"
