"""The entries of one pool: where every request is, and what it is charged to.

Each verb here moves one request between the queue, the engines and the door, and keeps queue bounds, credits,
deadlines and decisions in step. Why it moves is the business of the manager and of ``recovery``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sage_common.errors import SageError
from sage_control_plane.placement.pickers import SMALL_POOL
from sage_control_plane.placement.placer import Placement, Placer
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.policy import Pick
from sage_control_plane.policies.work_queue import WorkQueue
from sage_control_plane.pool.engine_entry import EngineEntry
from sage_control_plane.pool.engine_pool import EnginePool
from sage_control_plane.pool.prefix_index import PrefixIndex
from sage_control_plane.pool.route_index import RouteEngines
from sage_control_plane.prediction.output_length import OutputLengths
from sage_control_plane.request.request import Attempt, PendingRequest, Route
from sage_control_plane.tracking.decision_log import DecisionLog
from sage_control_plane.tracking.decisions import Abort, Decision, Dispatch, Ended, Outcome, Refuse
from sage_control_plane.tracking.reconciliation import EPOCH_SHIFT
from sage_control_plane.tracking.timers import Deadlines
from sage_control_plane.tracking.tracked_request import Job, JobState


@dataclass(slots=True)
class Totals:
    """Counts since the entries were opened; refusals by machine code."""

    dispatched: int = 0
    retried: int = 0
    hedged: int = 0
    refused: dict[str, int] = field(default_factory=dict)


class RequestTable:
    """The entries. Attributes are for reading; verbs change them."""

    def __init__(
        self,
        engines: EnginePool,
        queue: WorkQueue,
        placer: Placer,
        lengths: OutputLengths,
        prefixes: PrefixIndex,
        log: DecisionLog,
        epoch: int,
    ) -> None:
        self.engines = engines
        self.queue = queue
        self.epoch = epoch
        self.lengths = lengths
        self.log = log
        self.jobs: dict[str, Job] = {}
        self.hedges: dict[str, Job] = {}
        self._prefixes = prefixes
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
        """Take a new request into the entries and queue it."""
        lane = Lane(route)
        output_tokens = self.lengths.expected(request.tenant, request.classification)
        tokens = request.classification.input_tokens + output_tokens
        job = Job(request.request_id, request.submission, tokens, request, lane, output_tokens=output_tokens)
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
        self.log.waits(request, self.queue.policy.name, now)
        self.deadlines.arm("expiry", job.request_id, request.expires_at)

    def back_off(self, job: Job, now: float, until: float) -> None:
        """Keep a job out of the queue until then."""
        job.state = JobState.BACKING_OFF
        job.waiting_since = now
        if job.request is not None:
            self.log.waits(job.request, self.queue.policy.name, now)
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
        """Dispatch the queued job to an engine; return False when none is free for it.

        The lane is closed when no engine is left for it.
        """
        assert job.lane is not None
        lane, route = job.lane, self.engines.route(job.lane.route)
        placement = self._choose(pick.request, job, route, now)
        if placement is None:
            self.queue.close(lane)
            return False
        self.unqueue(job)
        job.waited_seconds += now - job.waiting_since
        job.tries += 1
        job.hedged = False
        self.totals.dispatched += 1
        if job.tries > 1:
            self.totals.retried += 1
        self._dispatch(job, pick.request, placement, pick.band, now)
        if not job.charged_seconds:
            cost = self.engines.prices.seconds(job.lane.route, job.uncached_tokens, job.output_tokens)
            job.charged_seconds = cost
            self.queue.drained(pick.request, cost, now)
        if not route.free.engines:
            self.queue.close(lane)
        return True

    def place_hedge(self, job: Job, paid: Callable[[], bool], now: float) -> bool:
        """Dispatch a second attempt at a running job to another engine, if one is free and it is ``paid`` for."""
        assert job.request is not None
        assert job.lane is not None
        avoided = job.avoided | {job.engine_id}
        free = [b for b in self.engines.route(job.lane.route).free.engines if b.engine_id not in avoided]
        placement = self._placer.place(job.request, free, now) if free else None
        if placement is None or not paid():
            return False
        job.hedged = True
        job.hedges += 1
        hedge = replace(job, avoided=avoided, tries=job.tries + 1)
        self.hedges[job.request_id] = hedge
        self.totals.hedged += 1
        self._dispatch(hedge, job.request, placement, "", now, beside=job.attempt.dispatch)
        return True

    def _dispatch(
        self, job: Job, request: PendingRequest, placement: Placement, band: str, now: float, *, beside: int = 0
    ) -> None:
        self._number += 1
        job.leave_engine()
        job.state = JobState.RUNNING
        job.engine_id = placement.engine_id
        job.attempt = Attempt(job.submission, self._number)
        job.dispatched_at = now
        self.charge(job, self.engines.entries[placement.engine_id], now)
        queue_us = int(job.waited_seconds * 1_000_000)
        decision = Dispatch(
            request,
            placement.engine_id,
            job.attempt,
            job.tries,
            queue_us,
            band,
            placement.candidates,
            job.predicted_ttft,
            beside,
        )
        self._decisions.append(decision)
        self.log.dispatched(decision, self.queue.policy.name, now)

    def charge(self, job: Job, entry: EngineEntry, now: float) -> None:
        """Put a running job on an engine's account."""
        self.engines.take(entry, job, now)
        if job.request_id in entry.prefill_pending:
            self.deadlines.arm("computed", (job.engine_id, job.request_id), job.computed_by)
        entry.dispatched += 1
        entry.breaker.dispatched()
        self.engines.refresh(entry)

    def release(self, job: Job) -> EngineEntry:
        """Take a running job off its engine's account; call ``freed`` when the engine's breaker knows why."""
        entry = self.engines.entries[job.engine_id]
        if job.computed_by:
            job.computed_by = 0.0
            self.deadlines.disarm("computed", (job.engine_id, job.request_id))
        self.engines.give(entry, job)
        return entry

    def assume_prefilled(self, of: tuple[str, str], now: float) -> None:
        """If an answer in one piece still runs, its prompt should have been computed by now.

        Args:
            of: its engine's id and its own.
        """
        engine_id, request_id = of
        entry = self.engines.entries.get(engine_id)
        job = None if entry is None else entry.prefill_pending.get(request_id)
        if entry is not None and job is not None:
            self.engines.assume_prefilled(entry, job, now)
            self.freed(entry)

    def freed(self, entry: EngineEntry) -> None:
        """Something about an engine has changed that may let queued work through."""
        self.engines.refresh(entry)
        self.queue.open(self.engines.routes_of(entry))

    # The door

    def end(self, job: Job, outcome: Outcome, now: float) -> None:
        """Strike a job that neither waits nor runs any more off the entries."""
        del self.jobs[job.request_id]
        self._decisions.append(Ended(job.request_id, outcome))
        self.log.ended(job.request_id, outcome, now)

    def refuse(
        self, request_id: str, submission: int, error: SageError, now: float, request: PendingRequest | None = None
    ) -> None:
        """End a request that neither waits nor runs (any more) with an error. Its tenant gets the charge back."""
        job = self.jobs.pop(request_id, None)
        if request is None and job is not None:
            request = job.request
        if job is not None:
            self.refund(job)
        self._number += 1
        self.totals.refused[error.code] = self.totals.refused.get(error.code, 0) + 1
        self._decisions.append(Refuse(request_id, Attempt(submission, self._number), error))
        self.log.refused(request_id, request, error, self.queue.policy.name, now)

    def refund(self, job: Job) -> None:
        """Give a job's tenant back what it was charged: the request comes to nothing."""
        if job.request is not None and job.charged_seconds:
            self.queue.policy.settled(job.request, -job.charged_seconds)
            job.charged_seconds = 0.0

    def abort(self, job: Job, reason: str, *, engine_id: str = "", unbegun: bool = False) -> None:
        """Have the executors, or the one of ``engine_id``, stop a job's attempt, if they run it."""
        self._decisions.append(Abort(job.request_id, job.attempt, reason, engine_id, unbegun))

    def _choose(self, request: PendingRequest, job: Job, route: RouteEngines, now: float) -> Placement | None:
        free = route.free.engines
        if not free:
            return None
        if job.avoided:
            untried = [entry for entry in free if entry.engine_id not in job.avoided]
            if not untried and any(b.usable for b in route.serving.values() if b.engine_id not in job.avoided):
                # Another engine is alive, if busy: wait for it rather than go back to one that failed.
                return None
            free = untried or free
        favourite = None
        if len(free) > SMALL_POOL and request.classification.prefix_blocks:
            latest = route.serving.get(self._prefixes.latest(request) or "")
            if latest is not None and latest.free and latest.engine_id not in job.avoided:
                favourite = latest
        return self._placer.place(request, free, now, favourite)
