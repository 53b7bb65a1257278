"""The books of one pool: where every request is, and what it is charged to.

Each verb here moves one request between the queue, the engines and the door, and keeps queue bounds, credits,
deadlines and decisions in step. Why it moves is the business of the manager and of ``recovery``.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from sage_common.errors import SageError
from sage_control_plane.decisions import Abort, Decision, Dispatch, Ended, Outcome, Refuse
from sage_control_plane.engine_book import EngineBook
from sage_control_plane.jobs import Job, JobState
from sage_control_plane.lanes import Lane
from sage_control_plane.placement.placer import Placement, Placer
from sage_control_plane.policies.policy import Pick
from sage_control_plane.reconciliation import EPOCH_SHIFT
from sage_control_plane.removable_heap import RemovableHeap
from sage_control_plane.requests import Attempt, PendingRequest, Route
from sage_control_plane.roster import Roster
from sage_control_plane.work_queue import WorkQueue


@dataclass(slots=True)
class Totals:
    """Counts since the books were opened; refusals by machine code."""

    dispatched: int = 0
    retried: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class Deadlines:
    """What is due when: one entry for each (kind, subject)."""

    def __init__(self) -> None:
        self._heap: RemovableHeap[tuple[str, Hashable]] = RemovableHeap()
        self._sequence = 0

    def arm(self, kind: str, subject: Hashable, at: float) -> None:
        """Make (kind, subject) due at ``at`` instead of whenever it was before."""
        self._sequence += 1
        self._heap.push((kind, subject), (at, self._sequence))

    def arm_once(self, kind: str, subject: Hashable, at: float) -> None:
        """Make it due at ``at`` unless it is due already."""
        if (kind, subject) not in self._heap:
            self.arm(kind, subject, at)

    def disarm(self, kind: str, subject: Hashable) -> None:
        """Forget it."""
        self._heap.remove((kind, subject))

    def __contains__(self, item: tuple[str, Hashable]) -> bool:
        return item in self._heap

    def first_at(self) -> float | None:
        """When the first is due."""
        first = self._heap.peek()
        return first[0][0] if first else None

    def pop_due(self, now: float) -> tuple[str, Hashable] | None:
        """Take out and return the first that is due at ``now``."""
        first = self._heap.peek()
        if first is None or first[0][0] > now:
            return None
        self._heap.remove(first[1])
        return first[1]


class Ledger:
    """The books. Attributes are for reading; verbs change them."""

    def __init__(self, roster: Roster, queue: WorkQueue, placer: Placer, epoch: int) -> None:
        self.roster = roster
        self.queue = queue
        self.epoch = epoch
        self.jobs: dict[str, Job] = {}
        self.deadlines = Deadlines()
        self.totals = Totals()
        self._placer = placer
        self._number = epoch << EPOCH_SHIFT
        self._decisions: list[Decision] = []

    def take_decisions(self) -> list[Decision]:
        """Return the decisions since the last call."""
        decisions, self._decisions = self._decisions, []
        return decisions

    # The queue

    def open_job(self, request: PendingRequest, route: Route, now: float) -> None:
        """Take a new request into the books and queue it."""
        lane = Lane(route)
        job = Job(request.request_id, request.submission, request.classification.tokens, request, lane)
        job.avoided = request.avoided
        self.jobs[job.request_id] = job
        self.enqueue(job, request, now)

    def enqueue(self, job: Job, request: PendingRequest, now: float) -> None:
        """Queue a job, in a lane that avoids the engines that have failed it."""
        lane = job.lane or Lane(request.classification.route)
        if lane.avoided != job.avoided:
            lane = Lane(lane.route, job.avoided)
        job.lane = lane
        job.waiting_since = now
        self.queue.join(job, request, lane, now)
        self.deadlines.arm("expiry", job.request_id, request.expires_at)

    def back_off(self, job: Job, now: float, until: float) -> None:
        """Keep a job out of the queue until then."""
        job.state = JobState.BACKING_OFF
        job.waiting_since = now
        self.deadlines.arm("backoff", job.request_id, until)

    def unqueue(self, job: Job) -> None:
        """Take a job that waits out of the queue, or out of its back-off."""
        if job.state is JobState.BACKING_OFF:
            self.deadlines.disarm("backoff", job.request_id)
        else:
            self.queue.leave(job)
            self.deadlines.disarm("expiry", job.request_id)

    # The engines

    def place(self, job: Job, pick: Pick, now: float) -> bool:
        """Dispatch the queued job to an engine; return False when none is free for it."""
        placement = self._choose(pick.request, job)
        if placement is None:
            return False
        self.unqueue(job)
        self.queue.drained(pick.request, now)
        self._number += 1
        job.state = JobState.RUNNING
        job.tries += 1
        job.engine_id = placement.engine_id
        job.attempt = Attempt(job.submission, self._number)
        job.waited_seconds += now - job.waiting_since
        job.dispatched_at = now
        job.begun = False
        job.missing_heartbeats = 0
        self.charge(job, self.roster.books[placement.engine_id])
        self.totals.dispatched += 1
        if job.tries > 1:
            self.totals.retried += 1
        queue_us = int(job.waited_seconds * 1_000_000)
        self._decisions.append(
            Dispatch(
                pick.request, placement.engine_id, job.attempt, job.tries, queue_us, pick.band, placement.candidates
            )
        )
        return True

    def charge(self, job: Job, book: EngineBook) -> None:
        """Put a running job on an engine's account."""
        self.roster.take(book, job)
        book.dispatched += 1
        book.breaker.dispatched()
        self.roster.refresh(book)

    def release(self, job: Job) -> EngineBook:
        """Take a running job off its engine's account; call ``freed`` when the engine's breaker knows why."""
        book = self.roster.books[job.engine_id]
        self.roster.give(book, job)
        return book

    def freed(self, book: EngineBook) -> None:
        """Something about an engine has changed that may let queued work through."""
        self.roster.refresh(book)
        self.queue.open(self.roster.routes_of(book))

    # The door

    def end(self, job: Job, outcome: Outcome) -> None:
        """Strike a job that neither waits nor runs any more off the books."""
        del self.jobs[job.request_id]
        self._decisions.append(Ended(job.request_id, outcome))

    def refuse(self, request_id: str, submission: int, error: SageError) -> None:
        """End a request that neither waits nor runs (any more) with an error."""
        self.jobs.pop(request_id, None)
        self._number += 1
        self.totals.refused[error.code] = self.totals.refused.get(error.code, 0) + 1
        self._decisions.append(Refuse(request_id, Attempt(submission, self._number), error))

    def abort(self, job: Job, reason: str) -> None:
        """Have the executors stop a job's attempt, if they run it."""
        self._decisions.append(Abort(job.request_id, job.attempt, reason))

    def _choose(self, request: PendingRequest, job: Job) -> Placement | None:
        assert job.lane is not None
        route = self.roster.route(job.lane.route)
        free = route.free.engines
        if not free:
            return None
        if job.avoided:
            untried = [book for book in free if book.engine_id not in job.avoided]
            if not untried and any(b.usable for b in route.serving.values() if b.engine_id not in job.avoided):
                # Another engine is alive, if busy: wait for it rather than go back to one that failed.
                return None
            free = untried or free
        return self._placer.place(request, free)
