"""Watches the health of one server: checks it in turns, sooner after a failed request, and says its engine's phase."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_mesh.upstream.upstream import NotServingError
from sage_platform.background import keep_running

log = get_logger(__name__)

# A busy engine may miss a check; a refused connection needs no second opinion.
TIMEOUTS_UNTIL_UNHEALTHY = 3
# Failures come in bursts; one check answers for all of them.
BURST_SECONDS: Final = 0.05
LOADING_STATUS: Final = 503

Check = Callable[[int], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class HealthRecord:
    """When a run of failed checks makes an engine unhealthy. No I/O.

    Attributes:
        healthy: None until the first verdict.
        reason: why it is unhealthy; empty when healthy.
        missed: checks in a row that timed out.
    """

    healthy: bool | None = None
    reason: str = ""
    missed: int = 0

    def passed(self) -> bool:
        """Record a check that succeeded; return whether the engine was not healthy before."""
        recovered = self.healthy is not True
        self.healthy, self.reason, self.missed = True, "", 0
        return recovered

    def failed(self, reason: str) -> None:
        """Record a check that was refused, or answered with an error."""
        self.healthy, self.reason = False, reason

    def timed_out(self, reason: str) -> None:
        """Record a check that was not answered in time."""
        self.missed += 1
        if self.healthy is not True or self.missed >= TIMEOUTS_UNTIL_UNHEALTHY:
            self.failed(reason)


class HealthWatch:
    """Checks a server until it is stopped.

    Args:
        spec: the engine as it stands; its id and models are for the log.
        root: the server's URL, for people.
        check: checks once, given how many checks in a row have passed; raises NotServingError where the server does
            not serve.
        check_seconds: between two checks.
        silent_while_loading: whether a server of this kind answers nothing but 503 while it loads: one that answers
            wrongly will then not mend by itself, and counts as unhealthy though it has never served.
        on_missed: called for a check that was not answered in time, with how many that makes in a row.
        sleep: waits for a number of seconds.
    """

    def __init__(
        self,
        spec: Callable[[], EngineSpec],
        root: str,
        check: Check,
        check_seconds: float,
        *,
        silent_while_loading: bool = False,
        on_missed: Callable[[int], None] = lambda missed: None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._spec = spec
        self._root = root
        self._check = check
        self._check_seconds = check_seconds
        self._silent_while_loading = silent_while_loading
        self._on_missed = on_missed
        self._sleep = sleep
        self._record = HealthRecord()
        self._passed = 0
        self._served = asyncio.Event()
        self._answered = False
        self._check_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def served(self) -> bool:
        """Whether a check has ever passed."""
        return self._served.is_set()

    @property
    def phase(self) -> EnginePhase:
        """The engine's phase, as far as its server shows it."""
        if self._stopped:
            return EnginePhase.STOPPED
        if self._record.healthy:
            return EnginePhase.READY
        will_not_mend = self._silent_while_loading and self._answered
        return EnginePhase.UNHEALTHY if self.served or will_not_mend else EnginePhase.STARTING

    @property
    def reason(self) -> str:
        """Why the engine is not ready, for people; empty when it is."""
        if self._record.healthy is None:
            return f"waiting for the first answer of {self._root}"
        return self._record.reason

    async def start(self) -> None:
        """Watch from now on; return when the server first serves."""
        self._task = keep_running(self._check_forever, name=f"watch-{self._spec().engine_id}")
        await self._served.wait()

    async def stop(self) -> None:
        """Stop checking."""
        self._stopped = True
        if self._task is not None:
            await end_tasks(self._task)

    def check_soon(self) -> None:
        """Bring the next check forward: a request has failed in a way that says something about the server."""
        self._check_now.set()

    async def _check_forever(self) -> None:
        while True:
            try:
                await self._check(self._passed)
            except NotServingError as problem:
                self._failed(problem)
            except Exception as error:
                # A mistake of this process is no evidence against a server that served a moment ago.
                log.exception("health check failed", engine=self._spec().engine_id)
                if not self._record.healthy:
                    self._record.failed(f"the health check failed: {type(error).__name__}: {error}")
            else:
                self._pass()
            await self._pause()

    def _pass(self) -> None:
        self._passed += 1
        if self._record.passed():
            spec = self._spec()
            log.info("engine answers", engine=spec.engine_id, models=[card.name for card in spec.models])
        self._served.set()

    def _failed(self, problem: NotServingError) -> None:
        self._passed = 0
        # 503 before the first success: llama.cpp and TGI listen while they load, and say so that they will be ready.
        self._answered = problem.status not in (0, LOADING_STATUS)
        was_healthy = self._record.healthy
        if problem.timed_out:
            self._record.timed_out(problem.message)
            self._on_missed(self._record.missed)
        else:
            self._record.failed(problem.message)
        if was_healthy and not self._record.healthy:
            log.warning("engine is unhealthy", engine=self._spec().engine_id, reason=problem.message)

    async def _pause(self) -> None:
        await self._sleep(min(BURST_SECONDS, self._check_seconds))
        regular = asyncio.create_task(self._come_round(), name=f"next-check-{self._spec().engine_id}")
        try:
            await self._check_now.wait()
        finally:
            await end_tasks(regular)
        self._check_now.clear()

    async def _come_round(self) -> None:
        await self._sleep(self._check_seconds)
        self._check_now.set()
