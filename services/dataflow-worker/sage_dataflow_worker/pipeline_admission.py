"""Whether this worker may run a pipeline that came over the network, found out where it can do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sage_common.errors import UnavailableError
from sage_common.tasks import end_tasks
from sage_dataflow_worker.pipeline_reader import READER_NOT_STARTED, PipelineReader
from sage_dataflow_worker.reading_turns import ReadingTurns
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import NO_HOST, HostAccess
from sage_kernel.pipeline_text import MAX_TEXT_BYTES
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import PipelineSpec
from sage_platform.background import SERVICE_HEALTH, keep_running

# An honest pipeline takes milliseconds, one of a megabyte half a second. Processor time, because a busy machine makes
# an honest one slow by the clock.
PROCESSOR_SECONDS = 2.0
# One takes about 70 MB of its own once it has been started.
READERS = 3
# What keeps a process from starting, as want of memory does, seldom passes in less.
_START_AGAIN_SECONDS = 2.0
# The part of the service's health.
HEALTH_PART = "pipeline-reader"


@dataclass(frozen=True)
class AdmittedPipeline:
    """A pipeline that may run, with its spec hash, which takes long to compute for a large one."""

    spec: PipelineSpec
    spec_hash: str


class PipelineAdmission:
    """Has pipelines read by child processes, a few at a time, fairly by tenant. The first is started with this one, the
    others when several pipelines come at once. While none can be started the service is not well, and tries again.

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
        given = {
            "roots": None if files.roots is None else [str(root) for root in files.roots],
            "setting": files.setting,
            "functions": functions.allowed,
            "functions_setting": functions.setting,
            "hosts": hosts.hosts,
            "hosts_setting": hosts.setting,
            "processor_seconds": processor_seconds,
        }
        self._turns = ReadingTurns(READERS)
        self._returned = asyncio.Event()
        self._start_due = asyncio.Event()
        self._first_tried = asyncio.Event()
        self._starter: asyncio.Task[None] | None = None
        # Those that are free; the last one was in use last.
        self._readers = [PipelineReader(given) for _ in range(READERS)]

    async def start(self) -> None:
        """Start a child, so that the first pipeline need not wait for it; go on trying where it does not start."""
        self._start_due.set()
        self._starter = keep_running(self._start_readers, name="start-pipeline-reader")
        await self._first_tried.wait()

    async def stop(self) -> None:
        """End the children, each when it has read what it is at."""
        if self._starter is not None:
            await end_tasks(self._starter)
        while len(self._readers) < READERS:
            self._returned.clear()
            await self._returned.wait()
        for reader in self._readers:
            await reader.stop()

    async def admit(self, text: str | bytes, tenant: str = "", *, has_caller: bool = False) -> AdmittedPipeline:
        """Return the pipeline.

        Args:
            tenant: whose it is; one with many waits for the others' turns.
            has_caller: somebody who can try again waits for the answer.

        Raises:
            PipelineInvalidError: with all of its errors; that it took too long, or too much memory, is one.
            ContendedError: there is a caller, and too many pipelines wait already.
            UnavailableError: no process could be started to read it.
        """
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        if len(data) > MAX_TEXT_BYTES:
            remedy = f"keep it below {MAX_TEXT_BYTES} and put data into files"
            raise PipelineInvalidError([Problem("", "", f"it has {len(data)} bytes", remedy)])
        async with self._reader(tenant, len(data), has_caller=has_caller) as reader:
            try:
                answer = await reader.read(data)
            except UnavailableError as error:
                if error.code == READER_NOT_STARTED:
                    self._start_due.set()
                raise
        if "problems" in answer:
            raise PipelineInvalidError([Problem(*problem) for problem in answer["problems"]])
        return AdmittedPipeline(_assembled(answer), answer["hash"])

    async def _start_readers(self) -> None:
        """Whenever a reader has not started, start one until it does; the service is not well meanwhile."""
        health = SERVICE_HEALTH.get()
        while True:
            await self._start_due.wait()
            try:
                async with self._reader() as reader:
                    await reader.start()
            except UnavailableError as error:
                if health is not None:
                    health.report(HEALTH_PART, error.message)
                self._first_tried.set()
                await asyncio.sleep(_START_AGAIN_SECONDS)
            else:
                self._start_due.clear()
                if health is not None:
                    health.report(HEALTH_PART, None)
                self._first_tried.set()

    @asynccontextmanager
    async def _reader(
        self, tenant: str = "", size: int = 0, *, has_caller: bool = False
    ) -> AsyncIterator[PipelineReader]:
        async with self._turns.turn(tenant, size, has_caller=has_caller):
            reader = self._readers.pop()
            try:
                yield reader
            finally:
                self._readers.append(reader)
                self._returned.set()


def _assembled(answer: dict[str, Any]) -> PipelineSpec:
    spec = PipelineSpec.model_validate(answer["spec"])
    nodes = {
        node_id: node.model_copy(update={"records": tuple(answer["records"][node_id])})
        if node_id in answer["records"]
        else node
        for node_id, node in spec.nodes.items()
    }
    return spec.model_copy(update={"nodes": nodes})
