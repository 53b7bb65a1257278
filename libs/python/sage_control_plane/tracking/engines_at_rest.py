"""Reports of engines that say what they said before, which is most of them in a large pool."""

from __future__ import annotations

from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.reservation import Reservation
from sage_control_plane.request.engine_state import EngineState

# Times that a report has to be taken in before it changes nothing more: some counts compare it with the last one.
TAKEN_IN = 2


class EnginesAtRest:
    """Knows the engines of which a further report changes nothing.

    The state is the very one that was taken in twice, no request has been on the engine since, nothing waits in its own
    queue, and neither a target nor what the engine reported caps it, which may change by time.
    """

    def __init__(self, engines: EnginePool, queue: WorkQueue, reservation: Reservation) -> None:
        self._engines = engines
        self._queue = queue
        self._reservation = reservation

    def passes(self, entry: EngineEntry, state: EngineState, now: float) -> bool:
        """Take in a report that changes nothing; return False, with nothing done, where it may change something."""
        load = state.load
        if (
            entry.state is not state
            or not entry.usable
            or entry.running
            or state.running
            or entry.dispatched != entry.dispatched_at_rest
            or (load is not None and load.waiting)
            or entry.credits.corrected
            or self._reservation.tightest(entry, now) is not None
        ):
            entry.dispatched_at_rest, entry.taken_in = entry.dispatched, 0
            return False
        if entry.taken_in < TAKEN_IN:
            entry.taken_in += 1
            return False
        entry.forecast.advance(now)
        # A lane is tried again with every report.
        self._queue.open(self._engines.routes_of(entry))
        return True
