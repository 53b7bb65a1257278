"""Watches one server: looks at it in turns, sooner after a failed request, and says what phase its engine is in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from sage_common.logging import get_logger
from sage_common.tasks import end_tasks
from sage_control_plane.request.engine_state import EnginePhase, EngineSpec
from sage_mesh.upstream.health_record import HealthRecord
from sage_mesh.upstream.upstream import NotServingError

log = get_logger(__name__)

# Failures come in bursts; one look answers for all of them.
BURST_SECONDS: Final = 0.05

Look = Callable[[int], Awaitable[None]]
Sleep = Callable[[float], Awaitable[None]]


class HealthWatch:
    """Looks at a server until it is stopped.

    Args:
        spec: the engine as it stands; its id and models are for the log.
        root: the server's URL, for people.
        look: looks once, given how many looks in a row have passed; raises NotServingError where the server does not
            serve.
        check_seconds: between looks.
        silent_while_loading: whether a server of this kind does not answer at all while it loads: one that answers
            wrongly will then not mend by itself, and counts as unhealthy though it has never served.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        spec: Callable[[], EngineSpec],
        root: str,
        look: Look,
        check_seconds: float,
        *,
        silent_while_loading: bool = False,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._spec = spec
        self._root = root
        self._look = look
        self._check_seconds = check_seconds
        self._silent_while_loading = silent_while_loading
        self._sleep = sleep
        self._record = HealthRecord()
        self._passed = 0
        self._served = asyncio.Event()
        self._answered = False
        self._look_now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def served(self) -> bool:
        """Whether a look has ever passed."""
        return self._served.is_set()

    @property
    def phase(self) -> EnginePhase:
        """The engine's phase, as far as its server tells."""
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
        self._task = asyncio.create_task(self._look_forever(), name=f"watch-{self._spec().engine_id}")
        await self._served.wait()

    async def stop(self) -> None:
        """Stop looking."""
        self._stopped = True
        if self._task is not None:
            await end_tasks(self._task)

    def look_soon(self) -> None:
        """Bring the next look forward: a request has failed in a way that says something about the server."""
        self._look_now.set()

    async def _look_forever(self) -> None:
        while True:
            try:
                await self._look(self._passed)
            except NotServingError as problem:
                self._failed(problem)
            except Exception as error:
                # A mistake of ours says nothing against a server that served a moment ago.
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
        self._answered = problem.status > 0
        was_healthy = self._record.healthy
        if problem.timed_out:
            self._record.timed_out(problem.message)
        else:
            self._record.failed(problem.message)
        if was_healthy and not self._record.healthy:
            log.warning("engine is unhealthy", engine=self._spec().engine_id, reason=problem.message)

    async def _pause(self) -> None:
        await self._sleep(min(BURST_SECONDS, self._check_seconds))
        regular = asyncio.create_task(self._come_round(), name=f"next-look-{self._spec().engine_id}")
        try:
            await self._look_now.wait()
        finally:
            await end_tasks(regular)
        self._look_now.clear()

    async def _come_round(self) -> None:
        await self._sleep(self._check_seconds)
        self._look_now.set()
