"""The life of one supervised process: start, become ready, end, start again after a delay, until stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import psutil

from sage_common.clock import Clock
from sage_common.errors import SageError
from sage_common.logging import get_logger
from sage_platform.supervision import bound_to_parent
from sage_platform.supervision.backoff import Backoff
from sage_platform.supervision.process_log import last_lines, log_path, open_log
from sage_platform.supervision.process_spec import LEAVE_SIGNAL, ProcessSpec
from sage_platform.supervision.process_status import ProcessIdentity, ProcessPhase, ProcessStatus

log = get_logger(__name__)

# sysexits.h EX_CONFIG: a restart does not help.
EXIT_CONFIGURATION = 78
_ENDED = frozenset({ProcessPhase.STOPPED, ProcessPhase.FAILED})


@dataclass(frozen=True)
class _Life:
    """How one start of the process ended."""

    explanation: str
    exit_code: int = 0
    ready_seconds: float = 0.0


class SupervisedProcess:
    """Keeps one process running.

    Args:
        log_directory: where its output goes.
        on_change: called with each new status.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        log_directory: Path,
        on_change: Callable[[ProcessStatus], None],
        clock: Clock,
        generator: random.Random,
    ) -> None:
        self.spec = spec
        self._log = log_path(log_directory, spec.name)
        self._on_change = on_change
        self._clock = clock
        self._backoff = Backoff(spec.restart, generator)
        self._status = ProcessStatus(spec.name, spec.service, ProcessPhase.WAITING, str(self._log))
        self._stop_asked = asyncio.Event()
        self._settled = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._log_start = 0
        self._was_ready = False

    @property
    def status(self) -> ProcessStatus:
        """Its status now."""
        return self._status

    def start(self) -> None:
        """Start it and keep it running."""
        self._task = asyncio.create_task(self._keep_running(), name=f"process-{self.spec.name}")

    async def wait_settled(self) -> ProcessStatus:
        """Return its status once it has been ready for the first time or has ended for good."""
        await self._settled.wait()
        return self._status

    def rename(self, name: str) -> None:
        """Go by another name in what is reported; its log stays."""
        self._status = replace(self._status, name=name)

    def recent_output(self, lines: int) -> list[str]:
        """Return the last lines it has written since its last start."""
        return last_lines(self._log, lines, from_byte=self._log_start)

    async def stop(self) -> None:
        """Ask it to end with SIGTERM; end it with SIGKILL when its time is up. Returns when it is gone."""
        self._stop_asked.set()
        if self._task is None:
            self._set(phase=ProcessPhase.STOPPED)
            return
        if self._process is not None and self._process.returncode is None:
            self._set(phase=ProcessPhase.STOPPING)
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
        done, _ = await asyncio.wait({self._task}, timeout=self.spec.stop_timeout_seconds)
        if not done:
            self._kill_group()
        await self._task

    async def kill(self) -> None:
        """End it with SIGKILL, so that it ends nothing of what it has taken over. Returns when it is gone."""
        self._stop_asked.set()
        self._kill_group()
        if self._task is not None:
            # One that was only about to be started is asked to end instead.
            await asyncio.wait({self._task}, timeout=self.spec.stop_timeout_seconds)
        await self.stop()

    async def leave(self, seconds: float) -> bool:
        """Have it finish what it has under way, since another has taken its place; return, when it is gone, whether it
        went by itself.

        Args:
            seconds: after these it is stopped.
        """
        self._stop_asked.set()
        went = True
        if self._task is not None and self._process is not None and self._process.returncode is None:
            self._set(phase=ProcessPhase.STOPPING)
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(LEAVE_SIGNAL)
            done, _ = await asyncio.wait({self._task}, timeout=seconds)
            went = bool(done)
        await self.stop()
        return went

    async def restart(self) -> None:
        """Ask the process to end, as ``stop`` does, and let it be started again. Returns when it is gone."""
        process = self._process
        if process is None or process.returncode is not None or self._stop_asked.is_set():
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self.spec.stop_timeout_seconds)
        except asyncio.TimeoutError:
            self._kill_group()
            await process.wait()

    async def _keep_running(self) -> None:
        starts = 0
        while not self._stop_asked.is_set():
            starts += 1
            try:
                life = await self._live_once()
            except Exception as error:
                # Whatever goes wrong, the next start may go well; a process that nobody starts again is the worst end.
                log.exception("start of a process failed", process=self.spec.name)
                life = _Life(f"cannot be started: {type(error).__name__}: {error}")
            if self._stop_asked.is_set():
                break
            limit = self.spec.restart.attempts_before_first_ready
            if life.exit_code == EXIT_CONFIGURATION:
                words = self._last_line().removeprefix(f"{self.spec.service}: ")
                self._set(phase=ProcessPhase.FAILED, message=f"has a configuration error: {words or life.explanation}")
                return
            if not self._was_ready and starts >= limit:
                self._set(phase=ProcessPhase.FAILED, message=f"{life.explanation}, {starts} times in a row")
                return
            delay = self._backoff.next_delay_seconds(life.ready_seconds)
            self._set(
                phase=ProcessPhase.BACKING_OFF,
                restarts=self._status.restarts + 1,
                message=f"{life.explanation}; starting again in {delay:.1f} s",
            )
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stop_asked.wait(), delay)
        self._set(phase=ProcessPhase.STOPPED, message="")

    async def _live_once(self) -> _Life:
        with self._open_log() as output:
            self._log_start = output.seek(0, os.SEEK_END)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *bound_to_parent.command(self.spec.argv),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **self.spec.environment},
                    # A group of its own: Ctrl-C at the terminal reaches the supervisor alone, which stops it in order.
                    start_new_session=True,
                    pass_fds=self.spec.descriptors,
                )
            except OSError as error:
                return _Life(f"cannot be started: {error.strerror}")
        process = self._process
        try:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._set(phase=ProcessPhase.STARTING, identity=ProcessIdentity.of(process.pid), ports={}, message="")
            if self._stop_asked.is_set():
                process.terminate()
            return await self._watch(process)
        finally:
            self._kill_group()
            await process.wait()
            # Not reported by itself: the phase that follows from this end comes with the next change.
            self._status = replace(self._status, identity=None, ports={})

    def _open_log(self) -> IO[bytes]:
        """Open the log file; where that fails, as on a full disk, the process runs without one."""
        try:
            return open_log(self._log)
        except OSError as error:
            log.error("log file not opened; output is lost", process=self.spec.name, error=str(error))
            return open(os.devnull, "wb")

    async def _watch(self, process: asyncio.subprocess.Process) -> _Life:
        ended: asyncio.Future[int] = asyncio.ensure_future(process.wait())
        ready: asyncio.Future[Mapping[str, int]] = asyncio.ensure_future(self.spec.ready(process.pid))
        either: set[asyncio.Future[Any]] = {ended, ready}
        try:
            await asyncio.wait(either, timeout=self.spec.ready_timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                return _Life(_explain(ended.result()), ended.result())
            if not ready.done():
                return _Life(f"was not ready within {self.spec.ready_timeout_seconds:g} s")
            try:
                ports = ready.result()
            except SageError as error:
                return _Life(error.message)
            ready_at = self._clock.now()
            self._was_ready = True
            if not self._stop_asked.is_set():
                self._set(phase=ProcessPhase.READY, ports=ports)
            code = await ended
            return _Life(_explain(code), code, self._clock.now() - ready_at)
        finally:
            ready.cancel()
            ended.cancel()
            await asyncio.gather(ready, ended, return_exceptions=True)

    def _kill_group(self) -> None:
        """Kill what is left of the process and of the processes it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _last_line(self) -> str:
        lines = [line for line in self.recent_output(5) if line.strip()]
        return lines[-1].strip() if lines else ""

    def _set(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]
        if self._status.phase is ProcessPhase.READY or self._status.phase in _ENDED:
            self._settled.set()
        try:
            self._on_change(self._status)
        except Exception:
            log.exception("change of a process not followed", process=self.spec.name)


def _explain(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"
