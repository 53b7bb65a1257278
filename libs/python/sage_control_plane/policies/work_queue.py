"""The queue of one pool: a policy, the bounds of admission, and the lanes in it."""

from __future__ import annotations

from collections.abc import Iterable

from sage_control_plane.policies.admission import Admission
from sage_control_plane.policies.lanes import Lane
from sage_control_plane.policies.policy import Pick, PoolView, SchedulingPolicy
from sage_control_plane.request.request import PendingRequest, Route
from sage_control_plane.tracking.tracked_request import Job, JobState


class WorkQueue:
    """Keeps policy, admission and lanes in step."""

    def __init__(self, policy: SchedulingPolicy, admission: Admission, view: PoolView) -> None:
        self._policy = policy
        self._view = view
        self._lanes: dict[Route, dict[Lane, int]] = {}
        self._jobs: dict[str, Job] = {}
        self.admission = admission

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def policy(self) -> SchedulingPolicy:
        """The policy in force."""
        return self._policy

    def join(self, job: Job, request: PendingRequest, lane: Lane, now: float) -> None:
        """Queue a job."""
        job.state = JobState.QUEUED
        self._jobs[job.request_id] = job
        lanes = self._lanes.setdefault(lane.route, {})
        lanes[lane] = lanes.get(lane, 0) + 1
        self.admission.joined(request)
        self._policy.push(request, lane, now, self._view)

    def leave(self, job: Job) -> None:
        """Take a queued job out."""
        del self._jobs[job.request_id]
        self._policy.remove(job.request_id)
        assert job.request is not None
        assert job.lane is not None
        self.admission.left(job.request)
        lanes = self._lanes[job.lane.route]
        if lanes[job.lane] > 1:
            lanes[job.lane] -= 1
        else:
            del lanes[job.lane]

    def drained(self, request: PendingRequest, engine_seconds: float, now: float) -> None:
        """A request that has left goes to an engine, which is expected to cost so much."""
        self._policy.dispatched(request, engine_seconds, now)
        self.admission.drained(request, now)

    def next(self, now: float) -> Pick | None:
        """What the policy wants served next."""
        return self._policy.next(now, self._view)

    def close(self, lane: Lane) -> None:
        """No engine is free for the lane."""
        self._policy.close(lane)

    def open(self, routes: Iterable[Route]) -> None:
        """Something changed for engines of these routes."""
        for route in routes:
            for lane in self._lanes.get(route, ()):
                self._policy.open(lane)

    def queued_for(self, route: Route) -> list[Job]:
        """The queued jobs of a route. O(queued): only for the rare case that its engines are all gone."""
        return [job for job in self._jobs.values() if job.lane is not None and job.lane.route == route]

    def switch(self, policy: SchedulingPolicy, now: float) -> None:
        """Move everything that is queued to another policy, in order of arrival here."""
        for job in self._jobs.values():
            assert job.request is not None
            assert job.lane is not None
            policy.push(job.request, job.lane, now, self._view)
        self._policy = policy
