"""Engines that have asked for a pause, with a 429 that says when to come back."""

from __future__ import annotations

from sage_common.errors import SageError
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.tracking.request_table import RequestTable
from sage_control_plane.tracking.timers import Timer

_TOO_MANY_REQUESTS = 429


def asks_for_pause(error: SageError) -> bool:
    """Return whether an engine's answer says that it takes no more for a stated time."""
    return error.upstream_status == _TOO_MANY_REQUESTS and bool(error.retry_after_seconds)


class Cooling:
    """Keeps new work from such engines for as long as they asked for; what runs there goes on.

    Args:
        timer: due when an engine's pause ends.
    """

    def __init__(self, table: RequestTable, engines: EnginePool, timer: Timer[str]) -> None:
        self._table = table
        self._engines = engines
        self._timer = timer
        timer.on_due = self._on_over

    def on_failed(self, engine_id: str, error: SageError, now: float) -> float | None:
        """Take in an attempt's error; return for how many seconds its engine gets no new work, None for no change."""
        entry = self._engines.entries.get(engine_id)
        if entry is None or not asks_for_pause(error):
            return None
        until = entry.breaker.cool(error.retry_after_seconds or 0.0, now)
        self._timer.arm(engine_id, until)
        self._table.refresh(entry)
        return until - now

    def _on_over(self, engine_id: str, _now: float) -> None:
        entry = self._engines.entries.get(engine_id)
        if entry is not None:
            entry.breaker.warm()
            self._table.refresh(entry)
