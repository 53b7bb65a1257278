"""Runs a set of processes as one: stage by stage up, all or none, and stage by stage down."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from sage_common.clock import Clock
from sage_common.errors import SageError, UnavailableError
from sage_platform.supervision.process_spec import ProcessSpec
from sage_platform.supervision.process_status import LEAVING, NEXT, ProcessPhase, ProcessStatus
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

        def supervised(spec: ProcessSpec) -> SupervisedProcess:
            return SupervisedProcess(
                spec, log_directory=log_directory, on_change=on_change, clock=clock, generator=generator
            )

        self._supervised = supervised
        self._on_change = on_change
        self._processes = [supervised(spec) for spec in specs]
        # Beside those of the specs while one takes the place of another.
        self._passing: list[SupervisedProcess] = []

    @property
    def statuses(self) -> tuple[ProcessStatus, ...]:
        """Every process now, in the order of the specs; then those that come and go while one is replaced."""
        return tuple(process.status for process in (*self._processes, *self._passing))

    @property
    def specs(self) -> tuple[ProcessSpec, ...]:
        """What runs, in the order of the specs."""
        return tuple(process.spec for process in self._processes)

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

    async def replace(
        self,
        name: str,
        spec: ProcessSpec,
        *,
        may_leave: Callable[[ProcessStatus, ProcessStatus], Awaitable[None]],
        leave_seconds: float,
        takes_over: bool = False,
    ) -> bool:
        """Have another process take the place of ``name``, which leaves only once the other is ready.

        Returns whether it went by itself, and not because its time was up.

        Args:
            spec: of the other; under the same name.
            may_leave: awaited with the statuses of the old and the new before the old leaves.
            leave_seconds: how long the old may finish what it has under way; then it is stopped.
            takes_over: whether the other takes from the old what it would end with itself when it is asked to end.
                Where it may not stay it is killed, and the old can take that back.

        Raises:
            ProcessFailedError: the other did not come up; the old one runs on.
            SageError: what ``may_leave`` raises; the same.
        """
        place = next(place for place, process in enumerate(self._processes) if process.spec.name == name)
        old, new = self._processes[place], self._supervised(spec)
        new.rename(name + NEXT)
        self._passing.append(new)
        try:
            new.start()
            await self._all_ready([new])
            await may_leave(old.status, new.status)
        except Exception:
            # Where this is cancelled, the whole is about to be stopped, and what passes with it.
            await (new.kill() if takes_over else new.stop())
            self._passing.remove(new)
            self._on_change(old.status)
            raise
        self._processes[place] = new
        self._passing[self._passing.index(new)] = old
        old.rename(name + LEAVING)
        new.rename(name)
        went = await old.leave(leave_seconds)
        self._passing.remove(old)
        self._on_change(new.status)
        return went

    async def stop(self) -> None:
        """Stop every process, stage by stage. Returns when none is left."""
        processes = [*self._processes, *self._passing]
        for stage in sorted({process.spec.stop_stage for process in processes}):
            members = [process for process in processes if process.spec.stop_stage == stage]
            await asyncio.gather(*(process.stop() for process in members))

    async def _all_ready(self, members: Sequence[SupervisedProcess]) -> None:
        waits = {asyncio.ensure_future(process.wait_settled()): process for process in members}
        try:
            for settled in asyncio.as_completed(list(waits)):
                status = await settled
                if status.phase is ProcessPhase.FAILED:
                    process = next(process for process in members if process.status is status)
                    raise ProcessFailedError(status, process.recent_output(SHOWN_OUTPUT_LINES))
                if status.phase is ProcessPhase.STOPPED:
                    raise SageError(f"{status.name} was stopped while it started")
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
