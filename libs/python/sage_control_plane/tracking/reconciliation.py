"""Compares the attempts tracked for an engine with those that its heartbeat lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sage_control_plane.pool.dispatched_attempt import DispatchedAttempt
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.request.engine_state import RunningRequest

# A heartbeat this soon after a dispatch may have been written before the dispatch arrived.
GRACE_SECONDS = 0.5
MISSING_HEARTBEATS = 2
# For how long an engine's reported load counts.
STALE_SECONDS = 2.0
# The low bits of a dispatch number count dispatches; the rest is the epoch of the lease.
EPOCH_SHIFT = 20


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between the request table and a heartbeat.

    Attributes:
        lost: attempts that the engine does not run.
        unknown: requests that it runs for an earlier leader.
        begun: attempts whose answer has begun without a report of it.
    """

    lost: Sequence[DispatchedAttempt] = ()
    unknown: Sequence[RunningRequest] = ()
    begun: Sequence[DispatchedAttempt] = ()


def compare(
    engines: EnginePool, entry: EngineEntry, reported: Sequence[RunningRequest], epoch: int, now: float
) -> Differences:
    """Compare an engine's attempts with those that it reports, and note for each whether it is listed.

    A listed request of this epoch that is not tracked has just ended, and does not count as unknown.
    """
    running = entry.running
    if not running and not reported:
        return Differences()
    listed = {item.request_id: item for item in reported}
    lost = []
    begun = []
    for attempt in running.values():
        item = listed.get(attempt.request_id)
        if item is not None and item.attempt >= attempt.number:
            engines.note_listed(attempt)
            if item.started_replying and not attempt.begun:
                begun.append(attempt)
        elif now - attempt.dispatched_at >= GRACE_SECONDS and engines.note_missing(attempt) >= MISSING_HEARTBEATS:
            lost.append(attempt)
    unknown = [
        item for item in reported if item.request_id not in running and item.attempt.dispatch >> EPOCH_SHIFT < epoch
    ]
    return Differences(lost, unknown, begun)
