"""What was decided about each request, and what came of it, kept for explanations."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from sage_common.errors import SageError
from sage_control_plane.decisions import Dispatch, Outcome
from sage_control_plane.requests import PendingRequest


@dataclass(frozen=True, slots=True)
class DispatchRecord:
    """One dispatch; its candidates, scores and predicted TTFT are in the decision itself."""

    at: float
    decision: Dispatch


@dataclass(slots=True)
class DecisionRecord:
    """The story of one request. Times are seconds of the scheduler's clock.

    Attributes:
        policy: in force when it was last decided about.
        band: the policy's group at its last dispatch.
        queue_seconds: time queued, over all tries.
        dispatches: in order; a hedge is one of them.
        actual_ttft: seconds from dispatch to first token, of the attempt that won.
        outcome: how it ended; empty while it has not, ``refused`` with a cause.
        refusal_code: machine code of the error that it was refused with.
        refusal: the error's message.
    """

    request_id: str
    request: PendingRequest | None = None
    policy: str = ""
    band: str = ""
    queue_seconds: float = 0.0
    dispatches: list[DispatchRecord] = field(default_factory=list)
    engine_id: str = ""
    predicted_ttft: float | None = None
    actual_ttft: float | None = None
    ended_at: float | None = None
    outcome: str = ""
    refusal_code: str = ""
    refusal: str = ""


class DecisionLog:
    """Records by request id: the latest ``most`` requests, by when something was first decided about them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: OrderedDict[str, DecisionRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def get(self, request_id: str) -> DecisionRecord | None:
        """Return what is known of a request."""
        return self._records.get(request_id)

    def dispatched(self, decision: Dispatch, policy: str, now: float) -> None:
        """A request goes to an engine."""
        record = self._record(decision.request_id)
        if record is None:
            return
        record.request = decision.request
        record.policy = policy
        record.dispatches.append(DispatchRecord(now, decision))
        if not decision.hedge:
            record.band = decision.band
            record.queue_seconds = decision.queue_us / 1_000_000
            record.engine_id = decision.engine_id
            record.predicted_ttft = decision.predicted_ttft

    def began(self, request_id: str, engine_id: str, ttft_seconds: float, predicted: float | None) -> None:
        """The first token came, from this engine."""
        record = self._records.get(request_id)
        if record is not None:
            record.engine_id = engine_id
            record.actual_ttft = ttft_seconds
            record.predicted_ttft = predicted

    def ended(self, request_id: str, outcome: Outcome, now: float) -> None:
        """The request is off the books."""
        record = self._records.get(request_id)
        if record is not None:
            record.outcome = outcome.value
            record.ended_at = now

    def refused(
        self, request_id: str, request: PendingRequest | None, error: SageError, policy: str, now: float
    ) -> None:
        """The request was refused."""
        record = self._record(request_id)
        if record is None:
            return
        record.request = request or record.request
        record.policy = policy
        record.outcome = "refused"
        record.refusal_code = error.code
        record.refusal = error.message
        record.ended_at = now

    def _record(self, request_id: str) -> DecisionRecord | None:
        """The request's record, made if need be; None when nothing is kept."""
        record = self._records.get(request_id)
        if record is None and self._most > 0:
            record = self._records[request_id] = DecisionRecord(request_id)
            if len(self._records) > self._most:
                self._records.popitem(last=False)
        return record
