"""What was decided about each request, and what came of it, kept for explanations."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from sage_common.errors import SageError
from sage_control_plane.request.request import Attempt, PendingRequest
from sage_control_plane.tracking.decisions import Dispatch, Outcome

REFUSED = "refused"


@dataclass(slots=True)
class DispatchRecord:
    """One dispatch; its candidates, scores and predicted TTFT are in the decision itself.

    Attributes:
        error_code: machine code of the error that ended the attempt; empty when none did.
        error: that error's message.
    """

    at: float
    decision: Dispatch
    error_code: str = ""
    error: str = ""


@dataclass(slots=True)
class DecisionRecord:
    """The story of one request. Times are seconds of the scheduler's clock.

    Attributes:
        request: None while it has only been found running, after another scheduler had failed.
        policy: in force when it was last decided about.
        band: the policy's group at its last dispatch.
        queue_seconds: time queued, over all tries; the present wait is not in it.
        waiting_since: when the present wait began; None while it does not wait.
        dispatches: in order; a hedge is one of them.
        engine_id: where it runs, or ran last; of two attempts at once the one that won.
        predicted_ttft: seconds from dispatch to first token, as predicted.
        actual_ttft: the same as it was, of the attempt that won.
        decided_at: when something was last decided or learned about it.
        outcome: how it ended; empty while it has not, ``refused`` with an error.
        error_code: machine code of the error that ended it.
        error: that error's message.
    """

    request_id: str
    request: PendingRequest | None = None
    policy: str = ""
    band: str = ""
    queue_seconds: float = 0.0
    waiting_since: float | None = None
    dispatches: list[DispatchRecord] = field(default_factory=list)
    engine_id: str = ""
    predicted_ttft: float | None = None
    actual_ttft: float | None = None
    decided_at: float = 0.0
    ended_at: float | None = None
    outcome: str = ""
    error_code: str = ""
    error: str = ""

    @property
    def state(self) -> str:
        """Where the request is: its outcome, else ``queued`` or ``running``."""
        return self.outcome or ("running" if self.waiting_since is None else "queued")


class DecisionLog:
    """Records by request id: the latest ``most`` requests, by when something was first decided about them.

    A request id that comes again after its end begins a new record, unless the edge submits the same request anew.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: OrderedDict[str, DecisionRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def get(self, request_id: str) -> DecisionRecord | None:
        """Return what is known of a request."""
        return self._records.get(request_id)

    def waits(self, request: PendingRequest, policy: str, now: float) -> None:
        """The request waits for an engine, for the first time or again."""
        record = self._record(request.request_id, request)
        if record is None:
            return
        record.request = request
        record.policy = policy
        record.waiting_since = record.decided_at = now
        if record.ended_at is not None:
            record.ended_at = None
            record.outcome = record.error_code = record.error = ""

    def dispatched(self, decision: Dispatch, policy: str, now: float) -> None:
        """A request goes to an engine."""
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

    def adopted(self, request_id: str, engine_id: str, now: float) -> None:
        """The request was found running on an engine, where an earlier leader had sent it."""
        record = self._record(request_id)
        if record is not None:
            record.engine_id = engine_id
            record.waiting_since = None
            record.decided_at = now

    def began(self, request_id: str, engine_id: str, ttft_seconds: float, predicted: float | None, now: float) -> None:
        """The first token came, from this engine."""
        record = self._records.get(request_id)
        if record is not None:
            record.engine_id = engine_id
            record.actual_ttft = ttft_seconds
            record.predicted_ttft = predicted
            record.decided_at = now

    def attempt_failed(self, request_id: str, attempt: Attempt, error: SageError) -> None:
        """An attempt failed; what becomes of the request is told by another verb."""
        record = self._records.get(request_id)
        if record is not None:
            for dispatch in reversed(record.dispatches):
                if dispatch.decision.attempt == attempt:
                    dispatch.error_code, dispatch.error = error.code, error.message
                    return

    def ended(self, request_id: str, outcome: Outcome, now: float) -> None:
        """The request is off the entries."""
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
        """The request was refused."""
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
        """The request's record, made if need be; None when nothing is kept."""
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
    """Whether ``request`` is another one than that of an ended record, with the same id."""
    if record.request is None or request is None:
        return False
    return request.submission <= record.request.submission


def _stop_waiting(record: DecisionRecord, now: float) -> None:
    if record.waiting_since is not None:
        record.queue_seconds += now - record.waiting_since
        record.waiting_since = None
