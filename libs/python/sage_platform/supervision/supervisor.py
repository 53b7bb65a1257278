"""Runs a set of processes as one: stage by stage up, all or none, and stage by stage down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from sage_common.clock import Clock
from sage_common.errors import SageError, UnavailableError
from sage_platform.supervision.process_spec import ProcessSpec
from sage_platform.supervision.process_status import ProcessPhase, ProcessStatus
from sage_platform.supervision.supervised_process import SupervisedProcess

SHOWN_OUTPUT_LINES = 12


class ProcessFailedError(UnavailableError):
    """A process did not come up; ``output`` holds the last lines it wrote."""

    default_code = "process_failed"

    def __init__(self, status: ProcessStatus, output: Sequence[str]) -> None:
        super().__init__(f"{status.name} {status.message}; its log is {status.log}")
        self.status = status
        self.output = tuple(output)


class Supervisor:
    """Supervises ``specs``.

    Args:
        log_directory: each process writes ``<name>.log`` there.
        on_change: called with each new status of a process.
    """

    def __init__(
        self,
        specs: Iterable[ProcessSpec],
        *,
        log_directory: Path,
        on_change: Callable[[ProcessStatus], None],
        clock: Clock,
        generator: random.Random,
    ) -> None:
        self._processes = [
            SupervisedProcess(spec, log_directory=log_directory, on_change=on_change, clock=clock, generator=generator)
            for spec in specs
        ]

    @property
    def statuses(self) -> tuple[ProcessStatus, ...]:
        """Every process now, in the order of the specs."""
        return tuple(process.status for process in self._processes)

    async def start(self) -> None:
        """Start every process and wait until all are ready.

        Raises:
            ProcessFailedError: one failed for good. The others still run: call ``stop``.
        """
        for stage in sorted({process.spec.start_stage for process in self._processes}):
            members = [process for process in self._processes if process.spec.start_stage == stage]
            for process in members:
                process.start()
            await self._all_ready(members)

    async def restart(self, name: str) -> None:
        """End the process ``name`` and let it be started again. Returns when it is gone."""
        for process in self._processes:
            if process.spec.name == name:
                await process.restart()

    async def stop(self) -> None:
        """Stop every process, stage by stage. Returns when none is left."""
        for stage in sorted({process.spec.stop_stage for process in self._processes}):
            members = [process for process in self._processes if process.spec.stop_stage == stage]
            await asyncio.gather(*(process.stop() for process in members))

    async def _all_ready(self, members: Sequence[SupervisedProcess]) -> None:
        waits = {asyncio.ensure_future(process.wait_settled()): process for process in members}
        try:
            for settled in asyncio.as_completed(list(waits)):
                status = await settled
                if status.phase is ProcessPhase.FAILED:
                    process = next(p for p in members if p.spec.name == status.name)
                    raise ProcessFailedError(status, process.recent_output(SHOWN_OUTPUT_LINES))
                if status.phase is ProcessPhase.STOPPED:
                    raise SageError(f"{status.name} was stopped while it started")
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
