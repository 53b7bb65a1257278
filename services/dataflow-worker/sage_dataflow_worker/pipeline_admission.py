"""Whether this worker may run a pipeline that came over the network, found out where it can do no harm."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass
from typing import Any

import orjson

from sage_common.errors import UnavailableError, describe
from sage_common.logging import get_logger
from sage_dataflow_worker.validation_child import LENGTH
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import NO_HOST, HostAccess
from sage_kernel.pipeline_text import MAX_TEXT_BYTES
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import PipelineSpec
from sage_platform.supervision import bound_to_parent

log = get_logger(__name__)

# An honest pipeline takes milliseconds, one of a megabyte half a second. Processor time, because a busy machine makes
# an honest one slow by the clock.
PROCESSOR_SECONDS = 2.0
# For one that uses no processor: its reader is stopped, or the machine is.
WALL_SECONDS = 60.0
# For the child's imports, on a machine under load.
START_SECONDS = 60.0


@dataclass(frozen=True)
class AdmittedPipeline:
    """A pipeline that may run, with its spec hash, which takes long to compute for a large one."""

    spec: PipelineSpec
    spec_hash: str


class PipelineAdmission:
    """Has pipelines read by a child process, one at a time; one that takes too long costs that process its life.

    Args:
        files: what jobs may touch.
        functions: what they may name.
        hosts: what they may talk to over HTTP.
        processor_seconds: most processor time for one pipeline.
    """

    def __init__(
        self,
        files: FileAccess,
        functions: FunctionRegistry = NO_FUNCTIONS,
        hosts: HostAccess = NO_HOST,
        *,
        processor_seconds: float = PROCESSOR_SECONDS,
    ) -> None:
        self._files = files
        self._functions = functions
        self._hosts = hosts
        self._processor_seconds = processor_seconds
        self._child: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Start the child, so that the first pipeline need not wait for it. Raises UnavailableError."""
        async with self._turn:
            await self._running_child()

    async def stop(self) -> None:
        """End the child."""
        async with self._turn:
            await self._end_child()

    async def admit(self, text: str | bytes, tenant: str = "") -> AdmittedPipeline:
        """Return the pipeline.

        Raises:
            PipelineInvalidError: with all of its errors; that it took too long, or too much memory, is one.
            UnavailableError: no process could be started to read it.
        """
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if len(data) > MAX_TEXT_BYTES:
            remedy = f"keep it below {MAX_TEXT_BYTES} and put data into files"
            raise PipelineInvalidError([Problem("", "", f"it has {len(data)} bytes", remedy)])
        async with self._turn:
            answer = await self._ask(data)
        if "problems" in answer:
            raise PipelineInvalidError([Problem(*problem) for problem in answer["problems"]])
        return AdmittedPipeline(_assembled(answer), answer["hash"])

    async def _ask(self, data: bytes) -> dict[str, Any]:
        child = await self._running_child()
        assert child.stdin is not None
        try:
            child.stdin.write(LENGTH.pack(len(data)) + data)
            return await asyncio.wait_for(_receive(child), WALL_SECONDS)
        except asyncio.TimeoutError:
            message = f"it could not be read within {WALL_SECONDS:g} s"
        except (OSError, EOFError):
            message = "what read it ended, for want of memory or by a fault"
            if await child.wait() == -signal.SIGPROF:
                message = f"it could not be read within {self._processor_seconds:g} s of processor time"
        except asyncio.CancelledError:
            await self._end_child()
            raise
        log.error("pipeline given up", reason=message, bytes=len(data))
        await self._end_child()
        raise PipelineInvalidError([Problem("", "", message, "make it smaller, or split it into several pipelines")])

    async def _running_child(self) -> asyncio.subprocess.Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        roots = None if self._files.roots is None else [str(root) for root in self._files.roots]
        given = {
            "roots": roots,
            "setting": self._files.setting,
            "functions": self._functions.allowed,
            "functions_setting": self._functions.setting,
            "hosts": self._hosts.hosts,
            "hosts_setting": self._hosts.setting,
            "processor_seconds": self._processor_seconds,
        }
        setting = orjson.dumps(given).decode()
        program = [sys.executable, "-m", "sage_dataflow_worker.validation_child", setting]
        try:
            self._child = await asyncio.create_subprocess_exec(
                *bound_to_parent.command(program), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            await asyncio.wait_for(_receive(self._child), START_SECONDS)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            await self._end_child()
            raise UnavailableError(
                f"the process that reads pipelines did not start ({describe(error)}); try again",
                code="validation_unavailable",
                retryable=True,
            ) from None
        except asyncio.CancelledError:
            await self._end_child()
            raise
        return self._child

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()


async def _receive(child: asyncio.subprocess.Process) -> dict[str, Any]:
    """Return the child's next message. Raises EOFError when it has ended."""
    assert child.stdout is not None
    (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
    message: dict[str, Any] = orjson.loads(await child.stdout.readexactly(length))
    return message


def _assembled(answer: dict[str, Any]) -> PipelineSpec:
    spec = PipelineSpec.model_validate(answer["spec"])
    nodes = {
        node_id: node.model_copy(update={"records": tuple(answer["records"][node_id])})
        if node_id in answer["records"]
        else node
        for node_id, node in spec.nodes.items()
    }
    return spec.model_copy(update={"nodes": nodes})
