"""Comparing the entries with what an engine says that it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.tracking.tracked_request import Job

# A heartbeat sooner after a dispatch may have been written before the dispatch arrived.
GRACE_SECONDS = 0.5
MISSING_HEARTBEATS = 2
# The low bits of a dispatch number count; the rest is the epoch of the lease.
EPOCH_SHIFT = 20


@dataclass(frozen=True, slots=True)
class Differences:
    """What the entries and a heartbeat disagree on.

    Attributes:
        lost: jobs that the engine does not run any more, or never got.
        unknown: requests that it runs for an earlier leader.
        begun: jobs whose answer has begun, which was not known.
    """

    lost: Sequence[Job] = ()
    unknown: Sequence[RunningRequest] = ()
    begun: Sequence[Job] = ()


def compare(running: Mapping[str, Job], reported: Sequence[RunningRequest], epoch: int, now: float) -> Differences:
    """Compare, and note on each job whether it was listed.

    A request of this epoch that is not in the entries has ended here a moment ago, and is no unknown.
    """
    if not running and not reported:
        return Differences()
    listed = {entry.request_id: entry for entry in reported}
    lost = []
    begun = []
    for job in running.values():
        entry = listed.get(job.request_id)
        if entry is not None and entry.attempt >= job.attempt:
            job.missing_heartbeats = 0
            if entry.started_replying and not job.begun:
                begun.append(job)
        elif now - job.dispatched_at >= GRACE_SECONDS:
            job.missing_heartbeats += 1
            if job.missing_heartbeats >= MISSING_HEARTBEATS:
                lost.append(job)
    unknown = [
        entry for entry in reported if entry.request_id not in running and entry.attempt.dispatch >> EPOCH_SHIFT < epoch
    ]
    return Differences(lost, unknown, begun)
