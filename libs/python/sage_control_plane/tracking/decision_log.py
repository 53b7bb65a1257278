"""Records of the decisions about each request and their outcome, kept for explanations."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import islice

from sage_common.errors import SageError
from sage_control_plane.request.engine_state import RunningRequest
from sage_control_plane.request.request import Attempt, PendingRequest
from sage_control_plane.tracking.decisions import Dispatch, Outcome

REFUSED = "refused"


@dataclass(slots=True)
class DispatchRecord:
    """One dispatch; its candidates, scores and predicted TTFT are in the decision itself.

    Attributes:
        error_code: machine code of the error that ended the attempt; None when none did.
        error: that error's message.
        cooled_seconds: for how long the engine got no new work, as it asked with the error; None where it did not.
    """

    at: float
    decision: Dispatch
    error_code: str | None = None
    error: str | None = None
    cooled_seconds: float | None = None


@dataclass(slots=True)
class DecisionRecord:
    """The decisions about one request. Times are seconds of the scheduler's clock.

    Attributes:
        request: None for one found running on an engine whose submission has not arrived.
        found: as the engine listed it that it was found running on; None for one that came from an edge.
        policy: the policy in force at the latest decision; None before the first.
        band: the policy's group at its last dispatch; None before that.
        queue_seconds: time queued, over all tries, without the present wait.
        waiting_since: when the present wait began; None while it does not wait.
        dispatches: in order, hedges included.
        engine_id: where it runs, or ran last: of two attempts the one that won; None while it has not run.
        predicted_ttft: predicted seconds from dispatch to first token.
        actual_ttft: seconds from dispatch to first token of the attempt that won.
        decided_at: time of the latest decision or report.
        outcome: how it ended, ``refused`` with an error; None while it has not.
        interruptions: how often it gave its seat to more urgent work.
        output_tokens: of its answer; None until it has finished, and where its engine does not report them.
        error_code: machine code of the error that ended it; None when none did.
        error: that error's message.
    """

    request_id: str
    request: PendingRequest | None = None
    found: RunningRequest | None = None
    policy: str | None = None
    band: str | None = None
    queue_seconds: float = 0.0
    waiting_since: float | None = None
    dispatches: list[DispatchRecord] = field(default_factory=list)
    engine_id: str | None = None
    predicted_ttft: float | None = None
    actual_ttft: float | None = None
    decided_at: float = 0.0
    ended_at: float | None = None
    outcome: str | None = None
    interruptions: int = 0
    output_tokens: int | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def tenant(self) -> str | None:
        """Who asked; None where that is not known."""
        source = self.request or self.found
        return None if source is None else source.tenant

    @property
    def correlation_id(self) -> str | None:
        """The caller's id for it; None where it gave none, or that is not known."""
        source = self.request or self.found
        return None if source is None else source.correlation_id

    @property
    def arrived_at(self) -> float:
        """When it arrived; without the request, the time of the first dispatch or decision that is known."""
        if self.request is not None:
            return self.request.arrived_at
        return self.dispatches[0].at if self.dispatches else self.decided_at

    @property
    def first_token_at(self) -> float | None:
        """When the attempt that won gave its first token; None until then, or where its dispatch is not known."""
        if self.actual_ttft is None:
            return None
        won = (one for one in reversed(self.dispatches) if one.decision.engine_id == self.engine_id)
        dispatch = next(won, None)
        return None if dispatch is None else dispatch.at + self.actual_ttft

    @property
    def state(self) -> str:
        """Its outcome; ``queued`` or ``running`` while it has none."""
        return self.outcome or ("running" if self.waiting_since is None else "queued")


