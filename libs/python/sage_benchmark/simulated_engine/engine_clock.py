"""Drives the engine model in real time."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from sage_benchmark.simulated_engine.engine_model import EngineModel
from sage_benchmark.simulated_engine.engine_work import Emission, EngineWork


class EngineClock:
    """Wakes at the model's own next event. The model's times decide, so a late wake-up delays no later token.

    Args:
        deliver: gets what was emitted, in order of time.
        clock: monotonic seconds.
    """

    def __init__(
        self, model: EngineModel, deliver: Callable[[list[Emission]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.model = model
        self._deliver = deliver
        self._clock = clock
        self._origin = clock()
        self._timer: asyncio.TimerHandle | None = None
        self._due = math.inf

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._origin

    def submit(self, work: EngineWork) -> None:
        """Give the model a request. ValueError as ``EngineModel.submit``."""
        self.model.submit(self.now, work)
        self._arm()

    def cancel(self, key: str) -> int:
        """Take a request back, if it is still there; return the tokens that it had."""
        if not self.model.holds(key):
            return 0
        generated = self.model.cancel(self.now, key)
        self._arm()
        return generated

    def pause(self, seconds: float) -> None:
        """Make the engine progress no further for ``seconds``."""
        self.model.pause(self.now, seconds)
        self._arm()

    def set_slowdown(self, factor: float) -> None:
        """Make every step take ``factor`` times as long."""
        self.model.set_slowdown(self.now, factor)
        self._arm()

    def stop(self) -> None:
        """Wake no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due = math.inf

    def _arm(self) -> None:
        due = self.model.next_event_at
        if due is None or due >= self._due:
            return  # a wake-up that turns out to be early arms the next one
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        # The loop's timers count whole milliseconds; rounded down they would fire early, again and again.
        delay = math.ceil(max(0.0, due - self.now) * 1000) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._due = math.inf
        emissions = self.model.advance(self.now)
        if emissions:
            self._deliver(emissions)
        self._arm()
