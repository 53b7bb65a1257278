"""Whether this worker may run a pipeline that came over the network, found out where it can do no harm."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from sage_dataflow_worker.pipeline_reader import PipelineReader
from sage_dataflow_worker.reading_turns import ReadingTurns
from sage_kernel.file_access import FileAccess
from sage_kernel.functions import NO_FUNCTIONS, FunctionRegistry
from sage_kernel.host_access import NO_HOST, HostAccess
from sage_kernel.pipeline_text import MAX_TEXT_BYTES
from sage_kernel.problems import PipelineInvalidError, Problem
from sage_kernel.spec import PipelineSpec

# An honest pipeline takes milliseconds, one of a megabyte half a second. Processor time, because a busy machine makes
# an honest one slow by the clock.
PROCESSOR_SECONDS = 2.0
# One takes about 70 MB of its own once it has been started.
READERS = 3


@dataclass(frozen=True)
class AdmittedPipeline:
    """A pipeline that may run, with its spec hash, which takes long to compute for a large one."""

    spec: PipelineSpec
    spec_hash: str


class PipelineAdmission:
    """Has pipelines read by child processes, a few at a time, fairly by tenant. The first is started with this one, the
    others when several pipelines come at once.

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
        # Those that are free; the last one was in use last.
        self._readers = [PipelineReader(given) for _ in range(READERS)]

    async def start(self) -> None:
        """Start a child, so that the first pipeline need not wait for it. Raises UnavailableError."""
        await self._readers[-1].start()

    async def stop(self) -> None:
        """End the children, each when it has read what it is at."""
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
        async with self._turns.turn(tenant, len(data), has_caller=has_caller):
            reader = self._readers.pop()
            try:
                answer = await reader.read(data)
            finally:
                self._readers.append(reader)
                self._returned.set()
        if "problems" in answer:
            raise PipelineInvalidError([Problem(*problem) for problem in answer["problems"]])
        return AdmittedPipeline(_assembled(answer), answer["hash"])


def _assembled(answer: dict[str, Any]) -> PipelineSpec:
    spec = PipelineSpec.model_validate(answer["spec"])
    nodes = {
        node_id: node.model_copy(update={"records": tuple(answer["records"][node_id])})
        if node_id in answer["records"]
        else node
        for node_id, node in spec.nodes.items()
    }
    return spec.model_copy(update={"nodes": nodes})