class DecisionLog:
    """Records by request id: the latest ``most`` requests, in order of their first decision.

    An id that is used again after its request has ended gets a new record, unless it is a later submission of the same
    request.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: OrderedDict[str, DecisionRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def get(self, request_id: str) -> DecisionRecord | None:
        """Return a request's record; None when there is none."""
        return self._records.get(request_id)

    def find(self, any_id: str, tenant: str | None, most: int) -> list[DecisionRecord]:
        """Return the records of the requests that have this id, the mesh's or their callers', the latest first.

        Takes O(records).

        Args:
            tenant: whose requests; None for everybody's.
            most: how many to return at most.
        """
        named = (
            record
            for record in reversed(self._records.values())
            if any_id in (record.request_id, record.correlation_id) and tenant in (None, record.tenant)
        )
        return list(islice(named, most))

    def latest(self, tenant: str | None, changed_since: float, most: int) -> list[DecisionRecord]:
        """Return the latest requests about which something was decided or reported since a time, the latest first.

        Takes O(records).

        Args:
            tenant: whose requests; None for everybody's.
            most: how many to return at most.
        """
        changed = (
            record
            for record in reversed(self._records.values())
            if record.decided_at >= changed_since and tenant in (None, record.tenant)
        )
        return list(islice(changed, most))

    def waits(self, request: PendingRequest, policy: str, now: float) -> None:
        """Record that a request waits for an engine, for the first time or again."""
        record = self._record(request.request_id, request)
        if record is None:
            return
        record.request = request
        record.policy = policy
        record.waiting_since = record.decided_at = now
        if record.ended_at is not None:
            record.ended_at = None
            record.outcome = record.error_code = record.error = None

    def dispatched(self, decision: Dispatch, policy: str, now: float) -> None:
        """Record a dispatch."""
        request = decision.request
        record = self._records.get(request.request_id) or self._record(request.request_id)
        if record is None:
            return
        record.request = request
        record.policy = policy
        record.waiting_since = None
        record.decided_at = now
        record.dispatches.append(DispatchRecord(now, decision))
        if not decision.hedge:
            record.band = decision.band
            record.queue_seconds = decision.queue_us / 1_000_000
            record.engine_id = decision.engine_id
            record.predicted_ttft = decision.predicted_ttft

    def adopted(self, running: RunningRequest, engine_id: str, now: float) -> None:
        """Record that a request of an earlier leader was found running on an engine."""
        record = self._record(running.request_id)
        if record is not None:
            record.found = running
            record.engine_id = engine_id
            record.waiting_since = None
            record.decided_at = now

    def began(self, request_id: str, engine_id: str, ttft_seconds: float, predicted: float | None, now: float) -> None:
        """Record the first token, the engine that it came from, and its time as predicted and as measured."""
        record = self._records.get(request_id)
        if record is not None:
            record.engine_id = engine_id
            record.actual_ttft = ttft_seconds
            record.predicted_ttft = predicted
            record.decided_at = now

    def finished(self, request_id: str, output_tokens: int | None) -> None:
        """Record the length of a complete answer; None where its engine does not report it."""
        record = self._records.get(request_id)
        if record is not None:
            record.output_tokens = output_tokens

    def attempt_failed(
        self, request_id: str, attempt: Attempt, error: SageError, cooled_seconds: float | None = None
    ) -> None:
        """Record an attempt's error. What becomes of the request is recorded by another call."""
        record = self._records.get(request_id)
        if record is not None:
            for dispatch in reversed(record.dispatches):
                if dispatch.decision.attempt == attempt:
                    dispatch.error_code, dispatch.error = error.code, error.message
                    dispatch.cooled_seconds = cooled_seconds
                    return

    def interrupted(self, request_id: str, attempt: Attempt, error: SageError) -> None:
        """Record that an attempt was stopped to give its seat to more urgent work; ``error`` says for which."""
        record = self._records.get(request_id)
        if record is not None:
            record.interruptions += 1
            self.attempt_failed(request_id, attempt, error)

    def ended(self, request_id: str, outcome: Outcome, now: float) -> None:
        """Record the end of a request other than by refusal."""
        record = self._records.get(request_id)
        if record is None:
            return
        _stop_waiting(record, now)
        record.outcome = outcome.value
        record.decided_at = record.ended_at = now
        if outcome is Outcome.FAILED and record.dispatches:
            last = record.dispatches[-1]
            record.error_code, record.error = last.error_code, last.error

    def refused(
        self, request_id: str, request: PendingRequest | None, error: SageError, policy: str, now: float
    ) -> None:
        """Record that a request ends with an error."""
        record = self._record(request_id, request)
        if record is None:
            return
        _stop_waiting(record, now)
        record.request = request or record.request
        record.policy = policy
        record.outcome = REFUSED
        record.error_code = error.code
        record.error = error.message
        record.decided_at = record.ended_at = now

    def _record(self, request_id: str, request: PendingRequest | None = None) -> DecisionRecord | None:
        """Return the request's record, made if there is none; None when no records are kept."""
        record = self._records.get(request_id)
        if record is not None and record.ended_at is not None and _is_another(record, request):
            del self._records[request_id]
            record = None
        if record is None and self._most > 0:
            record = self._records[request_id] = DecisionRecord(request_id)
            if len(self._records) > self._most:
                self._records.popitem(last=False)
        return record


def _is_another(record: DecisionRecord, request: PendingRequest | None) -> bool:
    """Return whether ``request`` only shares its id with the one of an ended record."""
    if record.request is None or request is None:
        return False
    return request.submission <= record.request.submission


def _stop_waiting(record: DecisionRecord, now: float) -> None:
    if record.waiting_since is not None:
        record.queue_seconds += now - record.waiting_since
        record.waiting_since = None
